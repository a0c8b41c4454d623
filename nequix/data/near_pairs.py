"""Pairs of near structures, between which energies change by the work of forces and stress."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nequix.data.scan_records import Record
from nequix.data.sources import Source
from nequix.data.structure import Structure

if TYPE_CHECKING:
    from jaxtyping import Float

MAX_PAIRS = 400
"""Pairs that are looked at."""

_MAX_STRAIN, _MIN_STRAIN, _MAX_MOVE, _MAX_MOVE_AT_ONE_CELL = 0.08, 1e-4, 0.3, 0.5


class Strained(NamedTuple):
    """What energies and stresses say of a deformation.

    Attributes:
        change: Change of the energy, eV/atom.
        by_forces: Work of the forces, eV/atom.
        stress: Mean of the two stresses times their volumes, eV/atom.
        strain: The deformation, symmetrised.
    """

    change: float
    by_forces: float
    stress: Float[np.ndarray, "3 3"]
    strain: Float[np.ndarray, "3 3"]

    @property
    def by_stress(self) -> float:
        """Work of the stress, eV/atom."""
        return float((self.stress * self.strain).sum())


def choose_pairs(records: Sequence[Record], *, with_stress: bool) -> list[tuple[int, int]]:
    """Choose pairs of structures of the same atoms in the same order, by their places in the source.

    Args:
        records: Of all structures.
        with_stress: Whether they need a stress besides energy and forces.
    """
    groups: dict[bytes, list[int]] = defaultdict(list)
    for r in records:
        if all(r.has if with_stress else r.has[:2]) and not r.not_finite and not r.problem:
            groups[r.numbers.tobytes()].append(r.index)
    pairs = [
        (first, second)
        for group in groups.values()
        for position, first in enumerate(group)
        for second in group[position + 1 : position + 3]
    ]
    chosen = np.linspace(0, len(pairs) - 1, min(len(pairs), MAX_PAIRS)).astype(int)
    return [pairs[index] for index in np.unique(chosen)]


def strained_changes(pairs: Sequence[tuple[int, int]], source: Source) -> list[Strained]:
    """Compare energies and stresses of strained structures, as the work between them needs them.

    ``E' - E + sum (F + F') . du / 2`` is ``(V S + V' S') : strain / 2`` up to third order. Pairs that are not
    near each other, or have no three-dimensional cell, are left out.

    Args:
        pairs: Of :func:`choose_pairs`, with stresses.
        source: Where the structures are.
    """
    return [change for i, j in pairs if (change := _strained(source[i], source[j])) is not None]


def moved_changes(pairs: Sequence[tuple[int, int]], source: Source) -> list[tuple[float, float]]:
    """Compare energies and forces of structures of one cell: the energies' change and the work, eV/atom.

    Args:
        pairs: Of :func:`choose_pairs`.
        source: Where the structures are.
    """
    return [change for i, j in pairs if (change := _moved(source[i], source[j])) is not None]


def _strained(one: Structure, other: Structure) -> Strained | None:
    if one.forces is None or other.forces is None or one.stress is None or other.stress is None:
        return None
    if not (one.volume and other.volume):
        return None
    deformation = np.linalg.solve(one.cell, other.cell)
    strain = (deformation + deformation.T) / 2 - np.eye(3)
    if not _MIN_STRAIN < np.abs(strain).max() < _MAX_STRAIN:
        return None
    moves = _moves(one, other)
    if np.abs(moves).max() > _MAX_MOVE:
        return None
    n, by_forces = len(moves), -float(((one.forces + other.forces) * moves).sum()) / 2
    change = (other.energy or 0.0) - (one.energy or 0.0)
    stress = (one.volume * one.stress + other.volume * other.stress) / 2
    return Strained(change / n, by_forces / n, stress / n, strain)


def _moved(one: Structure, other: Structure) -> tuple[float, float] | None:
    if one.forces is None or other.forces is None or one.energy is None or other.energy is None:
        return None
    periodic = bool(one.pbc.any())
    if (one.pbc != other.pbc).any() or (periodic and np.abs(one.cell - other.cell).max() > _MIN_STRAIN):
        return None
    # Unlike in a molecule, in a lattice a translation of all atoms may take some across the boundary.
    moves = _moves(one, other) if periodic and one.volume else other.positions - one.positions
    moves = moves - moves.mean(axis=0)
    if np.abs(moves).max() > _MAX_MOVE_AT_ONE_CELL:
        return None
    work = -((one.forces + other.forces) * moves).sum() / 2
    return float(other.energy - one.energy) / len(moves), float(work) / len(moves)


def _moves(one: Structure, other: Structure) -> Float[np.ndarray, "n 3"]:
    """Return the displacements beyond the strain, each atom to its nearest image."""
    moves = other.positions @ np.linalg.inv(other.cell) - one.positions @ np.linalg.inv(one.cell)
    return (moves - np.round(moves)) @ (one.cell + other.cell) / 2
