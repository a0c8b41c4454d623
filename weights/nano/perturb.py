"""What is done to a crystal: strain, rattling, substitution, vacancies, surfaces."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import make_supercell, surface
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

from weights.nano.chemistry import ANIONS, METALS

LARGEST = 10
"""Atoms of a derived structure."""

AMPLITUDES = (0.02, 0.05, 0.08, 0.12, 0.18)
"""Standard deviations of a component of the displacement, A."""

TOO_CLOSE = 0.6
"""Part of the sum of two covalent radii below which a structure is refused."""


def supercell(atoms: Atoms, rng: np.random.Generator, largest: int = LARGEST) -> Atoms:
    """Repeat a cell along random lattice vectors, as often as a number of atoms allows.

    Args:
        atoms: The cell.
        rng: Draws.
        largest: Most atoms afterwards; a larger cell stays as it is.
    """
    most = max(1, largest // len(atoms))
    size = int(rng.integers(max(1, most // 2), most + 1))
    factors = [(a, b, size // (a * b)) for a in range(1, size + 1) for b in range(1, size + 1)
               if size % (a * b) == 0]  # fmt: skip
    matrix = np.diag(factors[rng.integers(len(factors))])
    shear = np.triu(rng.integers(0, 2, (3, 3)), 1)  # other cells than stacks of the primitive one
    return make_supercell(atoms, (matrix @ (np.eye(3, dtype=int) + shear)).astype(int))


def strain(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """Strain a cell: a change of volume and a shear, by a few percent.

    Args:
        atoms: The crystal.
        rng: Draws.
    """
    tensor = rng.normal(0, rng.choice([0.01, 0.025, 0.04]), (3, 3))
    matrix = np.eye(3) * (1 + rng.uniform(-0.04, 0.05)) + (tensor + tensor.T) / 2
    copy = atoms.copy()
    copy.set_cell(copy.cell.array @ matrix, scale_atoms=True)
    return copy


def rattle(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """Displace every atom at random, by one of several amplitudes.

    Args:
        atoms: The structure.
        rng: Draws.
    """
    copy = atoms.copy()
    copy.positions += rng.normal(0, rng.choice(AMPLITUDES), copy.positions.shape)
    return copy


def substitute(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """Replace one or two atoms by similar elements: metals by metals, others by anions.

    Args:
        atoms: The structure.
        rng: Draws.
    """
    copy = atoms.copy()
    for index in rng.choice(len(copy), min(len(copy), int(rng.integers(1, 3))), replace=False):
        similar = METALS if copy[int(index)].symbol in METALS else tuple(ANIONS)
        copy[int(index)].symbol = str(rng.choice(similar))
    return copy


def vacancy(atoms: Atoms, rng: np.random.Generator) -> Atoms | None:
    """Remove an atom, but never the last of its element.

    Args:
        atoms: The structure.
        rng: Draws.
    """
    counts = np.bincount(atoms.numbers)
    candidates = np.flatnonzero(counts[atoms.numbers] > 1)
    if len(atoms) < 4 or not len(candidates):
        return None
    copy = atoms.copy()
    del copy[int(rng.choice(candidates))]
    return copy


def slab(atoms: Atoms, rng: np.random.Generator, largest: int = 12) -> Atoms | None:
    """Cut a slab along low indices, with vacuum; None if it would be too large.

    Args:
        atoms: The crystal's primitive cell.
        rng: Draws.
        largest: Most atoms.
    """
    indices = [(1, 0, 0), (0, 0, 1), (1, 1, 0), (1, 1, 1), (1, -1, 0)]
    layers = int(rng.integers(2, 6))
    cut = surface(atoms, indices[rng.integers(len(indices))], layers, vacuum=float(rng.uniform(3.5, 7)))
    cut.pbc = True
    return cut if len(cut) <= largest else None


def is_sound(atoms: Atoms) -> bool:
    """Return whether no two atoms are absurdly close.

    Args:
        atoms: The structure.
    """
    radii = covalent_radii[atoms.numbers]
    i, j, d = neighbor_list("ijd", atoms, TOO_CLOSE * 2 * float(radii.max()))
    return bool((d >= TOO_CLOSE * (radii[i] + radii[j])).all())
