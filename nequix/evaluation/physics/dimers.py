"""Two atoms of an element at every distance: the repulsive wall, the well, and minima that should not be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from scipy.signal import find_peaks

from nequix.evaluation.physics.verdicts import Limit
from nequix.graphs.batches import evaluate_atoms
from nequix.metrics.statistics import mean_absolute

if TYPE_CHECKING:
    from jaxtyping import Float

    from nequix.potential import Potential

FIRST, LAST = 0.5, 6.0
"""From half the covalent radius (a quarter of a bond) to 6 A, the end of the DFT curves."""

POINTS = 200
PROMINENCE = 0.05
"""eV: minima that are less deep than this, seen from their lower rim, are not counted."""

WALL = 10.0
"""eV above the separated atoms: dynamics at any usual temperature does not come beyond."""

LEVELS = (1.0, 2.0, 5.0, WALL)
"""eV above the separated atoms, where the walls are compared."""

LIMITS = {
    "wall deficit": Limit(
        "eV",
        0.0,
        8.0,
        f"what the highest energy lacks of {WALL:g} eV above the separated atoms, where a hole or the end of "
        "the curve comes first; a wall of 2 eV is twelve times kT at 2000 K",
    ),
    "spurious minima": Limit(
        "", 0.0, 1.0, f"beside the well, outside the wall, deeper than {PROMINENCE:g} eV"
    ),
    "wall radius error": Limit(
        "A",
        0.1,
        0.3,
        "mean over the levels that both the model and DFT reach; 0.1 A is the width of a thermal vibration",
    ),
}
"""Of every element."""


@dataclass(frozen=True, eq=False)
class Curve:
    """The energy of a dimer.

    Attributes:
        distance: A, ascending.
        energy: eV, above that at the last distance.
    """

    distance: Float[np.ndarray, " n"]
    energy: Float[np.ndarray, " n"]

    @classmethod
    def of(cls, distance: Any, energy: Any) -> Curve:
        """Sort a curve, and count its energy from the last distance.

        Args:
            distance: A.
            energy: eV.
        """
        order = np.argsort(distance)
        energies = np.asarray(energy, float)[order]
        return cls(np.asarray(distance, float)[order], energies - energies[-1])


def compute(potential: Potential, number: int) -> Curve:
    """Evaluate the dimer of an element.

    Args:
        potential: The model.
        number: The atomic number.
    """
    distance = np.geomspace(FIRST * covalent_radii[number], LAST, POINTS)
    frames = [Atoms([number, number], [[0, 0, 0], [d, 0, 0]]) for d in distance.tolist()]
    return Curve.of(distance, [results.energy[0] for results in evaluate_atoms(potential, frames)])


def describe(curve: Curve) -> dict[str, Any]:
    """Find wall, well and spurious minima.

    The wall is the outermost place at :data:`WALL`, or the highest one if there is none so high. The well is
    the deepest minimum outside it; what lies within is a hole.

    Args:
        curve: The curve.

    Returns:
        ``minimum`` (A) and ``depth`` (eV) of the well, None without one; ``wall`` (eV) and ``wall_distance``,
        the highest energy and its place; ``wall_deficit`` (see :data:`LIMITS`); ``hole``, how far the energy
        falls inwards of the wall (eV); ``collapses``, whether it falls there below the well; and
        ``spurious_minima``, their distances.
    """
    r, energy = curve.distance, curve.energy
    high = np.flatnonzero(energy >= WALL)
    top = int(high[-1]) if len(high) else int(np.argmax(energy))
    minima = find_peaks(-energy, prominence=PROMINENCE)[0]
    wells = minima[minima > top]
    well = int(wells[np.argmin(energy[wells])]) if len(wells) else None
    lowest = float(energy[: top + 1].min())
    highest = int(np.argmax(energy))
    return {
        "minimum": None if well is None else float(r[well]),
        "depth": None if well is None else float(-energy[well]),
        "wall": float(energy[highest]),
        "wall_distance": float(r[highest]),
        "wall_deficit": max(0.0, WALL - float(energy[highest])),
        "hole": float(energy[highest]) - lowest if lowest < energy[top] - PROMINENCE else 0.0,
        "collapses": lowest < (0.0 if well is None else float(energy[well])),
        "spurious_minima": [float(r[w]) for w in wells if w != well],
    }


def wall_radius(curve: Curve, level: float) -> float | None:
    """Find where the energy first reaches a level, coming from outside.

    Args:
        curve: The curve.
        level: eV above the separated atoms.

    Returns:
        The distance, A; None if the curve does not reach it.
    """
    above = np.flatnonzero(curve.energy >= level)
    if not len(above):
        return None
    inner = int(above[-1])
    if inner == len(curve.energy) - 1:
        return float(curve.distance[inner])
    low, high = curve.energy[inner + 1], curve.energy[inner]
    part = (level - low) / (high - low)
    return float(curve.distance[inner + 1] + part * (curve.distance[inner] - curve.distance[inner + 1]))


def compare(curve: Curve, reference: Curve) -> dict[str, float | None]:
    """Compare a curve with a reference.

    Args:
        curve: The model's.
        reference: For example that of DFT.

    Returns:
        ``wall_radius_error``, A, the mean over the levels that both reach; ``minimum_error`` (A) and
        ``depth_error`` (eV), None without a well in either; ``mae``, eV, over the reference's distances from
        1.125 times the first on (0.9 covalent radii).
    """
    radii = [(wall_radius(curve, level), wall_radius(reference, level)) for level in LEVELS]
    errors = [
        abs(found - expected) for found, expected in radii if found is not None and expected is not None
    ]
    ours, theirs = describe(curve), describe(reference)
    inside = reference.distance >= max(1.125 * reference.distance[0], curve.distance[0])
    difference = (
        np.interp(reference.distance[inside], curve.distance, curve.energy) - reference.energy[inside]
    )
    return {
        "wall_radius_error": float(np.mean(errors)) if errors else None,
        "minimum_error": _difference(ours["minimum"], theirs["minimum"]),
        "depth_error": _difference(ours["depth"], theirs["depth"]),
        "mae": mean_absolute(difference),
    }


def _difference(ours: float | None, theirs: float | None) -> float | None:
    return None if ours is None or theirs is None else ours - theirs
