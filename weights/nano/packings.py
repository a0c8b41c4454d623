"""Random packings of cations with anions, molecular ions and small molecules: what prototypes leave out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.data import atomic_numbers, covalent_radii
from scipy.spatial.transform import Rotation

from weights.nano import perturb
from weights.nano.chemistry import ANIONS, STATES
from weights.nano.derive import named
from weights.nano.teacher import Label, Teach, step

LARGEST = 20
"""Most atoms of a packing, unless asked for more."""

KEPT = (8, 16, 30)
"""Evaluations on the way to the minimum at which a structure is kept; it ends at the last."""

TRIALS = 40
"""Positions and orientations that are tried for each part: the roomiest is taken."""

SHAPES: dict[str, tuple[tuple[float, float, float], ...]] = {
    "tetrahedron": ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)),
    "triangle": ((1, 0, 0), (-0.5, 0.866, 0), (-0.5, -0.866, 0)),
    "pyramid": ((1, 0, 0.5), (-0.5, 0.866, 0.5), (-0.5, -0.866, 0.5)),
    "octahedron": ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)),
    "bent": ((0.8, 0.6, 0), (-0.8, 0.6, 0)),
    "line": ((1, 0, 0), (-1, 0, 0)),
    "pair": ((1, 0, 0),),
}
"""Directions from the centre of an ion to the others."""

IONS: dict[str, tuple[tuple[str, str, int], ...]] = {
    "tetrahedron": (
        ("P", "O", -3), ("P", "O", -3), ("S", "O", -2), ("S", "O", -2), ("Si", "O", -4), ("As", "O", -3),
        ("Se", "O", -2), ("Ge", "O", -4), ("V", "O", -3), ("Cr", "O", -2), ("Mo", "O", -2), ("W", "O", -2),
        ("Cl", "O", -1), ("Re", "O", -1), ("Mn", "O", -1), ("B", "F", -1), ("B", "H", -1), ("Al", "H", -1),
        ("N", "H", 1), ("P", "S", -3), ("Si", "S", -4), ("Ge", "S", -4), ("Sn", "S", -4), ("Sb", "S", -3),
        ("P", "Se", -3), ("Al", "Cl", -1),
    ),
    "triangle": (("C", "O", -2), ("C", "O", -2), ("B", "O", -3), ("B", "O", -3), ("N", "O", -1)),
    "pyramid": (
        ("S", "O", -2), ("Se", "O", -2), ("Te", "O", -2), ("I", "O", -1), ("As", "O", -3), ("As", "S", -3),
        ("Sb", "S", -3), ("P", "O", -3),
    ),
    "octahedron": (("P", "F", -1), ("Si", "F", -2), ("Al", "F", -3), ("Ti", "F", -2)),
    "bent": (("N", "O", -1), ("N", "H", -1), ("Cl", "O", -1)),
    "line": (("N", "N", -1), ("C", "N", -2), ("B", "O", -1)),
    "pair": (
        ("C", "N", -1), ("O", "H", -1), ("O", "H", -1), ("O", "H", -1), ("O", "O", -2), ("S", "S", -2),
        ("C", "C", -2), ("S", "H", -1),
    ),
}  # fmt: skip
"""Molecular ions: centre, the others, charge. An ion that stands twice is drawn twice as often."""

NEUTRAL = ("H2O", "H2O", "H2O", "H2O", "NH3", "CO2", "CO", "CH4", "CH3OH", "H2CO", "HCOOH", "C2H2", "C2H4",
           "HCN", "N2H4", "H2", "N2", "O2", "CH3NO2", "CH3CN", "SO2", "CH3Cl", "H2O2", "C2H6")  # fmt: skip
"""Molecules of ASE's collection, of at most eight atoms."""


@dataclass(frozen=True)
class Part:
    """What is packed as a rigid body.

    Attributes:
        symbols: Of its atoms.
        positions: A, around the origin.
        charge: In elementary charges.
    """

    symbols: tuple[str, ...]
    positions: tuple[tuple[float, ...], ...]
    charge: int

    @property
    def name(self) -> str:
        """The atoms' symbols."""
        return "".join(self.symbols)


def _single(symbol: str, charge: int) -> Part:
    return Part((symbol,), ((0.0, 0.0, 0.0),), charge)


@cache
def ions() -> tuple[Part, ...]:
    """List the molecular ions."""
    made = []
    for shape, members in IONS.items():
        directions = np.array(SHAPES[shape])
        directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
        for centre, other, charge in members:
            length = 0.92 * sum(covalent_radii[atomic_numbers[s]] for s in (centre, other))
            positions = [[0.0, 0.0, 0.0], *(length * directions).tolist()]
            made.append(Part((centre, *[other] * len(directions)), tuple(map(tuple, positions)), charge))
    return tuple(made)


@cache
def neutral() -> tuple[Part, ...]:
    """List the molecules."""
    made = []
    for name in NEUTRAL:
        atoms = molecule(name)
        positions = atoms.positions - atoms.positions.mean(axis=0)
        made.append(Part(tuple(atoms.get_chemical_symbols()), tuple(map(tuple, positions.tolist())), 0))
    return tuple(made)


