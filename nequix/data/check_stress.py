"""Checks of the stress: its magnitude, and its sign, unit and order of components against energies."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

from nequix.data.check_report import Report
from nequix.data.check_units import UNITS
from nequix.data.near_pairs import choose_pairs, strained_changes
from nequix.data.scan_records import Record
from nequix.data.sources import Source, StreamError

if TYPE_CHECKING:
    from jaxtyping import Float

FACTORS = {
    1.0: "right",
    -1.0: "of the opposite sign: multiply by -1",
    160.21766: "in GPa: divide by 160.21766",
    -160.21766: "in GPa and of the opposite sign (pressure's): divide by -160.21766",
    1602.1766: "in kB: divide by 1602.1766",
    -1602.1766: "in kB with VASP's sign: divide by -1602.1766",
}
"""What a label may be, as a multiple of the stress in eV/A^3 that is positive under tension."""

ENERGIES = {unit_size: name for name, unit_size in UNITS.items()}
"""The same of energies in another unit, which make a correct stress look wrong."""

SHEAR = ((1, 2), (0, 2), (0, 1))
"""Off-diagonal components in the usual order: yz, xz, xy."""

ORDERS = {order: " ".join(("yz", "xz", "xy")[place] for place in order) for order in permutations(range(3))}
"""Orders of the off-diagonal components; VASP's is xy yz zx."""

USUAL_ORDER = (0, 1, 2)

LARGE = 1.0
"""eV/A^3 (160 GPa), which takes a compression that distances show."""

UNCOMPRESSED = 0.7
"""Shortest distance over the sum of the covalent radii from which a structure is not under such pressure."""

MANY = 0.05
"""Part of the structures from which such a stress is a wrong unit, and not a failed calculation."""

LEAST_PAIRS = 5
"""Pairs of structures that a judgement takes."""

_LEAST_CHANGE = 1e-4  # eV/atom, where energies are noise
_WORSE = 2.0  # how much worse the right factor or order fits before another is believed
_ALIGNED, _AGREEING = 0.8, 0.5  # median and mean cosine: of real sets and nequix-mp-1 above 0.97 and 0.55
_BETTER = (
    0.3  # by how much the mean cosine of another order is larger; it is 0.6 smaller where the order is right
)
_CLIPPED = 20  # one value in this many counts no more than the next smaller one


def check_stress(records: Sequence[Record], source: Source, report: Report) -> list[tuple[float, float]]:
    """Find stresses of a wrong unit, sign or order of components.

    Args:
        records: Of all structures.
        source: Where the structures are; a stream has no pairs.
        report: Receives findings and what could not be checked.

    Returns:
        Of pairs of strained structures the change of the energy and the work of forces and stress, eV/atom;
        none where the stress is wrong.
    """
    stressed = [r for r in records if np.isfinite(r.largest_stress)]
    implausible = [r for r in stressed if r.largest_stress > LARGE and not r.closest < UNCOMPRESSED]
    many = len(implausible) > MANY * len(stressed)
    report.judge(
        "stress-magnitude",
        "error" if many else "warning",
        f"stress above {LARGE:g} eV/A^3 ({LARGE * 160.2:.0f} GPa) without compressed distances"
        + (": is it in kB or GPa? Give eV/A^3" if many else "; did the calculation fail?"),
        [f"{r.name} ({r.largest_stress:.3g} eV/A^3)" for r in implausible],
        len(stressed),
    )
    if not stressed:
        return []
    try:
        every = strained_changes(choose_pairs(records, with_stress=True), source)
    except StreamError:
        every = []
    # The stress is judged where it does most of the work.
    strained = [
        pair for pair in every if abs(pair.change - pair.by_forces) > max(_LEAST_CHANGE, abs(pair.by_forces))
    ]
    names = [r.name for r in stressed]
    if len(strained) < LEAST_PAIRS:
        report.notes.append(
            f"stress against volume: not checked, {len(strained)} pairs of slightly strained structures, "
            f"{LEAST_PAIRS} are needed"
        )
        for rule in ("stress-work", "stress-order"):
            report.judge(rule, "error", "", [], 0)
        return [(pair.change, pair.by_forces + pair.by_stress) for pair in every]
    changes = np.array([pair.change - pair.by_forces for pair in strained])
    works = np.array([pair.by_stress for pair in strained])
    factor = best_factor(changes, works, (*FACTORS, *ENERGIES))
    words = (
        FACTORS.get(factor) or f"right and the energies in {ENERGIES[factor]}: multiply these by {factor:g}"
    )
    message = (
        f"between {len(strained)} pairs of strained structures, energies change as if the stress were {words}"
    )
    report.judge("stress-work", "error", message, [] if factor == 1.0 else names, len(stressed))
    diagonal = np.array([np.diagonal(s.stress) @ np.diagonal(s.strain) for s in strained])
    shear = np.array([[s.stress[place] for place in SHEAR] for s in strained])
    twice = 2 * np.array([[s.strain[place] for place in SHEAR] for s in strained])
    by_shear = changes - diagonal / factor
    judge_order(by_shear, twice, shear / factor, names, "the energies of strained structures", report)
    wrong = factor in FACTORS and factor != 1.0
    return [] if wrong else [(pair.change, pair.by_forces + pair.by_stress) for pair in every]


