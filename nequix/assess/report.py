"""The page of a decision: verdict, numbers against thresholds, reasons, doubts, coverage, figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nequix.assess.decide import ACTIONS, Verdict
from nequix.assess.measure import Estimate, Measured
from nequix.assess.thresholds import Thresholds
from nequix.coverage.assess_coverage import Coverage
from nequix.coverage.reference import Reference
from nequix.coverage.report import describe_reference, show_coverage
from nequix.evaluation.report import Report
from nequix.io.tables import format_item, format_table
from nequix.metrics.figures import parity

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_report(
    folder: Path,
    verdict: Verdict,
    measured: Measured,
    protocol: Thresholds,
    recorded: str,
    coverage: Coverage | None,
    reference: Reference | None,
    identity: dict[str, Any],
) -> dict[str, Any]:
    """Write ``report.md``, its figures and ``results.json``.

    Args:
        folder: An existing folder.
        verdict: The decision.
        measured: Errors on the labelled snapshots.
        protocol: The thresholds.
        recorded: Time when they were recorded.
        coverage: Coverage of the target, if there is a reference.
        reference: Reference of the model's training set.
        identity: Identity of the engine and the settings (:class:`nequix.evaluation.report.Report`).

    Returns:
        The results in ``results.json``.
    """
    results: dict[str, Any] = {
        "verdict": verdict.to_dict(),
        "measured": measured.to_dict(),
        "protocol": {"recorded": recorded, **vars(protocol)},
        "coverage": None,
    }
    report = Report(folder, f"May {identity['engine']['model']['name']} be used for {_target(identity)}?")
    report.text(f"**{_headline(verdict)}**")
    for title, lines in (("Reasons", verdict.reasons), ("Doubts", verdict.doubts)):
        if lines:
            report.text(f"{title}:")
            report.text("\n".join(f"- {line}" for line in lines))
    if verdict.next:
        report.text("Next steps:\n\n" + "\n".join(f"    {command}" for command in verdict.next))
    report.heading("Errors against thresholds")
    n, percent = len(measured.predictions.names), 100 * protocol.confidence
    report.text(
        f"Mean absolute errors on {n} labelled snapshots; {percent:g} % intervals from {protocol.samples} "
        f"bootstrap samples of snapshots. The thresholds were recorded {recorded}, before the data were read."
    )
    report.table(_HEADER, rows(measured, protocol))
    if len(measured.kinds) > 1:
        report.heading("Force errors by kind")
        report.text(
            "Labelled snapshots by the size of their predicted forces; one mean over all describes none of "
            "them."
        )
        of_kinds = [
            (kind.name, kind.forces.n, kind.sizes, kind.forces.value, _interval(kind.forces))
            for kind in measured.kinds
        ]
        report.table(("snapshots with", "number", "force, meV/A", "MAE, meV/A", "interval"), of_kinds)
    if measured.offsets:
        from ase.data import chemical_symbols

        offsets = ", ".join(f"{chemical_symbols[z]} {offset:+.4g}" for z, offset in measured.offsets.items())
        report.text(f"Energy offsets removed, prediction minus label, eV/atom: {offsets}.")
    if measured.predictions.names:
        report.figure("thresholds", "Errors, their intervals, and the thresholds.", draw(measured, protocol))
        report.figure("parity", "Predictions against labels.", parity(measured.predictions))
    if measured.failures:
        report.heading(f"{len(measured.failures)} labelled snapshots without a prediction")
        report.table(("snapshot", "reason"), measured.failures[:10])
    if coverage is not None and reference is not None:
        results["coverage"] = {**coverage.to_dict(), "reference": describe_reference(reference)}
        report.heading("Coverage of the target")
        show_coverage(report, coverage, reference)
    report.write(identity, results)
    return results


_HEADER = ("quantity", "unit", "MAE", "interval", "as it is", "tuned", "snapshots")


def _target(identity: dict[str, Any]) -> str:
    return ", ".join(identity["settings"]["target"])


def _headline(verdict: Verdict) -> str:
    text = ACTIONS[verdict.action]
    if verdict.action == "few-shot":
        text += f": {verdict.mode}" + (
            f", {verdict.n_structures} to begin with" if verdict.n_structures else ""
        )
    return text[0].upper() + text[1:]


def rows(measured: Measured, protocol: Thresholds) -> list[tuple[Any, ...]]:
    """List errors and thresholds for a table.

    Args:
        measured: Errors on the labelled snapshots.
        protocol: The thresholds.
    """
    quantities: tuple[tuple[str, str, Estimate, float | None, float | None], ...] = (
        ("force", "meV/A", measured.forces, protocol.zero_shot_force, protocol.tuned_force),
        ("energy without offsets", "meV/atom", measured.energy_without_offsets, None, protocol.tuned_energy),
        ("energy", "meV/atom", measured.energy, None, None),
        ("stress", "GPa", measured.stress, None, None),
        ("no force at all", "meV/A", Estimate(measured.force_size), None, None),
    )
    return [
        (
            name,
            unit,
            e.value,
            _interval(e),
            zero,
            tuned,
            e.n or None,
        )
        for name, unit, e, zero, tuned in quantities
    ]


def _interval(estimate: Estimate) -> str | None:
    return None if estimate.low is None else f"{estimate.low:.4g} to {estimate.high:.4g}"


def draw(measured: Measured, protocol: Thresholds) -> Figure:
    """Draw force and energy errors with intervals and thresholds, and their spread over snapshots.

    Args:
        measured: Errors on the labelled snapshots.
        protocol: The thresholds.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    p = measured.predictions
    difference = np.abs(1e3 * (p.predicted_forces - p.forces)).mean(axis=1)
    each = np.array([part.mean() for part in np.split(difference, np.cumsum(p.n_atoms)[:-1])])
    of_forces = {"as it is": protocol.zero_shot_force, "tuned": protocol.tuned_force}
    of_energy = {"tuned": protocol.tuned_energy}
    energy = "energy MAE, offsets removed (meV/atom)"
    panels = (
        (measured.forces, "force MAE (meV/A)", of_forces, each),
        (measured.energy_without_offsets, energy, of_energy, None),
    )
    for axis, (estimate, label, limits, snapshots) in zip(figure.subplots(1, 2), panels, strict=True):
        if snapshots is not None and np.isfinite(snapshots).any():
            known = snapshots[np.isfinite(snapshots)]
            axis.plot(known, np.linspace(0.6, 1.4, len(known)), ".", color="0.7", label="snapshots")
        if estimate.value is not None:
            low, high = estimate.lower, estimate.upper
            bars = [[estimate.value - low], [high - estimate.value]]
            axis.errorbar([estimate.value], [1.0], xerr=bars, marker="o", capsize=4, label="mean")
        for (name, limit), style in zip(limits.items(), ("--", ":"), strict=False):
            axis.axvline(limit, color="tab:red", linestyle=style, label=f"threshold, {name}")
        axis.set(xlabel=label, yticks=[], ylim=(0, 2))
        axis.set_xlim(left=0)
        axis.legend(fontsize=7)
    return figure


def print_verdict(verdict: Verdict, measured: Measured, protocol: Thresholds) -> None:
    """Print the decision and its reasons.

    Args:
        verdict: The decision.
        measured: Errors on the labelled snapshots.
        protocol: The thresholds.
    """
    print(f"{_headline(verdict)}\n")
    for sign, lines in (("+", verdict.reasons), ("?", verdict.doubts), (">", verdict.next)):
        for line in lines:
            # Commands are not wrapped, so that they can be copied.
            print(f"{sign} {line}" if sign == ">" else format_item(sign, line))
    print("\nMean absolute errors and thresholds:")
    cells = [
        [f"{x:.4g}" if isinstance(x, float) else "-" if x is None else x for x in row]
        for row in rows(measured, protocol)
    ]
    print(format_table(_HEADER, cells))
