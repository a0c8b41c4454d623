"""A training set of rattled and strained crystals, for a small random model, and what it does not hold."""

from functools import cache

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule

from nequix.backends import load_model
from nequix.coverage.build import build_reference
from nequix.data.structure import from_atoms
from tests.calculator.small import WEIGHTS

CRYSTALS = {
    "Cu": ("fcc", 3.62),
    "Al": ("fcc", 4.05),
    "Au": ("fcc", 4.08),
    "Na": ("bcc", 4.23),
    "Si": ("diamond", 5.43),
    "C": ("diamond", 3.57),
    "NaCl": ("rocksalt", 5.64),
    "AlAu": ("cesiumchloride", 3.2),
    "CuAu": ("cesiumchloride", 3.1),
    "SiC": ("zincblende", 4.36),
    "CuCl": ("zincblende", 5.42),
    "CuAl": ("cesiumchloride", 2.95),
}
"""No oxygen and no hydrogen, and never sodium beside gold."""


def crystal(name: str, seed: int, strain: float = 0.03, size: float = 0.06) -> Atoms:
    kind, a = CRYSTALS[name]
    rng = np.random.default_rng(seed)
    atoms = bulk(name, kind, a=a, cubic=True)
    atoms = atoms if len(atoms) > 4 else atoms * (2, 2, 1)
    atoms.set_cell(atoms.cell * (1 + rng.uniform(-strain, strain)), scale_atoms=True)
    atoms.rattle(size, rng=rng)
    return atoms


def structures(frames, name="t"):
    return [from_atoms(atoms, f"{name} {index}") for index, atoms in enumerate(frames)]


@cache
def training():
    return structures([crystal(name, seed) for name in CRYSTALS for seed in range(60)])


@cache
def potential():
    return load_model(WEIGHTS, "torch", dtype="float64")


@cache
def reference():
    return build_reference(training(), WEIGHTS, potential(), "crystals")


def short_contact() -> Atoms:
    """Sodium with two atoms at 1.6 A: the bond is 3.7."""
    atoms = crystal("Na", 90)
    atoms.positions[3] = atoms.positions[1] + [1.6, 0.0, 0.0]
    return atoms


def unseen_pair() -> Atoms:
    return bulk("NaAu", "cesiumchloride", a=3.6) * (2, 2, 2)


def compressed() -> Atoms:
    atoms = crystal("Cu", 91)
    atoms.set_cell(0.8 * atoms.cell, scale_atoms=True)
    return atoms


def ethane() -> Atoms:
    return molecule("C2H6")
