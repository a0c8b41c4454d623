"""Checks of labels against a reference potential."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nequix.core.errors import GraphError
from nequix.data.batch import graph_of
from nequix.data.check_energies import baseline_residuals, spread
from nequix.data.check_forces import ForceComparison, spread_evenly
from nequix.data.check_report import Report
from nequix.data.check_stress import FACTORS, best_factor, compare_order
from nequix.data.check_units import check_slope
from nequix.data.scan_records import Record
from nequix.data.sources import Source, StreamError
from nequix.data.structure import Structure

if TYPE_CHECKING:
    from nequix.graphs.results import Results
    from nequix.potential import Potential

    Pair = tuple[Structure, Results]

ENERGY = 0.3
"""Largest deviation of an energy from the reference: eV/atom, and in units of the spread."""

SPREADS = 8.0
"""See ``ENERGY``: no model is exact."""

FORCE = 1.0
"""eV/A that the reference has where a label is exactly zero."""

STRESS = 0.02
"""eV/A^3 (3 GPa); signs of smaller stresses are not compared."""

_OPPOSITE, _RATIO = -0.8, 30.0
_USUAL, _RARE = 3.0, 5.0  # times the median difference, and times the one that a structure in ten exceeds
_AGREEING = 0.7  # median cosine from which the factor between forces means something


def check_reference(
    records: Sequence[Record], source: Source, potential: Potential, evaluations: int, report: Report
) -> None:
    """Compare labels with a potential's, for a part of the structures.

    Args:
        records: Of all structures.
        source: Where the structures are.
        potential: The reference.
        evaluations: How many structures it evaluates.
        report: Receives findings and what could not be checked.
    """
    known = set(potential.spec.atomic_numbers)
    foreign = [r for r in records if not known.issuperset(r.numbers.tolist())]
    report.judge(
        "unknown-element",
        "error",
        f"elements unknown to the model: {_symbols(foreign, known)}; choose another, or leave these out",
        [r.name for r in foreign],
        len(records),
    )
    strange = {r.index for r in foreign}
    usable = [r for r in records if not (r.problem or r.not_finite) and r.index not in strange]
    # What stands out is compared in any case.
    largest = max(
        usable, key=lambda r: -np.inf if np.isnan(r.largest_force) else r.largest_force, default=None
    )
    chosen = {usable[position].index for position in spread_evenly(len(usable), evaluations)}
    pairs: list[Pair] = []
    try:
        for structure in (
            source[index] for index in sorted(chosen | ({largest.index} if largest else set()))
        ):
            try:
                pairs.append((structure, potential.evaluate(graph_of(structure, potential.spec))))
            except GraphError as error:
                report.notes.append(f"not compared with the reference: {error}")
    except StreamError as error:
        report.notes.append(f"not compared with the reference: {error}")
    report.notes.append(f"compared with the reference: {len(pairs)} of {len(records)} structures")
    if not check_slope(pairs, report):
        _energies(pairs, report)
    _forces(pairs, report)
    _zeroed(pairs, report)
    _stresses(pairs, report)


def _symbols(records: Sequence[Record], known: set[int]) -> str:
    from ase.data import chemical_symbols

    unknown = {number for r in records for number in r.numbers.tolist()} - known
    return ", ".join(chemical_symbols[number] for number in sorted(unknown))


def _energies(pairs: Sequence[Pair], report: Report) -> None:
    """Compare energies up to atom energies, which differ between settings of a calculation."""
    labelled = [(s, float(r.energy[0])) for s, r in pairs if s.energy is not None]
    n = len(labelled) if len(labelled) >= 5 else 0
    names, limit = [], ENERGY
    if n:
        per_atom = np.array([((s.energy or 0.0) - energy) / len(s.numbers) for s, energy in labelled])
        residuals = np.abs(baseline_residuals([s.numbers for s, _ in labelled], per_atom))
        limit = ENERGY + SPREADS * spread(residuals)
        names = [
            f"{s.name} ({x:.2f} eV/atom)" for (s, _), x in zip(labelled, residuals, strict=True) if x > limit
        ]
    message = f"energies over {limit:.2f} eV/atom away from the reference's, atom energies fitted"
    report.judge("energy-reference", "error", message, names, n)


def _forces(pairs: Sequence[Pair], report: Report) -> None:
    compared = ForceComparison(pairs)
    n = len(compared.structures)
    wrong = n > 0 and compared.agreement >= _AGREEING and not 0.4 < compared.factor < 2.5
    message = (
        f"forces are about {compared.factor:.3g} times the reference's: a wrong sign (gradients), or unit "
        "(expected eV/A; 1 Hartree/Bohr is 51.42, 1 Ry/Bohr is 25.71 of them)"
    )
    names = [s.name for s in compared.structures] if wrong else []
    report.judge("forces-reference", "error", message, names, n)
    compared.judge(report, "the model", "-reference")


def _zeroed(pairs: Sequence[Pair], report: Report) -> None:
    names, n = [], 0
    for structure, results in pairs:
        if structure.forces is not None and structure.forces.any():
            n += 1
            zero = ~structure.forces.any(axis=1)
            if zero.any() and np.linalg.norm(results.forces[zero], axis=1).max() > FORCE:
                names.append(structure.name)
    message = f"forces are exactly zero on atoms where the reference's exceed {FORCE:g} eV/A: constraints?"
    report.judge("forces-zeroed-reference", "error", message, names, n)


def _stresses(pairs: Sequence[Pair], report: Report) -> None:
    labelled = [
        (s, s.stress, r.stress[0]) for s, r in pairs if s.stress is not None and np.isfinite(r.stress).all()
    ]
    if not labelled:
        for rule in ("stress-reference", "stress-sign", "stress-unit"):
            report.judge(rule, "error", "", [], 0)
        return
    names = [s.name for s, *_ in labelled]
    labels = np.array([label for _, label, _ in labelled])
    expected = np.array([value for _, _, value in labelled])
    factor = best_factor(expected.ravel(), labels.ravel())
    message = f"compared with the reference, the stress is {FACTORS[factor]}"
    report.judge("stress-reference", "error", message, [] if factor == 1.0 else names, len(names))
    compare_order(list(expected), list(labels / factor), names, "the model", report, "stress-order-reference")
    if factor != 1.0:
        return
    # No model is exact: what stands out is farther off than most are, whatever their sign.
    usual = np.minimum(*(np.linalg.norm(labels + sign * expected, axis=(1, 2)) for sign in (-1, 1)))
    limit = max(_USUAL * float(np.median(usual)), _RARE * float(np.quantile(usual, 0.9)))
    opposite, scaled = [], []
    for structure, label, value in labelled:
        norms = float(np.linalg.norm(label)), float(np.linalg.norm(value))
        cosine = np.tensordot(label, value) / max(norms[0] * norms[1], 1e-300)
        if min(norms) > STRESS and cosine < _OPPOSITE and np.linalg.norm(label - value) > limit:
            opposite.append(structure.name)
        elif norms[0] > STRESS * _RATIO and norms[0] > _RATIO * norms[1]:
            scaled.append(structure.name)
    message = "stress opposite to the reference's; multiply by -1?"
    report.judge("stress-sign", "error", message, opposite, len(names))
    message = f"stress over {_RATIO:g} times the reference's; kB or GPa?"
    report.judge("stress-unit", "error", message, scaled, len(names))
