"""Structures whose decomposition is a difficult one, and ASE's numbers of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.spacegroup import crystal

from nequix.calculator import NequixCalculator
from tests.lammps.running import standard


@dataclass
class Case:
    """One structure.

    Attributes:
        name: Of its files.
        atoms: In standard form.
        elements: Element of each type; by default those of the structure, sorted by symbol.
        types: Type of each atom, from 1.
        boundary: LAMMPS's boundary command.
        gap: Difference of successive ids.
    """

    name: str
    atoms: Atoms
    elements: list[str] = field(default_factory=list)
    types: list[int] = field(default_factory=list)
    boundary: str = "p p p"
    gap: int = 1

    def __post_init__(self) -> None:
        self.atoms = standard(self.atoms)
        if not self.elements:
            self.elements = sorted(set(self.atoms.symbols))
        if not self.types:
            self.types = [self.elements.index(symbol) + 1 for symbol in self.atoms.symbols]


def rattled(atoms: Atoms, deviation: float, seed: int = 1) -> Atoms:
    atoms = atoms.copy()
    atoms.rattle(deviation, seed=seed)
    return atoms


def quartz() -> Case:
    """Trigonal cell, hexagonal box, ids with gaps."""
    positions = [(0.4697, 0, 0), (0.4135, 0.2669, 0.1191)]
    cell = [4.916, 4.916, 5.405, 90, 90, 120]
    atoms = crystal(["Si", "O"], positions, spacegroup=152, cellpar=cell) * (3, 3, 3)
    return Case("quartz", rattled(atoms, 0.1), gap=3)


def salt() -> Case:
    return Case("salt", rattled(bulk("MgO", "rocksalt", 4.2, cubic=True) * (4, 4, 4), 0.1))


def tiny() -> Case:
    """Twelve atoms in a cell smaller than the cutoff: most neighbours are images."""
    rng = np.random.default_rng(2)
    grid = np.array([[i, j, k] for i in range(2) for j in range(2) for k in range(3)]) / [2, 2, 3]
    cell = [[4.9, 0, 0], [0.7, 4.6, 0], [-0.9, 0.8, 6.9]]
    atoms = Atoms("Li6O6", scaled_positions=grid + 0.02 * rng.normal(size=(12, 3)), cell=cell, pbc=True)
    return Case("tiny", atoms)


def slab() -> Case:
    """A slab with vacancies under a lot of vacuum: along z, some ranks have no atoms."""
    atoms = rattled(fcc111("Al", (4, 4, 4), a=4.05, vacuum=14.0, orthogonal=True), 0.1)
    atoms.pbc = True
    del atoms[[3, 20, 41]]
    return Case("slab", atoms)


def open_slab() -> Case:
    case = slab()
    case.name, case.boundary = "open-slab", "p p f"
    case.atoms.pbc = (True, True, False)
    return case


def cluster() -> Case:
    """Molecules in a box without any periodicity, elements in another order than in the model."""
    atoms = molecule("CH3CONH2") + molecule("CH3CH2OH")
    atoms.positions[9:] += [3.5, 0.5, 0.5]
    atoms.set_cell([14, 12, 12])
    atoms.center()
    return Case("cluster", rattled(atoms, 0.05), elements=["O", "N", "H", "C"], boundary="f f f")


def single_atom() -> Case:
    return Case("single_atom", Atoms("Fe", [[1, 2, 3]], cell=[9, 9, 9], pbc=True))


def dimer() -> Case:
    """Across a periodic boundary."""
    return Case("dimer", Atoms("CO", [[0.2, 4, 4], [11.1, 4.1, 4.3]], cell=[12, 8, 9], pbc=True))


def twins() -> Case:
    """Two types of one element."""
    atoms = molecule("H2O")
    atoms.set_cell([8, 8, 8])
    atoms.pbc = True
    atoms.positions += [0.1, 7.9, 0.2]
    symbols = list(atoms.symbols)
    types = [2 if symbol == "O" else (1 if n == 1 else 3) for n, symbol in enumerate(symbols)]
    return Case("twins", atoms, elements=["H", "O", "H"], types=types)


def alloy() -> Case:
    """Ten elements in descending order."""
    rng = np.random.default_rng(5)
    atoms = bulk("Cu", "fcc", 3.7, cubic=True) * (3, 3, 3)
    atoms.numbers = rng.permutation(np.resize([13, 22, 24, 25, 26, 27, 28, 29, 41, 74], len(atoms)))
    symbols = ["W", "Nb", "Cu", "Ni", "Co", "Fe", "Mn", "Cr", "Ti", "Al"]
    return Case("alloy", rattled(atoms, 0.1), elements=symbols)


CASES = (quartz, salt, tiny, slab, open_slab, cluster, single_atom, dimer, twins, alloy)


@cache
def reference(name: str, dtype: str) -> Atoms:
    """Return a structure with the calculator of nequix-nano."""
    atoms = next(make for make in CASES if make.__name__ == name.replace("-", "_"))().atoms
    if name == "cluster":
        atoms.pbc = False
    atoms.calc = NequixCalculator("nequix-nano", backend="native", dtype=dtype, threads=1)
    return atoms
