"""The report of the task ``errors``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nequix.evaluate.errors import metrics
from nequix.evaluate.errors.predictions import Predictions
from nequix.evaluate.report import Report
from nequix.evaluate.run_directory import RunDirectory

if TYPE_CHECKING:
    from jaxtyping import Float
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 10
"""Structures and compositions that the report names; results.json holds more."""

WORST = 50
"""Structures that results.json names."""

GPA = 160.21766208
"""1 eV/A^3 in GPa."""

_BINS = 60  # of a parity plot's hexagons


def read_predictions(store: RunDirectory, items: Sequence[str]) -> tuple[Predictions, list[list[str]]]:
    """Read what a run has predicted.

    Args:
        store: The run.
        items: Its blocks.

    Returns:
        The predictions, and the names of the structures without one, each with the reason.
    """
    parts, failures = [], []
    for item in items:
        outcome = store.read(item)
        if outcome.error is not None:
            failures.append([item, outcome.error])
            continue
        parts.append(Predictions(tuple(outcome.values["names"]), **outcome.arrays))
        failures += outcome.values["failures"]
    return Predictions.join(parts), failures


def write_report(store: RunDirectory, items: Sequence[str], identity: dict[str, Any]) -> dict[str, Any]:
    """Write the report of a finished run.

    Args:
        store: The run.
        items: Its blocks.
        identity: What :meth:`nequix.evaluate.run_directory.RunDirectory.begin` was given.

    Returns:
        The summary of all structures.
    """
    predictions, failures = read_predictions(store, items)
    summary = metrics.summarise(predictions)
    elements = metrics.by_element(predictions)
    results = {
        "summary": summary,
        "by_element": elements,
        "by_composition": metrics.by_composition(predictions),
        "worst": metrics.worst(predictions, WORST),
        "failures": failures,
    }
    data = ", ".join(identity["settings"]["data"])
    report = Report(store.folder, f"Errors of {identity['engine']['model']['name']} on {data}")
    _show_summary(report, summary, len(failures))
    if predictions.names:
        report.figure("parity", "Predictions against labels.", parity(predictions))
    _show_worst(report, results["worst"])
    if elements:
        _show_elements(report, elements, summary["offsets"])
        report.figure("elements", "Mean absolute errors by element.", element_bars(elements))
    _show_compositions(report, results["by_composition"])
    if failures:
        report.heading(f"{len(failures)} structures without a prediction")
        report.table(("structure", "reason"), failures[:SHOWN])
    report.write(identity, results)
    return summary


def summary_rows(summary: dict[str, Any]) -> list[tuple[Any, ...]]:
    """List quantity, unit, number, MAE, RMSE, bias and largest error for a table.

    Args:
        summary: Of :func:`nequix.evaluate.errors.metrics.summarise`.
    """
    kinds = (
        ("energy", "meV/atom", 1e3),
        ("energy_without_offsets", "meV/atom", 1e3),
        ("forces", "meV/A", 1e3),
        ("force_vectors", "meV/A", 1e3),
        ("stress", "GPa", GPA),
    )
    rows = []
    for name, unit, factor in kinds:
        held = summary[name]
        numbers = (None if held[key] is None else factor * held[key] for key in ("mae", "rmse", "mean"))
        largest = None if held["max_abs"] is None else factor * held["max_abs"]
        rows.append((name.replace("_", " "), unit, held["n"], *numbers, largest))
    return rows


def _show_summary(report: Report, summary: dict[str, Any], n_failures: int) -> None:
    report.text(
        f"{summary['n_structures']} structures with {summary['n_atoms']} atoms; {n_failures} more have no "
        "prediction. Missing labels, and those of weight zero, are left out."
    )
    report.table(("quantity", "unit", "n", "MAE", "RMSE", "bias", "largest"), summary_rows(summary))
    report.text(
        "Energies are per atom. *Without offsets*: less the energy for each element that fits the errors "
        f"best ({len(summary['offsets'])} fitted), as another functional or other pseudo-potentials would "
        "shift them. *Forces* counts components, *force vectors* the length of each atom's error."
    )
    slopes = [
        f"{name} {summary[key]:.3f}"
        for name, key in (("forces", "force_slope"), ("stress", "stress_slope"))
        if summary[key] is not None
    ]
    if slopes:
        told = "Slope of predictions against labels, through the origin (below 1: the surface is too soft)"
        report.text(f"{told}: {', '.join(slopes)}.")


def _show_worst(report: Report, worst: dict[str, list[dict[str, Any]]]) -> None:
    report.heading("Worst structures")
    units = {"energy": ("meV/atom", 1e3), "force": ("meV/A", 1e3), "stress": ("GPa", GPA)}
    columns = [
        [f"{row['name']}: {units[name][1] * row['error']:.4g}" for row in worst[name][:SHOWN]]
        for name in units
    ]
    length = max(map(len, columns))
    padded = [column + ["-"] * (length - len(column)) for column in columns]
    report.table([f"{name}, {unit}" for name, (unit, _) in units.items()], list(zip(*padded, strict=True)))


def _show_elements(report: Report, elements: list[dict[str, Any]], offsets: dict[str, float]) -> None:
    from ase.data import chemical_symbols

    report.heading("By element")
    report.text("Energies are those of the structures that have the element.")
    rows = [
        (
            chemical_symbols[row["number"]],
            row["n_structures"],
            row["n_atoms"],
            *_scaled(row),
            _times(offsets.get(str(row["number"])), 1e3),
        )
        for row in elements
    ]
    header = ("element", "structures", "atoms", *_MAES, "offset, meV")
    report.table(header, rows)


def _show_compositions(report: Report, rows: list[dict[str, Any]]) -> None:
    report.heading("By composition")
    report.text(f"The {min(SHOWN, len(rows))} of {len(rows)} with the largest energy errors.")
    report.table(
        ("composition", "structures", "atoms", *_MAES),
        [(row["formula"], row["n_structures"], row["n_atoms"], *_scaled(row)) for row in rows[:SHOWN]],
    )


_MAES = ("energy MAE, meV/atom", "without offsets", "force MAE, meV/A", "stress MAE, GPa")


def _scaled(row: dict[str, Any]) -> tuple[float | None, ...]:
    factors = {"energy": 1e3, "energy_without_offsets": 1e3, "forces": 1e3, "stress": GPA}
    return tuple(_times(row[name]["mae"], factor) for name, factor in factors.items())


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else factor * value


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
        (p.energy / p.n_atoms, p.predicted_energy / p.n_atoms, "energy per atom (eV)"),
        (p.forces, p.predicted_forces, "force component (eV/A)"),
        (GPA * p.stress, GPA * p.predicted_stress, "stress component (GPa)"),
    )
    for axis, (labels, predicted, quantity) in zip(axes, panels, strict=True):
        _draw_parity(axis, labels, predicted, quantity)
    return figure


def _draw_parity(
    axis: Axes, labels: Float[np.ndarray, "..."], predicted: Float[np.ndarray, "..."], quantity: str
) -> None:
    known = np.isfinite(labels) & np.isfinite(predicted)
    axis.set_xlabel(f"label: {quantity}")
    axis.set_ylabel("prediction")
    if not known.any():
        axis.text(0.5, 0.5, "no labels", transform=axis.transAxes, ha="center")
        return
    x, y = labels[known], predicted[known]
    low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    margin = 0.03 * (high - low) or 1.0
    limits = (low - margin, high + margin)
    axis.hexbin(x, y, gridsize=_BINS, bins="log", mincnt=1, extent=(*limits, *limits), linewidths=0.1)
    axis.plot(limits, limits, color="black", linewidth=0.6)
    axis.set_xlim(*limits)
    axis.set_ylim(*limits)
    axis.set_aspect("equal")


def element_bars(elements: list[dict[str, Any]]) -> Figure:
    """Draw the errors of energies and forces of each element.

    Args:
        elements: Of :func:`nequix.evaluate.errors.metrics.by_element`.
    """
    from ase.data import chemical_symbols
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(4.0, 0.17 * len(elements) + 1), 5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    place = np.arange(len(elements))
    for axis, name, label in ((upper, "energy", "energy (meV/atom)"), (lower, "forces", "forces (meV/A)")):
        axis.bar(place, [1e3 * (row[name]["mae"] or 0.0) for row in elements])
        axis.set_ylabel(label)
    lower.set_xticks(place, [chemical_symbols[row["number"]] for row in elements], rotation=90, fontsize=7)
    lower.set_xlim(-0.7, len(elements) - 0.3)
    return figure
