"""The report of ``nequix coverage``: a table in the terminal, a page with figures, all numbers as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nequix.coverage.assess_coverage import Coverage, Gap
from nequix.coverage.environments import ANGLE_BINS, BIN_WIDTH, Z
from nequix.coverage.reference import VERDICTS, Reference
from nequix.evaluation.report import Report
from nequix.io.tables import format_item, format_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 12
"""Number of gaps and structures in tables; results.json has more."""

_DRAWN = 6  # histograms
_COLUMNS = 3
_COLOURS = {"inside": "tab:green", "edge": "tab:orange", "outside": "tab:red"}


def write_report(
    folder: Path, coverage: Coverage, reference: Reference, identity: dict[str, Any]
) -> dict[str, Any]:
    """Write ``report.md``, its figures and ``results.json``.

    Args:
        folder: An existing folder.
        coverage: Coverage of the target.
        reference: The reference that it was compared with.
        identity: Identity of the engine and the settings (:class:`nequix.evaluation.report.Report`).

    Returns:
        The results in ``results.json``.
    """
    results = {**coverage.to_dict(), "reference": describe_reference(reference)}
    report = Report(folder, f"Coverage of {', '.join(identity['settings']['target'])} by {reference.model}")
    show_coverage(report, coverage, reference)
    report.write(identity, results)
    return results


def show_coverage(report: Report, coverage: Coverage, reference: Reference) -> None:
    """Add verdict, reasons, gaps, figures and structures to a report.

    Args:
        report: The report.
        coverage: Coverage of the target.
        reference: The reference that it was compared with.
    """
    report.text(f"**{coverage.verdict}**: {_counts(coverage)}.")
    report.text("\n".join(f"- {reason}" for reason in coverage.reasons))
    usual = reference.calibration.verdicts
    shares = ", ".join(f"{100 * usual.get(name, 0):.1f} % {name}" for name in VERDICTS)
    report.text(
        f"{compared_with(reference)}{_left_out(coverage)} Of compositions held out of it "
        f"({reference.calibration.n_structures} structures): {shares}."
    )
    if reference.source:
        report.text(f"Source of the reference: {reference.source}.")
    if coverage.gaps:
        report.heading("Gaps")
        report.text("What the target has and the training set nearly never. Rarity: 0 common, 2 unheard of.")
        report.table(_GAP_HEADER, [_gap_row(gap) for gap in coverage.gaps[:SHOWN]])
    report.figure("histograms", _CAPTION, draw_histograms(coverage, reference))
    report.figure("scores", "Largest score of each structure.", draw_scores(coverage, reference))
    report.heading("Structures")
    order = np.argsort(-coverage.structure_score, kind="stable")[:SHOWN].tolist()
    rows = [
        (
            coverage.names[i],
            coverage.verdicts[i],
            float(coverage.structure_score[i]),
            _worst_atom(coverage, i),
        )
        for i in order
    ]
    report.table(("structure", "verdict", "score", "atom"), rows)
    if coverage.failures:
        report.heading(f"{len(coverage.failures)} structures that cannot be judged")
        report.table(("structure", "reason"), coverage.failures[:SHOWN])


_CAPTION = (
    "Training set (grey: structures, each kind's highest bin 1) and target (line), with the gaps in red; the "
    "kinds of the gravest gaps first, then the target's commonest pairs."
)
_GAP_HEADER = ("view", "what", "range", "share of atoms", "training set", "rarity", "first atoms")


def describe_reference(reference: Reference) -> dict[str, Any]:
    """Describe a reference, for JSON.

    Args:
        reference: The reference.
    """
    return {
        "model": reference.model,
        "model_checksum": reference.checksum,
        "data": reference.data,
        "source": reference.source,
        "caveat": reference.caveat,
        "n_structures": reference.n_structures,
        "n_atoms": reference.n_atoms,
        "features": reference.features is not None,
        "calibration": asdict(reference.calibration),
    }


def compared_with(reference: Reference) -> str:
    """Describe in a sentence what a target is compared with, and the caveats.

    Args:
        reference: The reference.
    """
    caveat = f" Mind: {reference.caveat}." if reference.caveat else ""
    return f"Compared with {reference.n_structures} structures of {reference.data}.{caveat}"


def _left_out(coverage: Coverage) -> str:
    return "" if "features" in coverage.values else " The model's own features are left out."


def _counts(coverage: Coverage) -> str:
    counts = [f"{coverage.verdicts.count(name)} {name}" for name in VERDICTS]
    return f"of {len(coverage.names)} structures with {len(coverage.numbers)} atoms {', '.join(counts)}"


def _worst_atom(coverage: Coverage, structure: int) -> str:
    from ase.data import chemical_symbols

    atoms = np.flatnonzero(coverage.atom_structure == structure)
    worst = atoms[coverage.score[atoms].argmax()]
    return f"{worst - atoms[0]} ({chemical_symbols[coverage.numbers[worst]]})"


def _gap_row(gap: Gap) -> tuple[str, ...]:
    unit = {"pairs": " A", "angles": " degrees"}.get(gap.view, "")
    span = f"{gap.low:.3g}" if gap.low == gap.high else f"{gap.low:.3g}-{gap.high:.3g}"
    some = " ".join(f"{structure}:{atom}" for structure, atom in gap.atoms[:4])
    more = " ..." if gap.n_atoms > 4 else ""
    return (
        gap.view,
        gap.name,
        f"{span}{unit}",
        f"{100 * gap.share:.3g} %",
        gap.reason,
        f"{gap.rarity:.2f}",
        some + more,
    )


def print_coverage(coverage: Coverage) -> None:
    """Print verdict, reasons and gaps.

    Args:
        coverage: Coverage of the target.
    """
    print(f"{coverage.verdict}: {_counts(coverage)}{_left_out(coverage)}")
    for reason in coverage.reasons:
        print(format_item("-", reason))
    for name, reason in coverage.failures[:SHOWN]:
        message = reason if reason.startswith(f"{name}: ") else f"{name}: {reason}"
        print(format_item("not judged:", message))
    if coverage.gaps:
        print("\nIn the target, but almost never in the training set:")
        print(format_table(_GAP_HEADER, [_gap_row(gap) for gap in coverage.gaps[:SHOWN]]))
        if len(coverage.gaps) > SHOWN:
            print(f"and {len(coverage.gaps) - SHOWN} more")


def draw_histograms(coverage: Coverage, reference: Reference) -> Figure:
    """Draw distances and angles of training set and target, kinds with gaps first.

    Args:
        coverage: Coverage of the target.
        reference: The reference that it was compared with.
    """
    from matplotlib.figure import Figure

    kinds = _kinds(coverage)
    n_columns = min(len(kinds), _COLUMNS)
    n_rows = -(-len(kinds) // n_columns)
    figure = Figure(figsize=(max(4.2 * n_columns, 6.0), 2.8 * n_rows), layout="constrained")
    axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for axis, kind in zip(axes, kinds, strict=False):
        _draw_kind(axis, *kind, coverage, reference)
    for axis in axes[::n_columns]:
        axis.set_ylabel("count (highest bin = 1)", fontsize=9)
    for axis in axes[len(kinds) :]:
        axis.set_axis_off()
    return figure


def _kinds(coverage: Coverage) -> list[tuple[str, str]]:
    """Choose what to draw."""
    from ase.data import chemical_symbols

    kinds = [(gap.view, gap.name) for gap in coverage.gaps if gap.view in ("pairs", "angles")]
    for view in ("pairs", "angles"):
        histograms = coverage.histograms[view]
        for place in np.argsort(-histograms.counts.sum(axis=1), kind="stable").tolist():
            center, ends = divmod(int(histograms.codes[place]), Z**2)
            numbers = [ends // Z, center, ends % Z] if view == "angles" else [ends // Z, ends % Z]
            kinds.append((view, "-".join(chemical_symbols[number] for number in numbers)))
    return list(dict.fromkeys(kinds))[:_DRAWN] or [("pairs", "")]


def _draw_kind(axis: Axes, view: str, name: str, coverage: Coverage, reference: Reference) -> None:
    from ase.data import atomic_numbers

    if not name:
        axis.text(0.5, 0.5, "no neighbours", transform=axis.transAxes, ha="center")
        return
    numbers = [atomic_numbers[symbol] for symbol in name.split("-")]
    ends = sorted((numbers[0], numbers[-1]))
    code = ends[0] * Z + ends[1] + (numbers[1] * Z**2 if view == "angles" else 0)
    if view == "pairs":
        width, label = BIN_WIDTH, "distance (A)"
    else:
        width, label = 180 / ANGLE_BINS, "angle (degrees)"
    known, own = (held[view].row(code) for held in (reference.histograms, coverage.histograms))
    edges = width * np.arange(len(known) + 1)
    axis.stairs(known / max(known.max(), 1), edges, fill=True, color="0.75", label="training set")
    axis.stairs(own / max(own.max(), 1), edges, color="tab:blue", label="target")
    for gap in coverage.gaps:
        if (gap.view, gap.name) == (view, name):
            axis.axvspan(gap.low, gap.high, color="tab:red", alpha=0.25, linewidth=0)
    filled = np.flatnonzero(known + own)
    axis.set_xlim(float(edges[filled[0]]) - 2 * width if len(filled) else 0.0, float(edges[-1]))
    axis.set(title=f"{name}: at most {known.max():.0f} training structures in a bin", yticks=[])
    axis.set_xlabel(label, fontsize=9)
    axis.title.set_fontsize(9)
    axis.set_ylim(0, 1.25)
    axis.legend(fontsize=7, loc="upper left", ncols=2)


def draw_scores(coverage: Coverage, reference: Reference) -> Figure:
    """Draw the structures' largest scores, coloured by verdict, and what edge and outside begin with.

    Args:
        coverage: Coverage of the target.
        reference: The reference that it was compared with.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7, 3), layout="constrained")
    axis = figure.subplots()
    scores = coverage.structure_score
    limits = {
        f"{name} above {limit['score']:.2f}": (limit["score"], style)
        for name, limit, style in (
            ("edge", reference.calibration.edge, "--"),
            ("outside", reference.calibration.outside, ":"),
        )
        if "score" in limit
    }
    highest = max([float(scores.max()), *(value for value, _ in limits.values())])
    bins: Sequence[float] = np.linspace(0, 1.05 * highest, 41).tolist()
    groups = [scores[[verdict == name for verdict in coverage.verdicts]] for name in VERDICTS]
    labels = [f"{name}: {len(group)}" for name, group in zip(VERDICTS, groups, strict=True)]
    axis.hist(groups, bins, stacked=True, color=[_COLOURS[name] for name in VERDICTS], label=labels)
    for label, (value, style) in limits.items():
        axis.axvline(value, color="black", linestyle=style, label=label)
    axis.set(xlabel="largest score of an atom in a structure", ylabel="structures")
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(fontsize=8, loc="outside right upper")
    return figure