def draw(rng: np.random.Generator, largest: int = LARGEST) -> list[Part]:
    """Draw the parts of a cell: nine times out of ten such that charges balance.

    Args:
        rng: Draws.
        largest: Most atoms.
    """
    if rng.random() < 0.06:
        kind = neutral()[rng.integers(len(neutral()))]
        return [kind] * int(rng.integers(1, max(2, min(4, largest // len(kind.symbols)) + 1)))
    balanced = rng.random() < 0.9
    while True:
        negative = [_anion(rng) for _ in range(1 + (rng.random() < 0.3))]
        positive = [_cation(rng) for _ in range(1 + (rng.random() < 0.5) + (rng.random() < 0.1))]
        water = [neutral()[rng.integers(len(neutral()))]] if rng.random() < 0.15 else []
        for _ in range(20):
            kinds = [*positive, *negative, *water]
            parts = [kind for kind in kinds for _ in range(int(rng.choice((1, 1, 2, 2, 3, 4))))]
            size = sum(len(part.symbols) for part in parts)
            if size <= largest and (not balanced or sum(part.charge for part in parts) == 0):
                return parts


def _cation(rng: np.random.Generator) -> Part:
    if rng.random() < 0.05:
        return next(ion for ion in ions() if ion.charge > 0)
    symbols = list(STATES)
    symbol = symbols[rng.integers(len(symbols))]
    return _single(symbol, int(rng.choice(STATES[symbol])))


def _anion(rng: np.random.Generator) -> Part:
    if rng.random() < 0.6:
        chosen = [ion for ion in ions() if ion.charge < 0]
        return chosen[rng.integers(len(chosen))]
    weights = np.array([weight for _, weight in ANIONS.values()])
    symbol = str(rng.choice(list(ANIONS), p=weights / weights.sum()))
    return _single(symbol, -ANIONS[symbol][0])


def pack(parts: Sequence[Part], rng: np.random.Generator) -> Atoms:
    """Put parts into a random cell, each where there is most room for it among several trials.

    Args:
        parts: What to pack.
        rng: Draws.
    """
    order = sorted(range(len(parts)), key=lambda i: -len(parts[i].symbols))
    numbers = np.array([atomic_numbers[s] for i in order for s in parts[i].symbols])
    owner = np.repeat(np.arange(len(order)), [len(parts[i].symbols) for i in order])
    reach = _reach(numbers, np.array([np.sign(parts[i].charge) for i in order])[owner])
    volume = rng.uniform(0.85, 1.3) * np.maximum(5.2 * reach**3, 6.0).sum()
    shape = np.exp(rng.normal(0, 0.2, 3)) * np.eye(3) + rng.normal(0, 0.15, (3, 3))
    cell = shape * np.cbrt(volume / abs(np.linalg.det(shape)))
    images = np.stack(np.meshgrid(*[(-1, 0, 1)] * 3), -1).reshape(-1, 3) @ cell
    positions = np.zeros((0, 3))
    for i in order:
        body = np.array(parts[i].positions)
        start, end = len(positions), len(positions) + len(body)
        turns = Rotation.random(TRIALS, rng).as_matrix() if len(body) > 1 else np.eye(3)[None]
        placed = (body @ turns) + (rng.random((TRIALS, 1, 3)) @ cell)
        known = (positions[:, None] + images).reshape(-1, 3)
        wanted = reach[start:end, None] + np.repeat(reach[:start], len(images))
        room = np.linalg.norm(placed[:, :, None] - known, axis=-1) / wanted
        best = int(np.argmax(room.reshape(TRIALS, -1).min(axis=1))) if start else 0
        positions = np.concatenate([positions, placed[best]])
    return Atoms(numbers, positions, cell=cell, pbc=True)


def _reach(numbers: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Return how far an atom reaches, A: cations less than their covalent radius, anions more."""
    radii = covalent_radii[numbers]
    return np.where(signs > 0, 0.85 * radii, np.where(numbers == 1, 0.9, radii + 0.55))


def relaxed(
    parts: Sequence[Sequence[Part]], rngs: Sequence[np.random.Generator], teach: Teach
) -> list[tuple[Atoms, Label | None]]:
    """Pack cells, let them relax for a while, and take what is worth labelling of it.

    Args:
        parts: Of each cell.
        rngs: A generator for each.
        teach: The teacher.

    Returns:
        Structures with their labels, and derived ones that have none yet.
    """
    names = ["packed:" + "-".join(dict.fromkeys(part.name for part in some)) for some in parts]
    current = [_Cell(pack(some, rng), name, rng) for some, name, rng in zip(parts, names, rngs, strict=True)]
    found: list[tuple[Atoms, Label | None]] = []
    for number in range(1, KEPT[-1] + 1):
        current = [cell for cell in current if perturb.is_sound(cell.atoms)]  # others have collapsed
        for cell, label in zip(current, teach([cell.atoms for cell in current]), strict=True):
            if number in KEPT:
                found.append((named(cell.atoms, "packed", cell.name), label))
            cell.size *= 1.1 if label.energy < cell.energy else 0.5
            cell.energy = label.energy
            cell.atoms = step(cell.atoms, label, cell.size)
    for cell in current:
        loose = perturb.rattle(perturb.strain(cell.atoms, cell.rng), cell.rng)
        strained = perturb.strain(cell.atoms, cell.rng)
        found += [(named(atoms, "packed", cell.name), None) for atoms in (loose, strained)]
    return found


@dataclass(eq=False)
class _Cell:
    """A packing on its way to the minimum; its steps grow while the energy falls, and halve when it rises."""

    atoms: Atoms
    name: str
    rng: np.random.Generator
    size: float = 0.03
    energy: float = np.inf
