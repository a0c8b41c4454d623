"""Checks of the stress: its magnitude against the density, its sign and unit against energies and volumes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nequix.data.check_report import Finding, finding
from nequix.data.scan_records import Record
from nequix.data.sources import Source, StreamError
from nequix.data.structure import Structure

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

LARGE = 1.0
"""eV/A^3 (160 GPa), which takes a compression that distances show."""

UNCOMPRESSED = 0.7
"""Shortest distance over the sum of the covalent radii from which a structure is not under such pressure."""

MANY = 0.05
"""Part of the structures from which such a stress is a wrong unit, and not a failed calculation."""

_MAX_STRAIN, _MIN_STRAIN, _MAX_MOVE = 0.08, 1e-4, 0.3
_MAX_PAIRS, _LEAST_PAIRS = 400, 5
_LEAST_CHANGE = 1e-4  # eV/atom, where energies are noise
_WORSE = 2.0  # how much worse the right factor fits before another is believed


def check_stress(records: list[Record], source: Source, notes: list[str]) -> list[Finding]:
    """Find stresses of a wrong unit or sign.

    Args:
        records: Of all structures.
        source: Where the structures are; a stream has no pairs.
        notes: Receives what could not be checked.
    """
    stressed = [r for r in records if np.isfinite(r.largest_stress)]
    if not stressed:
        return []
    implausible = [r for r in stressed if r.largest_stress > LARGE and not r.closest < UNCOMPRESSED]
    many = len(implausible) > MANY * len(stressed)
    found = finding(
        "stress-magnitude",
        "error" if many else "warning",
        f"stress above {LARGE:g} eV/A^3 ({LARGE * 160.2:.0f} GPa) without compressed distances"
        + (": is it in kB or GPa? Give eV/A^3" if many else "; did the calculation fail?"),
        [f"{r.name} ({r.largest_stress:.3g} eV/A^3)" for r in implausible],
    )
    try:
        changes = [change for pair in _pairs(stressed) if (change := _change(*(source[i] for i in pair)))]
    except StreamError:
        changes = []
    changes = [(energy, work) for energy, work in changes if abs(energy) > _LEAST_CHANGE]
    if len(changes) < _LEAST_PAIRS:
        notes.append(
            f"stress against volume: not checked, {len(changes)} pairs of slightly strained structures, "
            f"{_LEAST_PAIRS} are needed"
        )
        return found
    factor = best_factor(*np.array(changes).T)
    if factor != 1.0:
        message = (
            f"between {len(changes)} pairs of strained structures, energies change as if the stress were "
            f"{FACTORS[factor]}"
        )
        found += finding("stress-work", "error", message, [r.name for r in stressed])
    return found


def best_factor(expected: Float[np.ndarray, " n"], labels: Float[np.ndarray, " n"]) -> float:
    """Choose which of :data:`FACTORS` times the expected values the labels are; 1 when in doubt.

    Args:
        expected: Values in the right unit.
        labels: The labels, in an unknown one.
    """
    misfit = {factor: float(np.abs(expected - labels / factor).sum()) for factor in FACTORS}
    best = min(misfit, key=misfit.__getitem__)
    # A vanishing label explains nothing; the best factor must explain half of what is there.
    explains = misfit[best] < 0.5 * np.abs(expected).sum()
    return best if explains and misfit[1.0] > _WORSE * misfit[best] else 1.0


def _pairs(records: Sequence[Record]) -> list[tuple[int, int]]:
    """Choose pairs of structures of the same atoms in the same order."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for r in records:
        if all(r.has) and not r.not_finite and not r.problem:
            groups[r.numbers.tobytes()].append(r.index)
    pairs = [
        (first, second)
        for group in groups.values()
        for position, first in enumerate(group)
        for second in group[position + 1 : position + 3]
    ]
    chosen = np.linspace(0, len(pairs) - 1, min(len(pairs), _MAX_PAIRS)).astype(int)
    return [pairs[index] for index in np.unique(chosen)]


def _change(one: Structure, other: Structure) -> tuple[float, float] | None:
    """Return the change of the energy beyond the forces' work, and the stress's work, eV/atom.

    ``E' - E + sum (F + F') . du / 2`` is ``(V S + V' S') : strain / 2`` up to third order. None if the
    structures are not near each other, one has no three-dimensional cell, or the forces do most of the work.
    """
    if one.forces is None or other.forces is None or one.stress is None or other.stress is None:
        return None
    if not (one.volume and other.volume):
        return None
    deformation = np.linalg.solve(one.cell, other.cell)
    strain = (deformation + deformation.T) / 2 - np.eye(3)
    if not _MIN_STRAIN < np.abs(strain).max() < _MAX_STRAIN:
        return None
    moves = other.positions @ np.linalg.inv(other.cell) - one.positions @ np.linalg.inv(one.cell)
    moves = (moves - np.round(moves)) @ (one.cell + other.cell) / 2
    if np.abs(moves).max() > _MAX_MOVE:
        return None
    by_forces = -((one.forces + other.forces) * moves).sum() / 2
    by_stress = np.tensordot(one.volume * one.stress + other.volume * other.stress, strain) / 2
    change = (other.energy or 0.0) - (one.energy or 0.0) - by_forces
    if abs(by_forces) > abs(change):
        return None
    return float(change) / len(moves), float(by_stress) / len(moves)
