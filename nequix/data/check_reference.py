"""Checks of labels against a reference potential."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nequix.core.errors import GraphError
from nequix.data.batch import graph_of
from nequix.data.check_energies import baseline_residuals, spread
from nequix.data.check_report import Finding, finding
from nequix.data.check_stress import FACTORS, best_factor
from nequix.data.scan_records import Record
from nequix.data.sources import Source, StreamError
from nequix.data.structure import Structure

if TYPE_CHECKING:
    from nequix.graphs.results import Results
    from nequix.potential import Potential

    Pair = tuple[Structure, Results]

ENERGY = 0.3
"""eV/atom, and so many spreads, that an energy may be away from the reference's."""

SPREADS = 8.0
"""See ``ENERGY``: no model is exact."""

FORCE = 1.0
"""eV/A that the reference has where a label is exactly zero."""

STRESS = 0.02
"""eV/A^3 (3 GPa), below which signs of the stress are left alone."""

_OPPOSITE, _RATIO = -0.8, 30.0
_USUAL = 3.0  # times the median difference
_CORRELATED = 0.7


def check_reference(
    records: list[Record], source: Source, potential: Potential, evaluations: int, notes: list[str]
) -> list[Finding]:
    """Compare labels with a potential's, for a part of the structures.

    Args:
        records: Of all structures.
        source: Where the structures are.
        potential: The reference.
        evaluations: How many structures it evaluates.
        notes: Receives what could not be checked.
    """
    known = set(potential.spec.atomic_numbers)
    foreign = [r for r in records if not known.issuperset(r.numbers.tolist())]
    found = finding(
        "unknown-element",
        "error",
        f"elements unknown to the model: {_symbols(foreign, known)}; choose another, or leave these out",
        [r.name for r in foreign],
    )
    strange = {r.index for r in foreign}
    usable = [r for r in records if not (r.problem or r.not_finite) and r.index not in strange]
    chosen = np.unique(np.linspace(0, len(usable) - 1, min(evaluations, len(usable))).astype(int))
    pairs: list[Pair] = []
    try:
        for structure in (source[usable[position].index] for position in chosen):
            try:
                pairs.append((structure, potential.evaluate(graph_of(structure, potential.spec))))
            except GraphError as error:
                notes.append(f"not compared with the reference: {error}")
    except StreamError as error:
        notes.append(f"not compared with the reference: {error}")
    notes.append(f"compared with the reference: {len(pairs)} of {len(records)} structures")
    return [*found, *_energies(pairs), *_forces(pairs), *_zeroed(pairs), *_stresses(pairs)]


def _symbols(records: list[Record], known: set[int]) -> str:
    from ase.data import chemical_symbols

    unknown = {number for r in records for number in r.numbers.tolist()} - known
    return ", ".join(chemical_symbols[number] for number in sorted(unknown))


def _energies(pairs: list[Pair]) -> list[Finding]:
    """Compare energies up to atom energies, which differ between settings of a calculation."""
    labelled = [(s, float(r.energy[0])) for s, r in pairs if s.energy is not None]
    if len(labelled) < 5:
        return []
    per_atom = np.array([((s.energy or 0.0) - energy) / len(s.numbers) for s, energy in labelled])
    residuals = np.abs(baseline_residuals([s.numbers for s, _ in labelled], per_atom))
    limit = ENERGY + SPREADS * spread(residuals)
    names = [
        f"{s.name} ({x:.2f} eV/atom)" for (s, _), x in zip(labelled, residuals, strict=True) if x > limit
    ]
    message = f"energies over {limit:.2f} eV/atom away from the reference's, atom energies fitted"
    return finding("energy-reference", "error", message, names)


def _forces(pairs: list[Pair]) -> list[Finding]:
    labelled = [(s, r) for s, r in pairs if s.forces is not None]
    if not labelled:
        return []
    labels = np.concatenate([s.forces for s, _ in labelled if s.forces is not None]).ravel()
    expected = np.concatenate([r.forces for _, r in labelled]).ravel()
    norms = np.linalg.norm(labels) * np.linalg.norm(expected)
    if norms == 0 or abs(cosine := float(labels @ expected / norms)) < _CORRELATED:
        return []
    factor = float(np.linalg.norm(labels) / np.linalg.norm(expected)) * np.sign(cosine)
    if 0.4 < factor < 2.5:
        return []
    message = (
        f"forces are about {factor:.3g} times the reference's: a wrong sign (gradients), or unit (expected "
        "eV/A; 1 Hartree/Bohr is 51.42, 1 Ry/Bohr is 25.71 of them)"
    )
    return finding("forces-reference", "error", message, [s.name for s, _ in labelled])


def _zeroed(pairs: list[Pair]) -> list[Finding]:
    names = []
    for structure, results in pairs:
        if structure.forces is not None and structure.forces.any():
            zero = ~structure.forces.any(axis=1)
            if zero.any() and np.linalg.norm(results.forces[zero], axis=1).max() > FORCE:
                names.append(structure.name)
    message = f"forces are exactly zero on atoms where the reference's exceed {FORCE:g} eV/A: constraints?"
    return finding("forces-zeroed-reference", "error", message, names)


def _stresses(pairs: list[Pair]) -> list[Finding]:
    labelled = [
        (s, s.stress, r.stress[0]) for s, r in pairs if s.stress is not None and np.isfinite(r.stress).all()
    ]
    if not labelled:
        return []
    labels = np.array([label for _, label, _ in labelled])
    expected = np.array([value for _, _, value in labelled])
    factor = best_factor(expected.ravel(), labels.ravel())
    if factor != 1.0:
        message = f"compared with the reference, the stress is {FACTORS[factor]}"
        return finding("stress-reference", "error", message, [s.name for s, _, _ in labelled])
    # No model is exact: what stands out is farther off than most are, whatever their sign.
    usual = np.minimum(*(np.linalg.norm(labels + sign * expected, axis=(1, 2)) for sign in (-1, 1)))
    limit = _USUAL * float(np.median(usual))
    opposite, scaled = [], []
    for structure, label, value in labelled:
        norms = float(np.linalg.norm(label)), float(np.linalg.norm(value))
        cosine = np.tensordot(label, value) / max(norms[0] * norms[1], 1e-300)
        if min(norms) > STRESS and cosine < _OPPOSITE and np.linalg.norm(label - value) > limit:
            opposite.append(structure.name)
        elif norms[0] > STRESS * _RATIO and norms[0] > _RATIO * norms[1]:
            scaled.append(structure.name)
    return [
        *finding("stress-sign", "error", "stress opposite to the reference's; multiply by -1?", opposite),
        *finding("stress-unit", "error", f"stress over {_RATIO:g} times the reference's; kB or GPa?", scaled),
    ]
