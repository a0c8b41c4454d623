"""The report of the task ``speed``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nequix.evaluation.report import Report
from nequix.evaluation.run_directory import RunDirectory
from nequix.evaluation.speed.clock import paired_ratio, steps_per_day
from nequix.evaluation.speed.task import Speed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GIB = 2**30


def write_report(store: RunDirectory, task: Speed, identity: dict[str, Any]) -> list[dict[str, Any]]:
    """Write the report of a finished run.

    Args:
        store: The run.
        task: What ran.
        identity: What :meth:`nequix.evaluation.run_directory.RunDirectory.begin` was given.

    Returns:
        A row for each size and contender: ``n_atoms``, ``contender``, ``steps_per_day`` and ``ratio``
        (median, least, most), ``peak`` and ``loaded`` (bytes), ``error``.
    """
    outcomes = [store.read(item) for item in task.items()]
    failures = {item: o.error for item, o in zip(task.items(), outcomes, strict=True) if o.error is not None}
    rows = [
        row
        for outcome in outcomes
        if outcome.error is None
        for row in rows_of(outcome.values, task.contenders[0].label)
    ]
    report = Report(store.folder, "Speed on diamond")
    report.text(
        f"Steps of velocity Verlet in ASE, neighbour lists included, of rattled diamond. The contenders took "
        f"turns {task.rounds} times; a ratio compares each turn with that of the first contender: above 1 is "
        "slower. Ranges are those of the turns: wide ones indicate a busy machine."
    )
    report.table(
        ("atoms", "contender", "steps per day", "range", "ms/atom", "time over first", "range", "peak, GiB"),
        [_cells(row) for row in rows if row["error"] is None],
    )
    report.text("*Peak*: memory of a process of its own on the host, libraries included.")
    broken = [(row["n_atoms"], row["contender"], row["error"]) for row in rows if row["error"] is not None]
    broken += [(item, "all", error) for item, error in failures.items()]
    if broken:
        report.heading("What could not be timed")
        report.table(("atoms", "contender", "reason"), broken)
    if any(row["error"] is None for row in rows):
        report.figure(
            "speed", "Steps a day, and memory if measured, against the number of atoms.", draw(rows)
        )
    report.write(identity, {"rows": rows, "failures": failures})
    return rows


def rows_of(values: Mapping[str, Any], first: str) -> list[dict[str, Any]]:
    """Turn one size's times into rows.

    Args:
        values: Of the item.
        first: Label of the contender that the others are compared with.
    """
    rows = []
    base = values["contenders"].get(first, {}).get("seconds")
    for label, held in values["contenders"].items():
        seconds = held.get("seconds")
        rows.append(
            {
                "n_atoms": values["n_atoms"],
                "contender": label,
                "error": held.get("error"),
                "steps_per_day": steps_per_day(seconds) if seconds else None,
                "ratio": paired_ratio(seconds, base) if seconds and base else None,
                "first_step": held.get("first"),
                "peak": held.get("peak"),
                "loaded": held.get("loaded"),
            }
        )
    return rows


def _cells(row: dict[str, Any]) -> tuple[Any, ...]:
    median, least, most = row["steps_per_day"]
    ratio = row["ratio"] or (None, None, None)
    return (
        row["n_atoms"],
        row["contender"],
        f"{median:,.0f}",
        f"{least:,.0f} to {most:,.0f}",
        86400e3 / median / row["n_atoms"],
        ratio[0],
        None if ratio[1] is None else f"{ratio[1]:.3g} to {ratio[2]:.3g}",
        None if row["peak"] is None else row["peak"] / GIB,
    )


def draw(rows: list[dict[str, Any]]) -> Figure:
    """Draw steps per day and memory of every contender against the number of atoms.

    Args:
        rows: Of :func:`rows_of`.
    """
    from matplotlib.figure import Figure

    measured = any(row["peak"] is not None for row in rows)
    figure = Figure(figsize=(11 if measured else 6, 4.2), layout="constrained")
    axes = figure.subplots(1, 1 + measured, squeeze=False)[0]
    left, right = axes[0], axes[-1]
    for label in dict.fromkeys(row["contender"] for row in rows):
        own = [row for row in rows if row["contender"] == label and row["error"] is None]
        if not own:
            continue
        atoms = [row["n_atoms"] for row in own]
        medians, least, most = zip(*(row["steps_per_day"] for row in own), strict=True)
        below = [m - low for m, low in zip(medians, least, strict=True)]
        above = [high - m for m, high in zip(medians, most, strict=True)]
        left.errorbar(atoms, medians, (below, above), marker="o", markersize=4, capsize=2, label=label)
        held = [(row["n_atoms"], row["peak"] / GIB) for row in own if row["peak"] is not None]
        if held:
            right.plot(*zip(*held, strict=True), marker="o", markersize=4, label=label)
    for axis, label in zip(axes, ("steps per day", "peak memory (GiB)"), strict=False):
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlabel("atoms of diamond")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    left.legend(fontsize=7)
    return figure