def best_factor(
    expected: Float[np.ndarray, " n"],
    labels: Float[np.ndarray, " n"],
    factors: Sequence[float] = tuple(FACTORS),
) -> float:
    """Choose which of some factors times the expected values the labels are; 1 when in doubt.

    No single value decides: what is larger than most counts as much as these.

    Args:
        expected: Values in the right unit.
        labels: The labels, in an unknown one.
        factors: To choose from; 1 among them.
    """
    misfit = {factor: _misfit(expected, labels / factor) for factor in factors}
    best = min(misfit, key=misfit.__getitem__)
    # A vanishing label explains nothing; the best factor must explain half of what is there.
    explains = misfit[best] < 0.5 * _misfit(expected, np.zeros_like(expected))
    return best if explains and misfit[1.0] > _WORSE * misfit[best] else 1.0


def judge_order(
    expected: Float[np.ndarray, " n"],
    weights: Float[np.ndarray, "n 3"],
    shear: Float[np.ndarray, "n 3"],
    names: Sequence[str],
    reference: str,
    report: Report,
) -> None:
    """Find off-diagonal components of the stress in another order than yz, xz, xy, by their work.

    Args:
        expected: The sum of the components' products with the weights.
        weights: What the components are multiplied with.
        shear: The labels, read in the usual order.
        names: Of the structures that have a stress.
        reference: What the labels are compared with, in words.
        report: Receives findings.
    """
    misfit = {order: _misfit(expected, (_restored(shear, order) * weights).sum(axis=1)) for order in ORDERS}
    best = min(misfit, key=misfit.__getitem__)
    explains = misfit[best] < 0.5 * _misfit(expected, np.zeros(expected.size))
    wrong = explains and misfit[USUAL_ORDER] > _WORSE * misfit[best]
    report.judge("stress-order", "error", tell_order(best, reference), names if wrong else [], len(names))


def compare_order(
    expected: Sequence[Float[np.ndarray, "3 3"]],
    labels: Sequence[Float[np.ndarray, "3 3"]],
    names: Sequence[str],
    reference: str,
    report: Report,
    rule: str = "stress-order",
) -> None:
    """Find off-diagonal components of the stress in another order than those of a reference.

    Only the directions are compared, structure by structure, where both shears are larger than most: a
    reference that is inexact or in another unit still knows them.

    Args:
        expected: Stresses of the reference.
        labels: The labels.
        names: Of the structures.
        reference: What the labels are compared with, in words.
        report: Receives findings.
        rule: Its name.
    """
    known, shear = (
        np.array([[stress[place] for place in SHEAR] for stress in stresses]).reshape(-1, 3)
        for stresses in (expected, labels)
    )
    sizes = [np.linalg.norm(values, axis=1) for values in (known, shear)]
    large = np.logical_and(*(size > np.median(size) if len(size) else size > 0 for size in sizes))
    if large.sum() < LEAST_PAIRS:
        report.judge(rule, "error", "", [], 0)
        return
    known, shear = (
        values[large] / size[large, None] for values, size in zip((known, shear), sizes, strict=True)
    )
    cosines = {order: (known * _restored(shear, order)).sum(axis=1) for order in ORDERS}
    best = max(cosines, key=lambda order: cosines[order].mean())
    agrees = np.median(cosines[best]) > _ALIGNED and cosines[best].mean() > _AGREEING
    wrong = agrees and cosines[best].mean() - cosines[USUAL_ORDER].mean() > _BETTER
    report.judge(rule, "error", tell_order(best, reference), names if wrong else [], len(names))


def tell_order(order: tuple[int, ...], reference: str) -> str:
    """Determine the order of the off-diagonal components.

    Args:
        order: One of ``ORDERS``.
        reference: How it is known, in words.
    """
    vasp = " (VASP's order)" if ORDERS[order] == "xy yz xz" else ""
    return (
        f"off-diagonal components of the stress are in the order {ORDERS[order]}{vasp} by {reference}; "
        "expected xx yy zz yz xz xy"
    )


def _restored(shear: Float[np.ndarray, "n 3"], order: tuple[int, ...]) -> Float[np.ndarray, "n 3"]:
    """Put components in the usual order that were written in this one."""
    return shear[:, np.argsort(order)]


def _misfit(expected: Float[np.ndarray, " n"], values: Float[np.ndarray, " n"]) -> float:
    """Sum the differences, each at most as large as what is expected, the largest clipped to the others."""
    sizes = np.abs(expected)
    if len(sizes) < 2:
        return 0.0
    limit = np.sort(sizes)[-1 - max(1, len(sizes) // _CLIPPED)]
    relative = np.minimum(np.abs(expected - values) / np.maximum(sizes, 1e-300), 1.0)
    return float((relative * np.minimum(sizes, limit)).sum())
