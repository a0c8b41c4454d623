"""Symmetry-preserving relaxation of cell and atoms, as in phonon benchmarks."""

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
"""Symmetry tolerance for comparing space groups before and after, A."""

FREE, NO_SHEAR, FIXED = (True,) * 6, (True,) * 3 + (False,) * 3, (False,) * 6
"""Which components of the strain are free in a relaxation: all, the diagonal ones, none."""


@dataclass(frozen=True)
class Relaxed:
    """A relaxed structure and its relaxation.

    Attributes:
        atoms: The structure, without calculator and constraints.
        steps: Number of optimizer steps.
        converged: Whether forces and stress fell below the threshold.
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
        """Whether the space group changed."""
        return self.space_groups[0] != self.space_groups[1]


def relax_symmetric(
    atoms: Atoms, calculator: NequixCalculator, fmax: float, steps: int, strain: Sequence[bool] = FREE
) -> Relaxed:
    """Relax cell and atoms with FIRE and the Frechet filter, preserving symmetry.

    Args:
        atoms: The structure; it is copied.
        calculator: The model.
        fmax: Convergence threshold for forces on atoms and cell (ASE's filter), eV/A.
        steps: Maximum number of steps.
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
