"""Smoothness of energies and forces where an atom leaves the cutoff."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from nequix.evaluation.physics import structures
from nequix.evaluation.physics.verdicts import Limit
from nequix.graphs.batches import evaluate_atoms

if TYPE_CHECKING:
    from jaxtyping import Float

    from nequix.potential import Potential

NEAR = 1e-3
"""A, on either side of the cutoff, between which nothing may jump."""

STEP = 0.02
"""A, of the scan and of its finite differences."""

FIRST = 2.0
"""A above the slab, where the scan begins."""

LIMITS = {
    "energy jump": Limit(
        "eV",
        1e-4,
        1e-2,
        f"across {2 * NEAR:g} A at the cutoff: less than rounding in float32 for 100 atoms",
        1e-2,
    ),
    "force jump": Limit("eV/A", 1e-3, 1e-1, "across the same; a tenth of what relaxations converge to"),
    "force against energy": Limit(
        "eV/A", 2e-2, 2e-1, f"against central differences over {2 * STEP:g} A, with an error of a few meV/A"
    ),
    "energy step": Limit(
        "eV", 2e-2, 2e-1, "between neighbours of the scan, less what the mean force explains"
    ),
}


def scan(potential: Potential) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Pull an atom off a slab, past the cutoff of all others, and two atoms apart.

    Args:
        potential: The model.

    Returns:
        The numbers that :data:`LIMITS` judges, and the curves: ``height``, ``energy``, ``force`` of the slab,
        ``distance``, ``pair_energy``, ``pair_force`` of the pair.
    """
    cutoff = potential.spec.cutoff
    height = np.arange(FIRST, cutoff + 0.5, STEP)
    energy, force = _lifted(potential, height)
    distance = np.sort(np.concatenate([np.linspace(0.6, 1.03, 160) * cutoff, [cutoff - NEAR, cutoff + NEAR]]))
    pair_energy, pair_force = _pair(potential, distance)
    sides = [np.flatnonzero(distance == cutoff + sign * NEAR)[0] for sign in (-1, 1)]
    jumps = [_jump(values, sides) for values in (pair_energy, pair_force)]
    values = {"energy jump": jumps[0], "force jump": jumps[1], **judge_curve(height, energy, force)}
    curves = {"height": height, "energy": energy, "force": force}
    pair = {"distance": distance, "pair_energy": pair_energy, "pair_force": pair_force}
    return values, {**curves, **pair}


def judge_curve(
    height: Float[np.ndarray, " n"], energy: Float[np.ndarray, " n"], force: Float[np.ndarray, " n"]
) -> dict[str, float]:
    """Compare forces with differences of energies along an even scan.

    Args:
        height: A.
        energy: eV.
        force: Along the scan, eV/A.

    Returns:
        ``force against energy``, the largest difference, eV/A, and ``energy step``, eV: the largest energy
        difference of neighbours that the mean of their forces does not explain.
    """
    steps = np.diff(height)
    central = -(energy[2:] - energy[:-2]) / (steps[1:] + steps[:-1])
    explained = -(force[1:] + force[:-1]) / 2 * steps
    return {
        "force against energy": float(np.abs(central - force[1:-1]).max()),
        "energy step": float(np.abs(np.diff(energy) - explained).max()),
    }


def _lifted(potential: Potential, height: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    base = structures.slab(potential.spec, vacuum=0.0)
    base.pbc = (True, True, False)
    base.positions[:, 2] -= base.positions[:, 2].max()
    frames = []
    for z in height.tolist():
        atom = Atoms([base.numbers[-1]], [[0.4, 0.9, z]])
        frames.append(base + atom)
    results = evaluate_atoms(potential, frames)
    return np.array([r.energy[0] for r in results]), np.array([r.forces[-1, 2] for r in results])


def _pair(potential: Potential, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    crystal: Any = structures.crystal(potential.spec)
    numbers = crystal.numbers[[0, -1]]
    results = evaluate_atoms(potential, [Atoms(numbers, [[0, 0, 0], [d, 0, 0]]) for d in distance.tolist()])
    return np.array([r.energy[0] for r in results]), np.array([r.forces[1, 0] for r in results])


def _jump(values: np.ndarray, sides: list[np.intp]) -> float:
    return float(abs(values[sides[1]] - values[sides[0]]))
