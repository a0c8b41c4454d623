"""Parameters that each fine-tuning mode trains, by names of the parameter manifest."""

from __future__ import annotations

from collections.abc import Callable

from nequix.core.parameters import Parameter, manifest
from nequix.core.spec import ModelSpec

MODES: dict[str, Callable[[Parameter, ModelSpec], bool]] = {
    "head": lambda parameter, spec: parameter.name.startswith("readout."),
    "last-layer": lambda parameter, spec: parameter.name.startswith(
        ("readout.", f"layers.{spec.n_layers - 1}.")
    ),
    "full": lambda parameter, spec: True,
}
"""Predicates for each mode: whether a learned parameter is trained."""


def trained_names(spec: ModelSpec, mode: str) -> list[str]:
    """List the parameters that a mode trains, in the manifest's order; all others stay the same bit for bit.

    Args:
        spec: The model's specification.
        mode: ``head`` (the readout), ``last-layer`` (that and the last interaction layer) or ``full``
            (everything that is learned). Atom energies are data in each of them.
    """
    return [p.name for p in manifest(spec) if p.learned and MODES[mode](p, spec)]
