"""Data sets for the tests: small synthetic ones, and the real ones where NEQUIX_DATA says."""

import os
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from nequix.core.spec import ModelSpec

SPEC = ModelSpec(
    atomic_numbers=(1, 6, 8, 13, 14, 29),
    avg_n_neighbors=20.0,
    scale=1.0,
    shift=0.0,
    cutoff=4.0,
    hidden_irreps="4x0e + 4x1o",
    lmax=1,
    n_layers=2,
)


def real(name: str) -> Path:
    """The path of a real data set; where CI runs it must be there."""
    folder = os.environ.get("NEQUIX_DATA", "")
    path = Path(folder) / name
    if not folder or not path.is_file():
        reason = f"NEQUIX_DATA = {folder!r} is not a folder with {name}"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return path


def strained_copper(n: int = 24, seed: int = 0) -> list[Atoms]:
    """Crystals of several sizes, strained and rattled, with exact Lennard-Jones labels."""
    rng = np.random.default_rng(seed)
    frames = []
    for index in range(n):
        atoms = bulk("Cu", a=3.6, cubic=True).repeat((1 + index % 2, 1, 1 + index % 3))
        strain = rng.normal(0.0, 0.02, (3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
        atoms.positions += rng.normal(0.0, 0.02, atoms.positions.shape)
        atoms.calc = LennardJones(sigma=2.3, epsilon=0.4, rc=6.0, smooth=True)
        labelled(atoms, atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress())
        frames.append(atoms)
    return frames


def labelled(atoms: Atoms, energy: float | None, forces: object = None, stress: object = None) -> Atoms:
    """Give a structure only these labels."""
    labels = {"energy": energy, "forces": forces, "stress": stress}
    atoms.calc = SinglePointCalculator(atoms, **{k: v for k, v in labels.items() if v is not None})
    return atoms


def relabelled(atoms: Atoms, **labels: object) -> Atoms:
    """Copy a structure with some of its labels changed; None removes one."""
    results = {**atoms.calc.results, **labels}
    return labelled(atoms.copy(), results["energy"], results["forces"], results["stress"])


def saved(path: Path, frames: list[Atoms]) -> Path:
    """Write structures as extended XYZ."""
    write(path, frames, format="extxyz")
    return path
