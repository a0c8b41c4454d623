"""Errors of nequix-nano by kind of structure: ``python -m weights.nano.errors SOURCE ... --model NAME ...``.

Several models are compared on the structures that all of them know the elements of.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from nequix.calculator import NequixCalculator
from nequix.core.files import write_atomic
from nequix.evaluate.errors.metrics import summarise
from nequix.evaluate.errors.predictions import Predictions
from nequix.evaluate.errors.report import GPA
from nequix.evaluate.errors.task import Errors
from weights.nano.derive import KINDS

COLUMNS = ("structures", "energy (meV/atom)", "without offsets", "forces (meV/A)", "stress (GPa)")


def predict(paths: Sequence[Path], calculator: NequixCalculator) -> Predictions:
    """Predict every structure whose elements a model knows.

    Args:
        paths: Labelled structures.
        calculator: The model.
    """
    task = Errors(tuple(map(str, paths)))
    parts = []
    for item in task.items():
        outcome = task.evaluate(item, calculator)
        parts.append(Predictions(tuple(outcome.values["names"]), **outcome.arrays))
    return Predictions.join(parts)


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


def by_kind(predictions: Predictions) -> dict[str, dict[str, Any]]:
    """Summarise all structures, then those of each kind that :mod:`weights.nano.derive` makes.

    Args:
        predictions: Labels and predictions.
    """
    kinds = np.array([name.split()[0] for name in predictions.names])
    groups = {"all": np.ones(len(kinds), bool), **{kind: kinds == kind for kind in KINDS}}
    return {kind: summarise(select(predictions, chosen)) for kind, chosen in groups.items() if chosen.any()}


def row(summary: dict[str, Any]) -> list[str]:
    """Format mean absolute errors for a table of :data:`COLUMNS`.

    Args:
        summary: Of :func:`nequix.evaluate.errors.metrics.summarise`.
    """
    scales = (("energy", 1e3), ("energy_without_offsets", 1e3), ("forces", 1e3), ("stress", GPA))
    values = [
        "-" if summary[name]["mae"] is None else f"{summary[name]['mae'] * scale:.3g}"
        for name, scale in scales
    ]
    return [str(summary["n_structures"]), *values]


def main(
    sources: Annotated[list[Path], typer.Argument(help="Labelled structures.")],
    model: Annotated[list[str], typer.Option(help="Name or file; several are compared.")],
    backend: Annotated[str, typer.Option(help="The engine.")] = "torch",
    output: Annotated[Path | None, typer.Option("-o", help="A JSON file for all numbers.")] = None,
) -> None:
    """Print mean absolute errors against labels, as a table."""
    told = {name: predict(sources, NequixCalculator(name, backend)) for name in model}
    common = set.intersection(*(set(predictions.names) for predictions in told.values()))
    print("| model | kind |", " | ".join(COLUMNS), "|")
    print("|---" * (2 + len(COLUMNS)) + "|")
    summaries = {}
    for name, predictions in told.items():
        chosen = np.array([known in common for known in predictions.names], bool)
        summaries[name] = by_kind(select(predictions, chosen))
        for kind, summary in summaries[name].items():
            print("|", " | ".join([name, kind, *row(summary)]), "|")
    if output is not None:
        write_atomic(output, [json.dumps(summaries, indent=1).encode()])


if __name__ == "__main__":
    typer.run(main)
