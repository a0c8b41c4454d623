"""Relaxation of cell and atoms with their symmetry kept, as phonon benchmarks do it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ase import Atoms
from ase.constraints import FixSymmetry
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE

from nequix.calculator import NequixCalculator
from nequix.cell_relaxation import cell_relaxation
from nequix.core.errors import DataError

SYMPREC = 1e-4
"""A; within it, atoms count as equivalent when space groups before and after are compared."""

FREE, NO_SHEAR, FIXED = (True,) * 6, (True,) * 3 + (False,) * 3, (False,) * 6
"""Which components of the strain are free in a relaxation: all, the diagonal ones, none."""


@dataclass(frozen=True)
class Relaxed:
    """A relaxed structure, and how it came about.

    Attributes:
        atoms: The structure, without calculator and constraints.
        steps: Steps of the optimizer.
        converged: Whether forces and stress fell below the threshold in them.
        energy: eV.
        space_groups: International numbers before and after.
    """

    atoms: Atoms
    steps: int
    converged: bool
    energy: float
    space_groups: tuple[int, int]

    @property
    def broken_symmetry(self) -> bool:
        """Whether the space group is another one than before."""
        return self.space_groups[0] != self.space_groups[1]


def relax_symmetric(
    atoms: Atoms, calculator: NequixCalculator, fmax: float, steps: int, strain: Sequence[bool] = FREE
) -> Relaxed:
    """Relax cell and atoms by FIRE in the Frechet filter, symmetry kept.

    Args:
        atoms: The structure; it is copied.
        calculator: The model.
        fmax: Converged when no force on an atom or on the cell (ASE's filter) is larger, eV/A.
        steps: Steps at most.
        strain: Which components of the strain are free: xx, yy, zz, yz, xz, xy.
    """
    relaxed = atoms.copy()
    before = space_group(relaxed)
    relaxed.calc = calculator
    relaxed.set_constraint(FixSymmetry(relaxed))
    subject = FrechetCellFilter(relaxed, mask=list(strain))
    optimizer = FIRE(subject, logfile=None)  # pyright: ignore[reportArgumentType]
    with cell_relaxation():
        converged = optimizer.run(fmax=fmax, steps=steps)
    energy = float(relaxed.get_potential_energy())
    relaxed.calc = None
    relaxed.set_constraint()
    return Relaxed(relaxed, optimizer.nsteps, bool(converged), energy, (before, space_group(relaxed)))


def space_group(atoms: Atoms) -> int:
    """Return the international number of a structure's space group.

    Args:
        atoms: The structure.

    Raises:
        DataError: If spglib finds none.
    """
    import spglib

    cell: Any = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    found = spglib.get_symmetry_dataset(cell, symprec=SYMPREC)
    if found is None:
        raise DataError(f"{atoms.get_chemical_formula()}: no space group within {SYMPREC} A; check the atoms")
    return int(found.number)
