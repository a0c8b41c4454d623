"""Structures for the checks, of elements that the model knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.data import covalent_radii

from nequix.core.errors import DataError

if TYPE_CHECKING:
    from nequix.core.spec import ModelSpec

SEED = 0
"""Of all displacements, so that a run can be repeated."""

CRYSTALS = (
    ("NaCl", "rocksalt", 5.69),
    ("MgO", "rocksalt", 4.26),
    ("Si", "diamond", 5.47),
    ("Cu", "fcc", 3.62),
)
"""Crystals with their lattice constants, A; the first one whose elements the model knows is taken."""

METALS = (("Cu", 3.62), ("Al", 4.04), ("Ni", 3.52), ("Au", 4.16))
"""Metals for slabs, with their lattice constants, A."""

MOLECULES = ("CH3CH2OH", "H2O", "NH3", "O2")
"""Molecules, by their names in ``ase.build``."""


def crystal(spec: ModelSpec, index: int = 0) -> Atoms:
    """Build a primitive cell of the first known crystals.

    Args:
        spec: The model's specification.
        index: Which of the known ones.

    Raises:
        DataError: If there are fewer.
    """
    known = [name for name in CRYSTALS if _knows(spec, bulk(*name[:2], a=name[2]))]
    if not known and index == 0:
        return fcc(spec.atomic_numbers[0])
    if index >= len(known):
        raise DataError("the model knows the elements of too few of the battery's crystals")
    return bulk(*known[index][:2], a=known[index][2])


def fcc(number: int) -> Atoms:
    """Build a cell of one atom whose neighbours are its images, at the sum of the covalent radii.

    Args:
        number: The atomic number.
    """
    half = np.sqrt(2) * covalent_radii[number]
    return Atoms([number], cell=half * (1 - np.eye(3)), pbc=True)


def slab(spec: ModelSpec, vacuum: float) -> Atoms:
    """Build a rattled slab of three layers.

    Args:
        spec: The model's specification.
        vacuum: On either side, A.

    Raises:
        DataError: If the model knows none of the metals.
    """
    for name, constant in METALS:
        atoms = fcc111(name, (2, 1, 3), a=constant, vacuum=vacuum)
        if _knows(spec, atoms):
            atoms.info.clear()
            return rattled(atoms)
    raise DataError("the model knows none of the battery's metals")


def molecule_of(spec: ModelSpec) -> Atoms:
    """Build the first known molecule, or a dimer of the model's first element.

    Args:
        spec: The model's specification.
    """
    for name in MOLECULES:
        atoms = molecule(name)
        if _knows(spec, atoms):
            return atoms
    number = spec.atomic_numbers[0]
    return Atoms([number, number], [[0, 0, 0], [2 * covalent_radii[number], 0, 0]])


def rattled(atoms: Atoms, size: float = 0.08) -> Atoms:
    """Displace the atoms of a structure at random, since by symmetry forces would vanish.

    Args:
        atoms: The structure; it is changed.
        size: Standard deviation, A.
    """
    atoms.rattle(size, rng=np.random.default_rng(SEED))
    return atoms


def low_symmetry(spec: ModelSpec) -> Atoms:
    """Build a sheared, rattled crystal of four cells without any symmetry.

    Args:
        spec: The model's specification.
    """
    atoms = crystal(spec).repeat((2, 2, 1))
    shear = np.array([[1.0, 0.06, -0.03], [0.0, 0.97, 0.05], [0.0, 0.0, 1.04]])
    atoms.set_cell(atoms.cell.array @ shear, scale_atoms=True)
    return rattled(atoms)


def _knows(spec: ModelSpec, atoms: Atoms) -> bool:
    return set(atoms.numbers.tolist()) <= set(spec.atomic_numbers)
