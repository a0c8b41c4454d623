"""Laws that hold whatever the material: symmetry, extensivity, additivity, boundary conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from scipy.spatial.transform import Rotation

from nequix.evaluation.physics import structures
from nequix.evaluation.physics.verdicts import Limit
from nequix.graphs.batches import evaluate_atoms
from nequix.graphs.results import Results

if TYPE_CHECKING:
    from jaxtyping import Float

    from nequix.potential import Potential

ROUNDING = "only rounding may change it; in float64 a millionth of the limit holds"
STEP = 2e-3
"""Strain of the finite differences."""

LIMITS = {
    "energy": Limit("eV/atom", 1e-5, 1e-4, ROUNDING, 1e-6),
    "forces": Limit("eV/A", 2e-4, 2e-3, ROUNDING, 1e-6),
    "stress": Limit("eV/A^3", 1e-5, 1e-4, ROUNDING, 1e-6),
    "net force": Limit("eV/A", 2e-4, 2e-3, "the forces of an isolated system sum to zero", 1e-6),
    "net torque": Limit("eV", 2e-3, 2e-2, "an isolated system feels no torque", 1e-6),
    "force on the atom": Limit("eV/A", 2e-4, 2e-3, "by symmetry it vanishes", 1e-6),
    "stress against energy": Limit(
        "eV/A^3", 1e-4, 1e-3, "against central differences of the energy, with an error of about 1e-5"
    ),
}
"""Of every quantity, for all the checks of this file."""


def equivariance(potential: Potential) -> dict[str, float]:
    """Compare a crystal and a molecule with themselves rotated, mirrored, moved and renumbered.

    Args:
        potential: The model.
    """
    rng = np.random.default_rng(structures.SEED)
    crystal = structures.low_symmetry(potential.spec)
    molecule = structures.rattled(structures.molecule_of(potential.spec))
    worst = {"energy": 0.0, "forces": 0.0, "stress": 0.0}
    for atoms in (crystal, molecule):
        rotations = Rotation.random(2, rng).as_matrix()
        for matrix in (*rotations, -np.eye(3), -rotations[0]):
            order = rng.permutation(len(atoms))
            moved = _transformed(atoms, matrix, rng.uniform(-9, 9, 3), order)
            before, after = evaluate_atoms(potential, [atoms, moved])
            found = _differences(before, after, matrix, order)
            worst = {name: max(worst[name], found.get(name, 0.0)) for name in worst}
    return worst


def _transformed(
    atoms: Atoms, matrix: Float[np.ndarray, "3 3"], shift: Float[np.ndarray, " 3"], order: np.ndarray
) -> Atoms:
    moved = atoms[order]
    moved.positions = moved.positions @ matrix.T + shift
    moved.set_cell(atoms.cell.array @ matrix.T)
    return moved


def _differences(
    before: Results, after: Results, matrix: Float[np.ndarray, "3 3"], order: np.ndarray
) -> dict[str, float]:
    found = {
        "energy": float(abs(after.energy[0] - before.energy[0]) / len(order)),
        "forces": float(np.abs(after.forces - before.forces[order] @ matrix.T).max()),
    }
    if np.isfinite(before.stress).all():
        found["stress"] = float(np.abs(after.stress[0] - matrix @ before.stress[0] @ matrix.T).max())
    return found


def extensivity(potential: Potential) -> dict[str, float]:
    """Compare a crystal with twelve copies of itself: twelve times the energy, the same forces and stress.

    Args:
        potential: The model.
    """
    atoms, copies = structures.rattled(structures.crystal(potential.spec)), (2, 2, 3)
    one, many = evaluate_atoms(potential, [atoms, atoms.repeat(copies)])
    n = int(np.prod(copies))
    return {
        "energy": float(abs(many.energy[0] / n - one.energy[0]) / len(atoms)),
        "forces": float(np.abs(many.forces - np.tile(one.forces, (n, 1))).max()),
        "stress": float(np.abs(many.stress - one.stress).max()),
    }


def fragments(potential: Potential) -> dict[str, float]:
    """Compare two molecules farther apart than the model sees with each molecule by itself.

    Args:
        potential: The model.
    """
    first = structures.rattled(structures.molecule_of(potential.spec))
    second = structures.rattled(first.copy(), 0.15)
    reach = float(np.ptp(first.positions, axis=0)[0] + np.ptp(second.positions, axis=0)[0])
    second.positions[:, 0] += 2 * potential.spec.cutoff + reach
    together = first + second
    alone, other, both = evaluate_atoms(potential, [first, second, together])
    sums = np.concatenate([alone.forces, other.forces])
    return {
        "energy": float(abs(both.energy[0] - alone.energy[0] - other.energy[0]) / len(together)),
        "forces": float(np.abs(both.forces - sums).max()),
    }


def slab(potential: Potential) -> dict[str, float]:
    """Compare a slab periodic in two directions with the same in a cell with vacuum, and without a third row.

    Args:
        potential: The model.
    """
    open_slab = structures.slab(potential.spec, vacuum=potential.spec.cutoff)
    open_slab.pbc = (True, True, False)
    periodic, flat = open_slab.copy(), open_slab.copy()
    periodic.pbc = True
    flat.set_cell([*open_slab.cell.array[:2], np.zeros(3)])
    base, *others = evaluate_atoms(potential, [open_slab, periodic, flat])
    return {
        "energy": max(float(abs(o.energy[0] - base.energy[0])) for o in others) / len(open_slab),
        "forces": max(float(np.abs(o.forces - base.forces).max()) for o in others),
        "net force": float(np.abs(base.forces.sum(axis=0)).max()),
    }


def molecule(potential: Potential) -> dict[str, float]:
    """Compare a molecule without a cell with the same in a wide box; look at its net force and torque.

    Args:
        potential: The model.
    """
    free = structures.rattled(structures.molecule_of(potential.spec))
    boxed = free.copy()
    boxed.set_cell(np.eye(3) * (np.ptp(free.positions, axis=0).max() + 2 * potential.spec.cutoff))
    boxed.pbc = True
    alone, inside = evaluate_atoms(potential, [free, boxed])
    torque = np.cross(free.positions - free.positions.mean(axis=0), alone.forces).sum(axis=0)
    return {
        "energy": float(abs(inside.energy[0] - alone.energy[0]) / len(free)),
        "forces": float(np.abs(inside.forces - alone.forces).max()),
        "net force": float(np.abs(alone.forces.sum(axis=0)).max()),
        "net torque": float(np.abs(torque).max()),
    }


def one_atom_cell(potential: Potential) -> dict[str, float]:
    """Look at a cell of one atom, all of whose neighbours are its own images.

    Args:
        potential: The model.
    """
    number = 29 if 29 in potential.spec.atomic_numbers else potential.spec.atomic_numbers[0]
    atoms = structures.fcc(number)
    strained = [_strained(atoms, sign * STEP * _voigt(k)) for k in range(6) for sign in (1, -1)]
    one, many, *ends = evaluate_atoms(potential, [atoms, atoms.repeat(2), *strained])
    energies = np.array([end.energy[0] for end in ends]).reshape(6, 2)
    slopes = (energies[:, 0] - energies[:, 1]) / (2 * STEP) / atoms.get_volume()
    expected = np.array([np.tensordot(one.stress[0], _voigt(k)) for k in range(6)])
    return {
        "energy": float(abs(many.energy[0] / 8 - one.energy[0])),
        "force on the atom": float(np.abs(one.forces).max()),
        "stress": float(np.abs(many.stress - one.stress).max()),
        "stress against energy": float(np.abs(slopes - expected).max()),
    }


def _voigt(k: int) -> Float[np.ndarray, "3 3"]:
    strain = np.zeros((3, 3))
    i, j = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))[k]
    strain[i, j] += 0.5
    strain[j, i] += 0.5
    return strain


def _strained(atoms: Atoms, strain: Float[np.ndarray, "3 3"]) -> Atoms:
    changed = atoms.copy()
    changed.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return changed


CHECKS = {
    "equivariance": equivariance,
    "extensivity": extensivity,
    "fragments": fragments,
    "slab": slab,
    "molecule": molecule,
    "one-atom-cell": one_atom_cell,
}
"""Every check of this file; each returns the numbers that :data:`LIMITS` judges."""
