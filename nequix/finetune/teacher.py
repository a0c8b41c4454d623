"""Replay structures that a model generates and labels itself, if its training data are not available.

Elements and binary compounds in common structures, at the size that the model prefers, strained and rattled.
"""

from __future__ import annotations

import io
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import chemical_symbols, covalent_radii, reference_states

from nequix.calculator import NequixCalculator
from nequix.core.errors import DataError, GraphError
from nequix.data.frames import read_frames
from nequix.io.files import write_atomic
from nequix.io.weights import Weights

TEACHER = "teacher"
"""Key of the name of the labelling model."""

N_STRUCTURES = 300
"""Default number of structures."""

ELEMENTAL = ("fcc", "bcc", "hcp", "diamond")

BINARY = {"rocksalt": 2.0, "zincblende": 4 / 3**0.5, "cesiumchloride": 2 / 3**0.5}
"""Structures of compounds AB, with the cubic lattice constant for a bond of unit length."""

SCALES = (0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2)
"""Lattice constants that are tried, relative to that of the covalent radii."""

STRAIN, RATTLE, LARGEST_FORCE = 0.02, (0.02, 0.15), 10.0
"""Standard deviation of the strain; range of that of the displacements, A; largest force kept, eV/A."""


def write_teacher_data(parent: Weights, path: Path, n: int = N_STRUCTURES, seed: int = 0) -> Path:
    """Write structures with a model's own labels, unless they are there already.

    Each names its teacher, with the first digits of its digest.

    Args:
        parent: The model.
        path: An extended XYZ file.
        n: How many structures.
        seed: Of the draw.

    Raises:
        DataError: If too few of the structures drawn are of use, or the file is there and of another model.
    """
    teacher = f"{parent.provenance.name} {(parent.digest or 'of unknown digest')[:16]}"
    if path.is_file():
        if str(next(read_frames(path)).info.get(TEACHER)) != teacher:
            raise DataError(
                f"{path}: is there already, but not made by {teacher}; move it away, or choose another folder"
            )
        return path
    calculator, rng = NequixCalculator(parent, "jax", guard=None), np.random.default_rng(seed)
    frames: list[Atoms] = []
    for _ in range(5 * n):
        try:
            atoms = _labelled(_derive(_preferred(_draw(parent, rng), calculator), rng), calculator)
        except GraphError:  # e.g. a crystal of hydrogen, which has a tiny covalent radius
            continue
        if atoms is not None:
            atoms.info[TEACHER] = teacher
            frames.append(atoms)
        if len(frames) == n:
            break
    else:
        raise DataError(
            f"{len(frames)} of {5 * n} structures are neither too dense nor have forces above "
            f"{LARGEST_FORCE:g} eV/A, expected {n}; give structures instead (--replay FILE)"
        )
    text = io.StringIO()
    ase.io.write(text, frames, format="extxyz")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, [text.getvalue().encode()])
    return path


def _draw(parent: Weights, rng: np.random.Generator) -> Atoms:
    """Draw an element or a compound of two, at the lattice constant of the covalent radii."""
    known = np.array([z for z in parent.spec.atomic_numbers if z < len(reference_states)])
    a, b = rng.choice(known, 2)
    found = reference_states[a]
    if a == b or rng.random() < 0.3:
        kind = found["symmetry"] if found is not None and found["symmetry"] in ELEMENTAL else "fcc"
        bond = 2 * covalent_radii[a]
        size = {"fcc": 2**0.5, "bcc": 2 / 3**0.5, "hcp": 1.0, "diamond": 4 / 3**0.5}[kind]
        return bulk(chemical_symbols[a], kind, a=float(size * bond))
    kind = str(rng.choice(list(BINARY)))
    length = BINARY[kind] * (covalent_radii[a] + covalent_radii[b])
    return bulk(chemical_symbols[a] + chemical_symbols[b], kind, a=float(length))


def _preferred(atoms: Atoms, calculator: NequixCalculator) -> Atoms:
    """Return the crystal at the size where the model's energy is lowest."""
    energies = []
    for scale in SCALES:
        sized = atoms.copy()
        sized.set_cell(scale * atoms.cell.array, scale_atoms=True)
        sized.calc = calculator
        energies.append(sized.get_potential_energy())
    atoms.set_cell(SCALES[int(np.argmin(energies))] * atoms.cell.array, scale_atoms=True)
    return atoms


def _derive(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    """Strain and rattle a supercell of a few atoms."""
    derived = atoms.repeat(tuple(rng.integers(1, 3, 3)))
    strain = rng.normal(0, STRAIN, (3, 3))
    derived.set_cell(derived.cell.array @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
    derived.positions += rng.normal(0, rng.uniform(*RATTLE), derived.positions.shape)
    return derived


def _labelled(atoms: Atoms, calculator: NequixCalculator) -> Atoms | None:
    calculator.calculate(atoms)
    labels = {name: calculator.results[name] for name in ("energy", "forces", "stress")}
    if np.abs(labels["forces"]).max() > LARGEST_FORCE:
        return None
    atoms.calc = SinglePointCalculator(atoms, **labels)
    return atoms
