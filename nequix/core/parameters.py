"""The parameter manifest: the list of all tensors of a model.

Backends build their modules from it, weight files are checked against it, optimisers derive their parameter
groups from it, and the parameter count is its sum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from nequix.core.irreps import label
from nequix.core.paths import LayerPlan, plan
from nequix.core.spec import ModelSpec

if TYPE_CHECKING:
    from jaxtyping import Float

T = TypeVar("T")


@dataclass(frozen=True)
class Parameter:
    """One tensor of a model.

    Attributes:
        name: Dotted name, the same in both backends and in the weight file.
        shape: Its shape.
        init_mean: Mean of its initial values.
        init_std: Standard deviation of its initial values, normally distributed.
        learned: Whether training changes it by gradient; the atom energies are data.
        decay: Whether weight decay applies.
        muon: Whether Muon updates it (matrices); otherwise Adam does.
    """

    name: str
    shape: tuple[int, ...]
    init_mean: float
    init_std: float
    learned: bool
    decay: bool
    muon: bool

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def _matrix(name: str, n_in: int, n_out: int, std: float = 1.0) -> Parameter:
    return Parameter(name, (n_in, n_out), 0.0, std, learned=True, decay=True, muon=True)


def _layer(prefix: str, layer: LayerPlan, spec: ModelSpec) -> list[Parameter]:
    sizes = [spec.radial_basis_size, *[spec.radial_mlp_size] * spec.radial_mlp_layers, layer.n_weights]
    parameters = []
    for index, (n_in, n_out) in enumerate(pairwise(sizes)):
        variance = (1.0 if index == spec.radial_mlp_layers else 4.0) / n_in
        parameters.append(_matrix(f"{prefix}.radial.{index}", n_in, n_out, math.sqrt(variance)))
    inputs, messages = dict(layer.inputs), dict(layer.messages)
    parameters += [_matrix(f"{prefix}.linear_1.{label(l)}", n, n) for l, n in layer.inputs]
    out = layer.preactivation
    parameters += [_matrix(f"{prefix}.linear_2.{label(l)}", messages[l], n) for l, n in out if l in messages]
    parameters += [_matrix(f"{prefix}.skip.{label(l)}", inputs[l], n) for l, n in out if l in inputs]
    if spec.layer_norm:
        gain = {"init_mean": 1.0, "init_std": 0.0, "learned": True, "decay": False, "muon": False}
        parameters += [Parameter(f"{prefix}.norm.{label(l)}", (n,), **gain) for l, n in out]
    return parameters


@cache
def manifest(spec: ModelSpec) -> tuple[Parameter, ...]:
    """List every parameter of a model, in the order of the published files.

    Args:
        spec: The model's specification.

    Returns:
        ``atom_energies`` (eV, not learned), then each layer's ``radial``, ``linear_1``, ``linear_2``,
        ``skip`` and ``norm`` tensors, then ``readout.0e``.
    """
    fixed = {"init_mean": 0.0, "init_std": 0.0, "learned": False, "decay": False, "muon": False}
    parameters = [Parameter("atom_energies", (spec.n_species,), **fixed)]
    for index, layer in enumerate(plan(spec)):
        parameters += _layer(f"layers.{index}", layer, spec)
    parameters.append(_matrix("readout.0e", spec.hidden[0], 1))
    return tuple(parameters)


def count(spec: ModelSpec) -> int:
    """Count the learned parameters of a model (707,569 for the published shape).

    Args:
        spec: The model's specification.
    """
    return sum(parameter.size for parameter in manifest(spec) if parameter.learned)


def initialise(
    spec: ModelSpec, seed: int, atom_energies: Mapping[int, float] | None = None
) -> dict[str, Float[np.ndarray, ...]]:
    """Draw random initial parameters (docs/architecture.md, training), the same for every backend.

    Args:
        spec: The model's specification.
        seed: Seed of the draw; equal seeds give equal parameters.
        atom_energies: Energy of each atomic number, eV; zero where not given.

    Returns:
        Parameters by name, float64.
    """
    rng = np.random.default_rng(seed)
    drawn = {p.name: rng.normal(p.init_mean, p.init_std, p.shape) for p in manifest(spec)}
    energies = atom_energies or {}
    drawn["atom_energies"] = np.array([energies.get(number, 0.0) for number in spec.atomic_numbers])
    return drawn


def group(spec: ModelSpec, parameters: Mapping[str, T]) -> dict[str, dict[str, Any]]:
    """Nest parameters as in the modules: ``layers.0`` -> ``linear_1`` -> ``0e``.

    Args:
        spec: The model's specification.
        parameters: Every parameter of the manifest by its dotted name.

    Returns:
        ``readout`` and every ``layers.N``; a layer holds a mapping for each kind of parameter.
    """
    nested: dict[str, dict[str, Any]] = {}
    for name in (parameter.name for parameter in manifest(spec)):
        match name.split("."):
            case ["layers", index, kind, leaf]:
                nested.setdefault(f"layers.{index}", {}).setdefault(kind, {})[leaf] = parameters[name]
            case [kind, leaf]:
                nested.setdefault(kind, {})[leaf] = parameters[name]
    return nested


def check_dtype(dtype: str) -> None:
    """Reject an unknown precision.

    Args:
        dtype: Precision of the layers.

    Raises:
        ValueError: Unless it is ``float32`` or ``float64``.
    """
    if dtype not in ("float32", "float64"):
        raise ValueError(f"dtype = {dtype!r}, but the precisions are 'float32' and 'float64'")


def cast_parameters(parameters: Mapping[str, np.ndarray], dtype: str) -> dict[str, np.ndarray]:
    """Copy the parameters of a model to a precision; the atom energies stay float64.

    JAX may share memory with a NumPy array, and the caller could change the original afterwards.

    Args:
        parameters: The parameters by name.
        dtype: ``float32`` or ``float64``.

    Raises:
        ValueError: For another precision.
    """
    check_dtype(dtype)
    converted = {name: np.array(values, dtype) for name, values in parameters.items()}
    return {**converted, "atom_energies": np.array(parameters["atom_energies"], np.float64)}
