"""Figures of a finished run: learning curves, and predictions against labels."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nequix.core.spec import ModelSpec
from nequix.data.batch import Batch, composition
from nequix.evaluate.errors.predictions import Predictions
from nequix.evaluate.errors.report import parity
from nequix.io.files import write_atomic
from nequix.train import loss

if TYPE_CHECKING:
    from jaxtyping import Float
    from matplotlib.figure import Figure

CURVES, PARITY = "learning_curves.png", "parity.png"

_PANELS = (
    ("loss", 1, "loss"),
    ("energy", 1000, "energy (meV/atom)"),
    ("forces", 1000, "forces (meV/A)"),
    ("stress", 1000, "stress (meV/A^3)"),
)


def draw(folder: Path, rows: Sequence[dict[str, str]], predictions: Predictions | None) -> None:
    """Write the figures of a run.

    Args:
        folder: Where.
        rows: Its history.
        predictions: Of the validation data, if there are any.
    """
    figures = {CURVES: learning_curves(rows)}
    if predictions is not None:
        figures[PARITY] = parity(predictions)
    for name, figure in figures.items():
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=120)
        write_atomic(folder / name, [content.getvalue()])


def learning_curves(rows: Sequence[dict[str, str]]) -> Figure:
    """Draw the loss and the mean errors against the steps, of training and of validation.

    Args:
        rows: A history.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), layout="constrained")
    for axis, (name, factor, title) in zip(figure.subplots(2, 2).flat, _PANELS, strict=True):
        for column, style in ((name, {"lw": 0.7, "alpha": 0.6}), (f"valid_{name}", {"marker": "."})):
            points = [(int(row["step"]), factor * float(row[column])) for row in rows if row[column]]
            if any(value > 0 for _, value in points):  # a term without labels is zero throughout
                label = "validation" if column.startswith("valid") else "training"
                axis.plot(*np.array(points).T, label=label, **style)
                axis.set_yscale("log")
        axis.set(xlabel="step", ylabel=title)
    figure.axes[0].legend()
    return figure


def collect_predictions(
    spec: ModelSpec,
    pairs: Sequence[tuple[Batch, loss.Predictions]],
    atom_energies: Float[np.ndarray, " n_species"],
) -> Predictions:
    """Put labels beside predictions, without padding.

    Args:
        spec: The model's specification.
        pairs: Batches, and what the model says of each.
        atom_energies: eV; added to the predictions.
    """
    return Predictions.join([_without_padding(spec, *pair, atom_energies) for pair in pairs])


def _without_padding(
    spec: ModelSpec, batch: Batch, told: loss.Predictions, atom_energies: Float[np.ndarray, " n_species"]
) -> Predictions:
    energy = np.asarray(told.energy, float) + composition(batch, spec.n_species) @ atom_energies
    n, atoms = len(batch.names), batch.node_mask

    def known(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return np.where((weight > 0).reshape(-1, *[1] * (values.ndim - 1)), values, np.nan)

    forces = known(batch.forces, batch.forces_mask * batch.forces_weight)
    return Predictions(
        names=batch.names,
        n_atoms=batch.n_atoms[:n],
        numbers=np.array(spec.atomic_numbers)[batch.layout.species[: len(atoms)][atoms]],
        energy=known(batch.energy, batch.energy_mask * batch.energy_weight)[:n],
        forces=forces[atoms],
        stress=known(batch.stress, batch.stress_mask * batch.stress_weight)[:n],
        predicted_energy=energy[:n],
        predicted_forces=np.asarray(told.forces, float)[atoms],
        predicted_stress=np.asarray(told.stress, float)[:n],
    )
