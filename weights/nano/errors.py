"""Errors by kind of structure: ``python -m weights.nano.errors RUN ...``, runs of ``nequix evaluate errors``.

Runs on the same data are compared on the structures that all of them have predictions for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from nequix.core.errors import DataError
from nequix.evaluation.errors.report import GPA, read_predictions
from nequix.evaluation.run_directory import ITEMS, RUN, RunDirectory
from nequix.io.files import write_atomic
from nequix.metrics.errors import summarise
from nequix.metrics.predictions import Predictions
from weights.nano.derive import KINDS

COLUMNS = (
    "run", "model", "kind", "structures", "energy (meV/atom)", "without offsets", "forces (meV/A)",
    "force vectors (meV/A)", "stress (GPa)",
)  # fmt: skip


def read_run(folder: Path) -> tuple[str, str, Predictions]:
    """Read a run.

    Args:
        folder: What ``nequix evaluate errors`` was given as its output.

    Returns:
        What identifies its data, the model's name, and the predictions.

    Raises:
        DataError: If it is not such a run.
    """
    try:
        held = json.loads((folder / RUN).read_bytes())
        data, model = json.dumps(held["settings"]), held["engine"]["model"]["name"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(f"{folder}: is not a run of `nequix evaluate errors` ({error})") from None
    items = sorted(path.stem for path in (folder / ITEMS).glob("*.json"))
    return data, model, read_predictions(RunDirectory(folder), items)[0]


def select(predictions: Predictions, chosen: np.ndarray) -> Predictions:
    """Take some of the structures.

    Args:
        predictions: Labels and predictions.
        chosen: Which structures to take.
    """
    atoms = chosen[predictions.atom_structure]
    per_atom = ("numbers", "forces", "predicted_forces")
    arrays = {
        name: values[atoms if name in per_atom else chosen] for name, values in predictions.arrays().items()
    }
    names = tuple(name for name, keep in zip(predictions.names, chosen, strict=True) if keep)
    return replace(predictions, names=names, **arrays)


def in_common(runs: Mapping[str, tuple[str, str, Predictions]]) -> dict[str, tuple[str, Predictions]]:
    """Take of every run the structures that all runs on the same data have.

    Args:
        runs: What identifies the data, the model's name and the predictions, by the run's name.
    """
    shared: dict[str, set[str]] = {}
    for data, _, predictions in runs.values():
        shared[data] = shared.get(data, set(predictions.names)) & set(predictions.names)
    return {
        run: (
            model,
            select(predictions, np.array([name in shared[data] for name in predictions.names], bool)),
        )
        for run, (data, model, predictions) in runs.items()
    }


def by_kind(predictions: Predictions) -> dict[str, dict[str, Any]]:
    """Summarise all structures, then those of each kind that :mod:`weights.nano.derive` makes.

    Args:
        predictions: Labels and predictions.
    """
    kinds = np.array([name.split()[0] for name in predictions.names])
    groups = {"all": np.ones(len(kinds), bool), **{kind: kinds == kind for kind in KINDS}}
    return {kind: summarise(select(predictions, chosen)) for kind, chosen in groups.items() if chosen.any()}


def row(summary: dict[str, Any]) -> list[str]:
    """Format the number of structures and the mean absolute errors, as in :data:`COLUMNS`.

    Args:
        summary: Of :func:`nequix.metrics.errors.summarise`.
    """
    scales = {
        "energy": 1e3,
        "energy_without_offsets": 1e3,
        "forces": 1e3,
        "force_vectors": 1e3,
        "stress": GPA,
    }
    errors = [(summary[name]["mae"], scale) for name, scale in scales.items()]
    return [str(summary["n_structures"]), *("-" if e is None else f"{e * scale:.3g}" for e, scale in errors)]


def main(
    runs: Annotated[list[Path], typer.Argument(help="Folders of `nequix evaluate errors`.")],
    output: Annotated[Path | None, typer.Option("-o", help="A JSON file for all numbers.")] = None,
) -> None:
    """Print mean absolute errors against labels, as a table."""
    chosen = in_common({folder.name: read_run(folder) for folder in runs})
    print(f"| {' | '.join(COLUMNS)} |")
    print("|---" * len(COLUMNS) + "|")
    summaries = {run: by_kind(predictions) for run, (_, predictions) in chosen.items()}
    for run, kinds in summaries.items():
        for kind, summary in kinds.items():
            print(f"| {' | '.join([run, chosen[run][0], kind, *row(summary)])} |")
    if output is not None:
        write_atomic(output, [json.dumps(summaries, indent=1).encode()])


if __name__ == "__main__":
    typer.run(main)
