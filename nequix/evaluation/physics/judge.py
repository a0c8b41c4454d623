"""From the items' numbers to verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nequix.evaluation.physics import cutoff, dimers, dynamics, elastic, eos, laws
from nequix.evaluation.physics.verdicts import Limit, Row, Verdict, worst
from nequix.evaluation.task import ItemResult

MAGNETIC = ("Cr", "Mn", "Fe", "Co", "Ni", "O")
"""Elements whose crystals are magnetic in training data, but not in the ACWF reference."""

F_ELECTRONS = (*range(57, 72), *range(89, 104))
"""Atomic numbers of lanthanides and actinides; functionals and codes treat their f electrons differently."""

PARTS = Limit("%", 5.0, 20.0, "part of the elements that fail; one bad element spoils only its own materials")


def judge_numbers(
    check: str, limits: Mapping[str, Limit], values: Mapping[str, Any], dtype: str, note: str = ""
) -> list[Row]:
    """Judge every number that has a limit.

    Args:
        check: What was checked.
        limits: By quantity.
        values: The numbers by quantity.
        dtype: Precision of the layers.
        note: Of all rows.
    """
    return [
        Row(check, name, values[name], limit, limit.judge(values[name], dtype), note)
        for name, limit in limits.items()
        if name in values
    ]


def judge_dimer(values: Mapping[str, Any]) -> tuple[Verdict, str]:
    """Judge the curve of one element.

    Args:
        values: Of its item.

    Returns:
        The verdict, and what is wrong.
    """
    limits = dimers.LIMITS
    found = {
        "wall deficit": limits["wall deficit"].judge(values["wall_deficit"]),
        "spurious minima": limits["spurious minima"].judge(len(values["spurious_minima"])),
    }
    reasons = []
    if found["wall deficit"] != Verdict.passed:
        what = "falls into a hole" if values["hole"] else "ends"
        if values["collapses"]:  # below the well, so that atoms that come over the wall stay there
            found["wall deficit"] = Verdict.failed
            what = "collapses"
        reasons.append(f"{what} behind a wall of {values['wall']:.1f} eV at {values['wall_distance']:.2f} A")
    if values["spurious_minima"]:
        reasons.append("minima at " + ", ".join(f"{r:.2f}" for r in values["spurious_minima"]) + " A")
    error = values.get("comparison", {}).get("wall_radius_error")
    if error is not None:
        found["wall radius error"] = limits["wall radius error"].judge(error)
        if found["wall radius error"] != Verdict.passed:
            reasons.append(f"wall off by {error:.2f} A")
    return worst(list(found.values())), "; ".join(reasons)


def judge_dimers(outcomes: Mapping[str, ItemResult]) -> list[Row]:
    """Judge the curves of all elements by the part that fails.

    Args:
        outcomes: By symbol.
    """
    verdicts = [judge_dimer(outcome.values)[0] for outcome in outcomes.values()]
    counts = [verdicts.count(verdict) for verdict in (Verdict.passed, Verdict.warned, Verdict.failed)]
    value = 100 * counts[2] / len(verdicts)
    note = f"{counts[0]} elements pass, {counts[1]} warn, {counts[2]} fail"
    return [Row("dimers", "elements that fail", value, PARTS, PARTS.judge(value), note)]


def plain_elements(symbols: Mapping[str, Any]) -> list[str]:
    """List crystals that the ACWF reference and training data describe alike: no magnetism, no f electrons.

    Args:
        symbols: By the crystals' names, such as ``Al-X-FCC``.
    """
    from ase.data import atomic_numbers

    def plain(symbol: str) -> bool:
        return symbol not in MAGNETIC and atomic_numbers[symbol] not in F_ELECTRONS

    return [name for name in symbols if plain(name.split("-")[0])]


def summarise_eos(outcomes: Mapping[str, ItemResult], names: list[str]) -> dict[str, Any]:
    """Take medians over crystals.

    Args:
        outcomes: By crystal.
        names: Which of them.

    Returns:
        ``n``, ``without_minimum``, medians of the absolute errors of V0, B0 and B1 (%), of Delta (meV/atom),
        epsilon, nu, and ``B0_ratio``, that of B0 to the reference's; ``vasp_delta`` where it is known.
    """
    held = [outcomes[name].values for name in names]
    found = [values for values in held if values["V0"] is not None]

    def median(numbers: list[float]) -> float | None:
        return float(np.median(numbers)) if numbers else None

    errors = {
        f"{name} error": median([100 * abs(v[name] / v["reference"][name] - 1) for v in found])
        for name in ("V0", "B0", "B1")
    }
    return {
        "n": len(held),
        "without_minimum": len(held) - len(found),
        **errors,
        "Delta": median([v["delta"] for v in found]),
        "epsilon": median([v["epsilon"] for v in found]),
        "nu": median([v["nu"] for v in found]),
        "B0_ratio": median([v["B0"] / v["reference"]["B0"] for v in found]),
        "vasp_delta": median([v["vasp_delta"] for v in held if "vasp_delta" in v]),
    }


def judge_eos(outcomes: Mapping[str, ItemResult]) -> list[Row]:
    """Judge the medians over the crystals that the reference describes as training data do.

    Args:
        outcomes: By crystal.
    """
    names = plain_elements(outcomes)
    if not names:
        return []
    summary = summarise_eos(outcomes, names)
    note = f"median of {summary['n']} non-magnetic crystals without f electrons"
    if summary["without_minimum"]:
        note += f", {summary['without_minimum']} of them without a minimum"
    return judge_numbers("eos", eos.LIMITS, summary, "float32", note)


def summarise_elastic(outcomes: Mapping[str, ItemResult]) -> dict[str, Any]:
    """Take medians over crystals.

    Args:
        outcomes: By identifier.

    Returns:
        ``n``, ``unstable``, ``not_converged``, medians of the absolute errors (%), and what the median ratios
        lack (%).
    """
    held = [outcome.values for outcome in outcomes.values()]
    ratios = {k: np.array([v[k] / v["reference"][k] for v in held]) for k in ("bulk", "shear")}
    errors = {
        f"{name} modulus error": float(100 * np.median(np.abs(ratio - 1))) for name, ratio in ratios.items()
    }
    return {
        "n": len(held),
        "unstable": sum(not values["stable"] for values in held),
        "not_converged": sum(not values["converged"] for values in held),
        **errors,
        **{f"{name} softening": float(100 * (1 - np.median(ratio))) for name, ratio in ratios.items()},
    }


def judge(groups: Mapping[str, Mapping[str, ItemResult]], dtype: str) -> list[Row]:
    """Judge everything.

    Args:
        groups: Outcomes of each check, by the rest of the items' names; those that failed left out.
        dtype: Precision of the layers.
    """
    rows: list[Row] = []
    for check, outcomes in groups.items():
        if not outcomes:
            continue
        if check in laws.CHECKS:
            rows += judge_numbers(check, laws.LIMITS, outcomes[""].values, dtype)
        elif check == "cutoff":
            rows += judge_numbers(check, cutoff.LIMITS, outcomes[""].values, dtype)
        elif check == "nve":
            for outcome in outcomes.values():
                rows += judge_numbers(
                    check, dynamics.LIMITS, outcome.values, dtype, outcome.values["formula"]
                )
        elif check == "dimers":
            rows += judge_dimers(outcomes)
        elif check == "eos":
            rows += judge_eos(outcomes)
        elif check == "elastic":
            summary = summarise_elastic(outcomes)
            note = f"{summary['n']} crystals, {summary['unstable']} unstable"
            rows += judge_numbers(check, elastic.LIMITS, summary, dtype, note)
    return rows
