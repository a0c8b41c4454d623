"""The report of the task ``physics``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nequix.evaluation.physics import figures, judge
from nequix.evaluation.physics.task import CHECKS, PREFIXES, Physics
from nequix.evaluation.physics.verdicts import Row, Verdict, worst
from nequix.evaluation.report import Report
from nequix.evaluation.run_directory import RunDirectory
from nequix.evaluation.task import ItemResult

SHOWN = 15
"""Crystals that the report names; results.json holds all."""


def write_report(store: RunDirectory, task: Physics, identity: dict[str, Any]) -> dict[str, Verdict]:
    """Write the report of a finished run.

    Args:
        store: The run.
        task: What ran.
        identity: What :meth:`nequix.evaluation.run_directory.RunDirectory.begin` was given.

    Returns:
        The verdict of each check; a check with an item that could not be made is not made, unless another
        item has failed.
    """
    outcomes = {item: store.read(item) for item in task.items()}
    broken = {item: outcome.error for item, outcome in outcomes.items() if outcome.error is not None}
    groups = {check: _group(check, outcomes) for check in task.checks}
    rows = judge.judge(groups, identity["engine"]["dtype"])
    verdicts = {
        check: worst(
            [row.verdict for row in rows if row.check == check]
            + [Verdict.unmade for item in broken if _check_of(item) == check]
        )
        for check in task.checks
        if any(_check_of(item) == check for item in outcomes)
    }
    report = Report(store.folder, f"Physics of {identity['engine']['model']['name']}")
    _show_verdicts(report, task, verdicts, rows, broken)
    results: dict[str, Any] = {
        "verdicts": {check: verdict.value for check, verdict in verdicts.items()},
        "numbers": [_row_to_json(row) for row in rows],
        "failures": broken,
        "items": {item: dict(o.values) for item, o in outcomes.items() if o.error is None},
    }
    _show_cutoff_and_dynamics(report, groups, identity)
    for show in (_show_dimers, _show_eos, _show_elastic):
        results.update(show(report, groups))
    report.write(identity, results)
    return verdicts


def _check_of(item: str) -> str:
    return next((check for check, prefix in PREFIXES.items() if item.startswith(prefix)), item)


def _group(check: str, outcomes: Mapping[str, ItemResult]) -> dict[str, ItemResult]:
    prefix = PREFIXES.get(check, check)
    return {
        item.removeprefix(prefix): outcome
        for item, outcome in outcomes.items()
        if _check_of(item) == check and outcome.error is None
    }


def _row_to_json(row: Row) -> dict[str, Any]:
    limit = row.limit
    held = {"check": row.check, "quantity": row.quantity, "value": row.value, "unit": limit.unit}
    limits = {"passes": limit.passes, "warns": limit.warns, "float64_factor": limit.float64}
    return {**held, **limits, "verdict": row.verdict.value, "note": row.note, "reason": limit.reason}


def _show_verdicts(
    report: Report,
    task: Physics,
    verdicts: Mapping[str, Verdict],
    rows: list[Row],
    broken: Mapping[str, str | None],
) -> None:
    report.table(("check", "verdict"), [(check, _bold(verdict)) for check, verdict in verdicts.items()])
    left_out = [check for check in CHECKS if check not in verdicts]
    if left_out:
        report.text(f"Without a reference, or not asked for: {', '.join(left_out)}.")
    if "dimers" in verdicts and task.reference("dimers") is None:
        report.text("No DFT curves of dimers were given: walls are not compared.")
    report.heading("Numbers")
    report.table(
        ("check", "quantity", "value", "unit", "pass up to", "warn up to", "verdict", "of"),
        [
            (
                r.check,
                r.quantity,
                r.value,
                r.limit.unit,
                r.limit.passes,
                r.limit.warns,
                _bold(r.verdict),
                r.note,
            )
            for r in rows
        ],
    )
    report.text("In float64 the limits of what only rounding may change are a millionth.")
    reasons = {(row.quantity, row.limit.reason): None for row in rows}
    report.text("\n".join(f"- {quantity}: {reason}." for quantity, reason in reasons))
    if broken:
        report.heading("Checks that could not be made")
        report.table(("item", "reason"), list(broken.items()))


def _bold(verdict: Verdict) -> str:
    return verdict.value if verdict == Verdict.passed else f"**{verdict.value}**"


def _show_cutoff_and_dynamics(
    report: Report, groups: Mapping[str, Mapping[str, ItemResult]], identity: dict[str, Any]
) -> None:
    if outcome := groups.get("cutoff", {}).get(""):
        report.heading("Cutoff")
        cutoff = identity["engine"]["model"]["spec"]["cutoff"]
        report.figure(
            "cutoff",
            "An atom pulled off a slab; a pair near the cutoff.",
            figures.cutoff_curves(outcome, cutoff),
        )
    if outcomes := groups.get("nve"):
        report.heading("Dynamics at constant energy")
        report.figure("nve", "Total energy over time.", figures.energies_of_dynamics(outcomes))


def _show_dimers(report: Report, groups: Mapping[str, Mapping[str, ItemResult]]) -> dict[str, Any]:
    outcomes = groups.get("dimers")
    if not outcomes:
        return {}
    report.heading("Dimers")
    report.text(
        "Green passes, orange warns, red fails; grey is DFT (PBE, lowest spin), which for some lanthanides "
        "is not smooth itself. Energies count from 6 A."
    )
    report.figure("dimers", "Two atoms of every element.", figures.dimer_curves(outcomes))
    judged = {symbol: judge.judge_dimer(outcome.values) for symbol, outcome in outcomes.items()}
    for verdict in (Verdict.failed, Verdict.warned):
        rows = [(symbol, reason) for symbol, (found, reason) in judged.items() if found == verdict]
        if rows:
            report.table((f"elements that {verdict.value}", "why"), rows)
    return {"dimers": {symbol: {"verdict": v.value, "why": why} for symbol, (v, why) in judged.items()}}


def _show_eos(report: Report, groups: Mapping[str, Mapping[str, ItemResult]]) -> dict[str, Any]:
    outcomes = groups.get("eos")
    if not outcomes:
        return {}
    plain = judge.plain_elements(outcomes)
    summaries = {
        "non-magnetic, no f electrons": judge.summarise_eos(outcomes, plain),
        "others": judge.summarise_eos(outcomes, [name for name in outcomes if name not in set(plain)]),
    }
    report.heading("Equations of state")
    report.text(
        "Medians over crystals of one element (BCC, FCC, SC, diamond), against all-electron PBE without "
        "magnetism and without U. Magnetic elements and those with f electrons differ for these reasons, too."
    )
    keys = ("n", "without_minimum", "V0 error", "B0 error", "B1 error", "Delta", "epsilon", "nu", "B0_ratio")
    header = ("crystals", "n", "no minimum", "V0, %", "B0, %", "B1, %", "Delta, meV/atom", "epsilon", "nu, %")
    report.table(
        (*header, "B0 ratio", "VASP's own Delta"),
        [
            (name, *(held[key] for key in keys), held["vasp_delta"])
            for name, held in summaries.items()
            if held["n"]
        ],
    )
    report.figure("eos", "Equations of state against the reference.", figures.equations_of_state(outcomes))
    found = [name for name in plain if outcomes[name].values["delta"] is not None]
    ordered = sorted(found, key=lambda name: -outcomes[name].values["delta"])[:SHOWN]
    rows = [(name, *(outcomes[name].values[key] for key in ("delta", "V0", "B0", "nu"))) for name in ordered]
    report.text("The largest Delta among non-magnetic crystals without f electrons:")
    report.table(("crystal", "Delta, meV/atom", "V0, A^3", "B0, GPa", "nu, %"), rows)
    return {"eos": summaries}


def _show_elastic(report: Report, groups: Mapping[str, Mapping[str, ItemResult]]) -> dict[str, Any]:
    outcomes = groups.get("elastic")
    if not outcomes:
        return {}
    report.heading("Elastic constants")
    summary = judge.summarise_elastic(outcomes)
    report.text(
        f"Hill averages of {summary['n']} crystals against the reference; {summary['unstable']} are "
        f"unstable, {summary['not_converged']} did not relax. The median ratio is "
        f"{1 - summary['bulk softening'] / 100:.3f} of the bulk moduli, "
        f"{1 - summary['shear softening'] / 100:.3f} of the shear moduli."
    )
    report.figure("elastic", "Moduli against the reference.", figures.elastic_moduli(outcomes))
    rows = [
        (
            name,
            v["formula"],
            v["bulk"],
            v["reference"]["bulk"],
            v["shear"],
            v["reference"]["shear"],
            "" if v["stable"] else "unstable",
        )
        for name, v in ((name, outcome.values) for name, outcome in outcomes.items())
    ]
    report.table(("identifier", "formula", "K, GPa", "reference", "G, GPa", "reference", ""), rows)
    return {"elastic": summary}
