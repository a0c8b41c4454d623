"""Ensembles of fine-tunings: members on resampled data, and their calibration on data held out."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nequix.core.ensemble import Calibration, EnsembleResults, write_ensemble
from nequix.core.files import write_atomic
from nequix.core.weights import Weights, read_weights
from nequix.data.batch import graph_of
from nequix.data.sources import Source
from nequix.data.structure import Structure
from nequix.finetune.calibration import calibrate, energy_pairs, force_pairs, reliability
from nequix.finetune.config import FinetuneConfig
from nequix.jax.ensemble import EnsemblePotential
from nequix.train.loop import MODEL
from nequix.train.streams import held_out

RELIABILITY = "reliability.png"


def member_configs(config: FinetuneConfig, n: int) -> dict[str, FinetuneConfig]:
    """Give each member its own draw of the training structures, with replacement, and the same validation.

    Args:
        config: That of all.
        n: How many members.

    Returns:
        The configurations by folder.
    """
    return {f"member-{number}": replace(config, member=number) for number in range(n)}


def conclude(config: FinetuneConfig, folder: Path, n: int) -> Calibration | None:
    """Calibrate the members of a folder on the data that were held out from all, and list them.

    Args:
        config: That of all.
        folder: The ensemble's; it gets ``ensemble.json`` and a figure.
        n: How many members there are.

    Returns:
        The calibration; None if nothing was held out.

    Raises:
        DataError: If too little was held out to calibrate on.
    """
    files = [f"{name}/{MODEL}" for name in member_configs(config, n)]
    members = [read_weights(folder / file) for file in files]
    source, calibration = held_out(config), None
    if source is not None:
        structures = list(source)
        told = evaluate(members, structures)
        calibration = calibrate(_named(config, source), structures, told)
        figure = reliability(calibration, force_pairs(structures, told), energy_pairs(structures, told))
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=130)
        write_atomic(folder / RELIABILITY, [content.getvalue()])
    write_ensemble(folder, list(zip(files, members, strict=True)), calibration)
    return calibration


def _named(config: FinetuneConfig, source: Source) -> str:
    names = ", ".join(Path(name).name for name in config.data.valid or config.data.train)
    return f"{len(source)} structures of {names}, held out from training"


def evaluate(members: Sequence[Weights], structures: Sequence[Structure]) -> list[EnsembleResults]:
    """Evaluate an ensemble on structures.

    Args:
        members: The models.
        structures: What to evaluate.
    """
    potential = EnsemblePotential(members)
    return [potential.evaluate(graph_of(structure, potential.spec)) for structure in structures]
