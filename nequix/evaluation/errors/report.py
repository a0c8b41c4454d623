"""The report of the task ``errors``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nequix.evaluation.report import Report
from nequix.evaluation.run_directory import RunDirectory
from nequix.metrics import errors as metrics
from nequix.metrics.figures import GPA, element_bars, parity
from nequix.metrics.predictions import Predictions

SHOWN = 10
"""Structures and compositions that the report names; results.json holds more."""

WORST = 50
"""Structures that results.json names."""


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
        identity: What :meth:`nequix.evaluation.run_directory.RunDirectory.begin` was given.

    Returns:
        The summary of all structures, and under ``by_file`` of each of several files.
    """
    predictions, failures = read_predictions(store, items)
    summary = metrics.summarise(predictions)
    files = _read_files(store, items, list(identity["settings"]["data"]))
    per_file = metrics.by_file(predictions, files) if len(set(files)) > 1 else []
    sizes = metrics.by_force_size(predictions)
    elements = metrics.by_element(predictions)
    results = {
        "summary": summary,
        "by_file": per_file,
        "by_force_size": sizes,
        "by_element": elements,
        "by_composition": metrics.by_composition(predictions),
        "worst": metrics.worst(predictions, WORST),
        "failures": failures,
    }
    data = ", ".join(identity["settings"]["data"])
    report = Report(store.folder, f"Errors of {identity['engine']['model']['name']} on {data}")
    _show_files(report, per_file)
    show_summary(report, summary, len(failures))
    _show_sizes(report, sizes)
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
    return {**summary, "by_file": per_file}


def _read_files(store: RunDirectory, items: Sequence[str], names: list[str]) -> list[str]:
    """Return the file of every structure that was predicted; none of runs that did not record it."""
    outcomes = [store.read(item) for item in items]
    values = [outcome.values for outcome in outcomes if outcome.error is None]
    if not all("files" in value for value in values):
        return []
    return [names[int(index)] for value in values for index in value["files"]]


def summary_rows(summary: dict[str, Any]) -> list[tuple[Any, ...]]:
    """List quantity, unit, number, MAE, median, RMSE, bias and largest error for a table.

    Args:
        summary: Of :func:`nequix.metrics.errors.summarise`.
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
        numbers = (_times(held[key], factor) for key in ("mae", "median", "rmse", "mean", "max_abs"))
        rows.append((name.replace("_", " "), unit, held["n"], *numbers))
    return rows


def print_errors(summary: dict[str, Any]) -> None:
    """Print mean and median absolute errors, and the RMSE.

    Args:
        summary: Of :func:`nequix.metrics.errors.summarise`.
    """
    for quantity, unit, n, mae, median, rmse, *_ in summary_rows(summary):
        if n:
            print(f"  {quantity:22} MAE {mae:8.4g}  median {median:8.4g}  RMSE {rmse:8.4g} {unit}")


def show_summary(report: Report, summary: dict[str, Any], n_failures: int) -> None:
    """Show the errors of all structures.

    Args:
        report: The page.
        summary: Of :func:`nequix.metrics.errors.summarise`.
        n_failures: Structures without a prediction.
    """
    report.text(
        f"{summary['n_structures']} structures with {summary['n_atoms']} atoms; {n_failures} more have no "
        "prediction. Missing labels, and those of weight zero, are left out."
    )
    report.table(("quantity", "unit", "n", "MAE", "median", "RMSE", "bias", "largest"), summary_rows(summary))
    report.text(
        "Energies are per atom; *median* is that of the absolute errors. *Energy without offsets*: less "
        "one energy "
        f"for each element ({len(summary['offsets'])} fitted to the errors by least squares), as another "
        "functional "
        "or other pseudo-potentials would shift them. *Forces* counts components, *force vectors* the "
        "length of "
        "each atom's error."
    )
    if _offsets_raise(summary):
        report.text(OFFSETS_RAISE)
    slopes = [
        f"{name} {summary[key]:.3f}"
        for name, key in (("forces", "force_slope"), ("stress", "stress_slope"))
        if summary[key] is not None
    ]
    if slopes:
        intro = "Slope of predictions against labels, through the origin (below 1: the surface is too soft)"
        report.text(f"{intro}: {', '.join(slopes)}.")


def _offsets_raise(summary: dict[str, Any]) -> bool:
    raw, left = (summary[name]["mae"] for name in ("energy", "energy_without_offsets"))
    return raw is not None and left is not None and left > raw


OFFSETS_RAISE = (
    "The mean absolute error *without offsets* is larger than the raw one: the fit minimises squares, so a "
    "few "
    "structures with large errors decide the offsets and shift all others away from zero. There is no common "
    "offset to remove; use the raw error, and look at the worst structures."
)


def _show_files(report: Report, files: list[dict[str, Any]]) -> None:
    """Show each file by itself: one mean over different kinds of structures describes none of them."""
    if not files:
        return
    report.heading("By file")
    report.text(
        "Mean absolute errors, and medians of the absolute errors in parentheses. Offsets are fitted to "
        "each file. "
        "Numbers over all files, below, mix what may be of different kinds."
    )
    header = ("file", "structures", *_MAES)
    report.table(header, [(row["file"], row["n_structures"], *_with_medians(row)) for row in files])
    report.heading("All files together")


def _show_sizes(report: Report, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    report.heading("By size of the forces")
    report.text(
        "Structures by the mean size of their labelled force components: cells without forces by symmetry, "
        "near "
        "equilibrium, dynamics, strong distortions. Medians in parentheses."
    )
    report.table(
        ("labelled forces", "structures", *_MAES),
        [(describe_band(row), row["n_structures"], *_with_medians(row)) for row in rows],
    )


def describe_band(row: dict[str, Any]) -> str:
    """Name the range of force sizes of a row of :func:`nequix.metrics.errors.by_force_size`.

    Args:
        row: The row.
    """
    low, high = 1e3 * row["from"], None if row["to"] is None else 1e3 * row["to"]
    if high is None:
        return f"above {low:g} meV/A"
    return f"{low:g} to {high:g} meV/A" if low else f"none (below {high:g} meV/A)"


def _with_medians(row: dict[str, Any]) -> list[str | None]:
    factors = {"energy": 1e3, "energy_without_offsets": 1e3, "forces": 1e3, "stress": GPA}
    return [
        None
        if row[name]["mae"] is None
        else f"{factor * row[name]['mae']:.4g} ({factor * row[name]['median']:.4g})"
        for name, factor in factors.items()
    ]


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


_MAES = ("energy MAE, meV/atom", "energy without offsets", "force MAE, meV/A", "stress MAE, GPa")


def _scaled(row: dict[str, Any]) -> tuple[float | None, ...]:
    factors = {"energy": 1e3, "energy_without_offsets": 1e3, "forces": 1e3, "stress": GPA}
    return tuple(_times(row[name]["mae"], factor) for name, factor in factors.items())


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else factor * value
