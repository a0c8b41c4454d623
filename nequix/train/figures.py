"""Figures of a finished run: learning curves, and predictions against labels."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nequix.core.spec import ModelSpec
from nequix.data.batch import Batch, composition
from nequix.io.files import write_atomic
from nequix.metrics.figures import parity
from nequix.metrics.predictions import Predictions
from nequix.train import loss

if TYPE_CHECKING:
    from jaxtyping import Float
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVES, PARITY = "learning_curves.png", "parity.png"

_SMOOTHED = 40  # points that a smoothed curve has at least
_MARKED = 60  # points up to which each has a marker

_PANELS = (
    ("loss", 1, "loss"),
    ("energy", 1000, "energy MAE (meV/atom)"),
    ("forces", 1000, "mean length of the force error (meV/A)"),
    ("stress", 1000, "stress MAE (meV/A^3)"),
)


def draw(folder: Path, rows: Sequence[dict[str, str]], predictions: Predictions | None) -> None:
    """Write the figures of a run.

    Args:
        folder: Where.
        rows: Its history.
        predictions: Predictions for the validation data, if there are any.
    """
    figures = {CURVES: learning_curves(rows)}
    if predictions is not None:
        figures[PARITY] = parity(predictions)
    for name, figure in figures.items():
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=120)
        write_atomic(folder / name, [content.getvalue()])


def learning_curves(rows: Sequence[dict[str, str]]) -> Figure:
    """Draw the training and validation loss and mean errors against the steps.

    Training values scatter from record to record: they are a faint line with a running median.

    Args:
        rows: A history.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(10, 7), layout="constrained")
    for axis, (name, factor, title) in zip(figure.subplots(2, 2).flat, _PANELS, strict=True):
        _draw_curves(axis, rows, name, factor)
        axis.set(xlabel="step", ylabel=title)
        if axis.lines:
            axis.set_yscale("log")
            for ticks in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
                ticks(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.legend(fontsize=8)
        else:
            axis.text(0.5, 0.5, "no labels", transform=axis.transAxes, ha="center")
    return figure


def _draw_curves(axis: Axes, rows: Sequence[dict[str, str]], name: str, factor: float) -> None:
    for column, label in ((name, "training"), (f"valid_{name}", "validation")):
        points = np.array(
            [(int(row["step"]), factor * float(row[column])) for row in rows if row.get(column)]
        )
        if not len(points) or not (points[:, 1] > 0).any():  # a term without labels is zero throughout
            continue
        window = len(points) // _SMOOTHED
        if column == name and window > 1:
            (line,) = axis.plot(*points.T, lw=0.6, alpha=0.3)
            smooth = running_median(points[:, 1], window)
            axis.plot(points[:, 0], smooth, color=line.get_color(), label=f"{label}, median of {window}")
        else:
            marker = "." if len(points) <= _MARKED else ""
            axis.plot(*points.T, marker=marker, label=label)


def running_median(values: Float[np.ndarray, " n"], window: int) -> Float[np.ndarray, " n"]:
    """Return the median of each value and its neighbours, with fewer neighbours at the ends.

    Args:
        values: In order.
        window: Number of values per median.
    """
    before, after = (window - 1) // 2, window // 2
    return np.array([np.median(values[max(0, i - before) : i + after + 1]) for i in range(len(values))])


def collect_predictions(
    spec: ModelSpec,
    pairs: Sequence[tuple[Batch, loss.Predictions]],
    atom_energies: Float[np.ndarray, " n_species"],
) -> Predictions:
    """Collect labels and predictions, without padding.

    Args:
        spec: The model's specification.
        pairs: Batches with their predictions.
        atom_energies: eV; added to the predictions.
    """
    return Predictions.join([_without_padding(spec, *pair, atom_energies) for pair in pairs])


def _without_padding(
    spec: ModelSpec,
    batch: Batch,
    predictions: loss.Predictions,
    atom_energies: Float[np.ndarray, " n_species"],
) -> Predictions:
    energy = np.asarray(predictions.energy, float) + composition(batch, spec.n_species) @ atom_energies
    n, atoms = len(batch.names), batch.node_mask

    def known(name: str) -> np.ndarray:
        values, mask, weight = batch.labels[name]
        return np.where((mask * weight > 0).reshape(-1, *[1] * (values.ndim - 1)), values, np.nan)

    return Predictions(
        names=batch.names,
        n_atoms=batch.n_atoms[:n],
        numbers=np.array(spec.atomic_numbers)[batch.layout.species[: len(atoms)][atoms]],
        energy=known("energy")[:n],
        forces=known("forces")[atoms],
        stress=known("stress")[:n],
        predicted_energy=energy[:n],
        predicted_forces=np.asarray(predictions.forces, float)[atoms],
        predicted_stress=np.asarray(predictions.stress, float)[:n],
    )
