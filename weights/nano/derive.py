"""Structures for the teacher to label: derived from crystals, molecules, pairs and single atoms."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.collections import g2
from ase.data import chemical_symbols, covalent_radii

from weights.nano import perturb
from weights.nano.chemistry import ELEMENTS, Base

KINDS = ("crystal", "strained", "rattled", "mixed", "vacancy", "surface", "packed",
         "molecule", "dimer", "atom")  # fmt: skip
"""What is made: the first word of a structure's name."""

SPLITS = {"valid": 0.015, "test": 0.045}
"""Upper ends of the parts of families that are held out; the rest is for training."""

SPLIT_SEED = 0
"""The same for all data that are ever made, so that what was held out once stays so."""


def named(atoms: Atoms, kind: str, origin: str) -> Atoms:
    """Return a copy that says what it is.

    Args:
        atoms: The structure.
        kind: What was done to it.
        origin: What it is derived from: a prototype, then a colon.
    """
    copy = atoms.copy()
    copy.info = {"name": f"{kind} {origin}", "family": family(atoms, origin)}
    return copy


def family(atoms: Atoms, origin: str) -> str:
    """Return what is held out as a whole.

    Compounds and molecules of the same elements are one family, whatever their structure; an element is a
    family in each prototype.

    Args:
        atoms: The structure.
        origin: What it is derived from: a prototype, then a colon.
    """
    symbols = sorted({chemical_symbols[number] for number in atoms.numbers})
    prototype = f"{origin.split(':')[0]}:" if len(symbols) == 1 else ""
    return prototype + "-".join(symbols)


def part(name: str) -> str:
    """Return whether a family is for training, validation or test: a hash decides.

    Args:
        name: The family.
    """
    if name.startswith("atom:"):
        return "train"  # the energy of a single element cannot be separated from others
    number = int.from_bytes(hashlib.sha256(f"{SPLIT_SEED} {name}".encode()).digest()[:8]) / 2**64
    return next((split for split, end in SPLITS.items() if number < end), "train")


def from_crystal(base: Base, crystal: Atoms, rng: np.random.Generator) -> list[Atoms]:
    """Derive structures from a crystal near its minimum.

    Args:
        base: The crystal.
        crystal: Its primitive cell.
        rng: Draws.
    """

    def loose() -> Atoms:
        return perturb.rattle(perturb.strain(perturb.supercell(crystal, rng), rng), rng)

    made: list[tuple[str, Atoms | None]] = [("strained", perturb.strain(crystal, rng))]
    made += [("rattled", loose()) for _ in range(3)]
    made += [("mixed", perturb.substitute(loose(), rng)) for _ in range(2)]
    if rng.random() < 0.4:
        made.append(("vacancy", perturb.vacancy(loose(), rng)))
    if rng.random() < 0.5:
        cut = perturb.slab(crystal, rng)
        made.append(("surface", None if cut is None else perturb.rattle(cut, rng)))
    return [named(atoms, kind, base.name) for kind, atoms in made if atoms is not None]


def molecules() -> list[str]:
    """List the molecules of ASE's collection whose elements all occur in the crystals."""
    return [name for name in g2.names if set(molecule(name).get_chemical_symbols()) <= set(ELEMENTS)]


def from_molecule(name: str, rng: np.random.Generator) -> list[Atoms]:
    """Displace the atoms of a molecule by several amplitudes.

    Args:
        name: One of :func:`molecules`.
        rng: Draws.
    """
    atoms = Atoms(molecule(name).numbers, molecule(name).positions)
    if len(atoms) == 1:
        return []
    made = []
    for width in (0.02, 0.05, 0.08):
        positions = atoms.positions + rng.normal(0, width, (len(atoms), 3))
        made.append(named(Atoms(atoms.numbers, positions), "molecule", f"{name}:"))
    return made


def from_pair(pair: Sequence[str], rng: np.random.Generator) -> list[Atoms]:
    """Set two atoms at several distances.

    Args:
        pair: Two symbols.
        rng: Draws.
    """
    close = sum(covalent_radii[chemical_symbols.index(symbol)] for symbol in pair)
    return [
        named(Atoms(list(pair), [[0, 0, 0], [0, 0, close * x]]), "dimer", "dimer:")
        for x in rng.uniform([0.75, 0.95, 1.2], [0.95, 1.2, 1.9])
    ]


def single_atoms() -> list[Atoms]:
    """Return one isolated atom per element."""
    return [named(Atoms([symbol], [[0, 0, 0]]), "atom", "atom:") for symbol in ELEMENTS]
