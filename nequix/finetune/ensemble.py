"""Ensembles by fine-tuning: members trained on resampled data and calibrated on held-out data."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nequix.core.errors import DataError
from nequix.data.batch import graph_of
from nequix.data.sources import Source
from nequix.data.structure import Structure
from nequix.finetune.calibration import LEAST, calibrate, energy_pairs, force_pairs, reliability
from nequix.finetune.config import FinetuneConfig
from nequix.graphs.results import EnsembleResults
from nequix.io.ensemble import Calibration, write_ensemble
from nequix.io.files import write_atomic
from nequix.io.weights import Weights, read_weights
from nequix.jax.ensemble import EnsemblePotential
from nequix.train.loop import MODEL
from nequix.train.streams import held_out

RELIABILITY = "reliability.png"


def member_configs(config: FinetuneConfig, n: int) -> dict[str, FinetuneConfig]:
    """Give each member its own draw of the training structures, with replacement, and the same validation.

    Args:
        config: The common configuration.
        n: How many members.

    Returns:
        The configurations by folder.
    """
    return {f"member-{number}": replace(config, member=number) for number in range(n)}


def why_uncalibrated(config: FinetuneConfig) -> str | None:
    """Explain before any training why the members cannot be calibrated, as far as the labels show it.

    Args:
        config: The common configuration.

    Returns:
        The reason, and what to do; None if there are enough labels.
    """
    source = held_out(config)
    if source is None:
        return "nothing is held out; give structures with --valid, or set data.valid_fraction"
    n_forces = n_energies = 0
    for structure in map(Structure.trusted, source):
        n_forces += structure.forces is not None
        n_energies += structure.energy is not None
    for name, n in (("forces", n_forces), ("energies", n_energies)):
        if n < LEAST:
            return (
                f"{_named(config, n)} have {name}, expected at least {LEAST} for a calibration; give more "
                "with "
                "--valid"
            )
    return None


def conclude(config: FinetuneConfig, folder: Path, n: int) -> tuple[Calibration | None, str]:
    """Calibrate the members of a folder on data held out from all of them, and write the list of members.

    Args:
        config: The common configuration.
        folder: The ensemble's; it gets ``ensemble.json`` and, if calibrated, a figure.
        n: How many members there are.

    Returns:
        The calibration, None if there is too little to calibrate on, and why there is none.
    """
    files = [f"{name}/{MODEL}" for name in member_configs(config, n)]
    members = [read_weights(folder / file) for file in files]
    source, calibration, why = held_out(config), None, why_uncalibrated(config) or ""
    if source is not None and not why:
        calibration, why = _calibrated(config, folder, source, members)
    write_ensemble(folder, list(zip(files, members, strict=True)), calibration)
    return calibration, why


def _calibrated(
    config: FinetuneConfig, folder: Path, source: Source, members: Sequence[Weights]
) -> tuple[Calibration | None, str]:
    """Calibrate and draw a figure; if members agree on too much of the data, return the reason instead."""
    structures = [structure.trusted() for structure in source]
    predictions = evaluate(members, structures)
    try:
        calibration = calibrate(_named(config, len(structures)), structures, predictions)
    except DataError as error:
        return None, str(error)
    figure = reliability(
        calibration, force_pairs(structures, predictions), energy_pairs(structures, predictions)
    )
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=130)
    write_atomic(folder / RELIABILITY, [content.getvalue()])
    return calibration, ""


def _named(config: FinetuneConfig, n: int) -> str:
    names = ", ".join(Path(name).name for name in config.data.valid or config.data.train)
    return f"{n} structures of {names}, held out from training"


def evaluate(members: Sequence[Weights], structures: Sequence[Structure]) -> list[EnsembleResults]:
    """Evaluate an ensemble on structures.

    Args:
        members: The models.
        structures: The structures.
    """
    potential = EnsemblePotential(members)
    return [potential.evaluate(graph_of(structure, potential.spec)) for structure in structures]
