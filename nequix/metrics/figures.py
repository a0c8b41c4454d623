"""Figures of errors: predictions against labels, and mean errors by element."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nequix.metrics.predictions import Predictions
from nequix.metrics.statistics import mean_absolute

if TYPE_CHECKING:
    from jaxtyping import Float
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GPA = 160.21766208
"""1 eV/A^3 in GPa."""

_LINEAR = 20  # points in a hexagon beyond which colours are logarithmic
_BINS = 60  # of a parity plot's hexagons


def parity(predictions: Predictions) -> Figure:
    """Draw predictions against labels: energies per atom, force components, stress components.

    Args:
        predictions: Labels and predictions.
    """
    from matplotlib.figure import Figure

    p = predictions
    figure = Figure(figsize=(13, 4), layout="constrained")
    axes = figure.subplots(1, 3)
    panels = (
        (p.energy / p.n_atoms, p.predicted_energy / p.n_atoms, "energy", "eV/atom"),
        (p.forces, p.predicted_forces, "force component", "eV/A"),
        (GPA * p.stress, GPA * p.predicted_stress, "stress component", "GPa"),
    )
    for axis, (labels, predicted, quantity, unit) in zip(axes, panels, strict=True):
        _draw_parity(axis, labels, predicted, quantity, unit)
    return figure


def _draw_parity(
    axis: Axes,
    labels: Float[np.ndarray, "..."],
    predicted: Float[np.ndarray, "..."],
    quantity: str,
    unit: str,
) -> None:
    """Draw the density of points on a logarithmic scale, with the mean absolute error and the number."""
    known = np.isfinite(labels) & np.isfinite(predicted)
    axis.set_xlabel(f"labelled {quantity} ({unit})")
    axis.set_ylabel(f"predicted {quantity} ({unit})")
    if not known.any():
        axis.text(0.5, 0.5, "no labels", transform=axis.transAxes, ha="center")
        return
    x, y = labels[known], predicted[known]
    low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    margin = 0.03 * (high - low) or 1.0
    limits = (low - margin, high + margin)
    bins = axis.hexbin(x, y, gridsize=_BINS, mincnt=1, extent=(*limits, *limits), linewidths=0.1)
    if np.asarray(bins.get_array(), float).max() > _LINEAR:
        bins.set_norm("log")
    axis.plot(limits, limits, color="black", linewidth=0.6)
    axis.set_xlim(*limits)
    axis.set_ylim(*limits)
    axis.set_aspect("equal")
    bar = axis.figure.colorbar(bins, ax=axis, label="points in a hexagon", shrink=0.8)
    bar.minorticks_off()
    factor, small = (1e3, f"m{unit}") if unit.startswith("eV") else (1.0, unit)
    mae = factor * (mean_absolute(y - x) or 0.0)
    axis.text(
        0.04, 0.96, f"MAE {mae:.3g} {small}\nn = {len(x)}", transform=axis.transAxes, va="top", fontsize=9
    )


def element_bars(elements: list[dict[str, Any]]) -> Figure:
    """Draw the errors of energies and forces of each element.

    Args:
        elements: Of :func:`nequix.metrics.errors.by_element`.
    """
    from ase.data import chemical_symbols
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(4.0, 0.17 * len(elements) + 1), 5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    place = np.arange(len(elements))
    width = 0.8 if len(elements) > 8 else 0.1 * len(elements)  # few bars would fill the figure
    for axis, name, label in ((upper, "energy", "energy (meV/atom)"), (lower, "forces", "forces (meV/A)")):
        axis.bar(place, [1e3 * (row[name]["mae"] or 0.0) for row in elements], width=max(width, 0.3))
        axis.set_ylabel(f"MAE, {label}")
    rotation = 90 if len(elements) > 12 else 0
    lower.set_xticks(place, [chemical_symbols[row["number"]] for row in elements], rotation=rotation)
    lower.tick_params(axis="x", labelsize=7 if len(elements) > 30 else 9)
    lower.set_xlabel("element")
    lower.set_xlim(-0.7, len(elements) - 0.3)
    return figure
