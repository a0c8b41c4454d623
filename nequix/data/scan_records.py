"""What the checks remember of each structure, so that no data set has to fit the memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nequix.core.errors import GraphError
from nequix.data.structure import Structure, not_finite
from nequix.graphs.graph import refuse_singular
from nequix.graphs.neighbors import neighbor_list

if TYPE_CHECKING:
    from jaxtyping import Float, Int

ISOLATED = 5.0
"""A: an atom without another one within this distance is isolated."""

_DIGITS = 4  # A, to which equal structures agree


@dataclass(frozen=True, eq=False)
class Record:
    """A structure's summary.

    Attributes:
        index: Where it is in its source.
        name: Its name.
        numbers: Its atomic numbers.
        energy: eV, or NaN.
        has: Whether it has an energy, forces, and a stress.
        three_dimensional: Whether it is periodic in all directions, so that it has a stress.
        not_finite: Its labels that are infinite or no numbers.
        zeroed: Atoms whose force is exactly zero.
        zero: Whether all of its forces are exactly zero.
        largest_force: Largest absolute component, eV/A, or NaN.
        net_force: Largest component of the sum of forces, relative to the sum of their absolute values.
        largest_stress: Largest absolute component, eV/A^3, or NaN.
        closest: Shortest distance relative to the sum of the covalent radii, or NaN for no neighbours.
        closest_pair: That distance and its elements, in words.
        isolated: Atoms without a neighbour, in a structure of several.
        problem: Why it has no neighbour list, or "".
        identity: Digest of elements, positions and cell.
    """

    index: int
    name: str
    numbers: Int[np.ndarray, " n"]
    energy: float
    has: tuple[bool, bool, bool]
    three_dimensional: bool
    not_finite: tuple[str, ...]
    zeroed: int
    zero: bool
    largest_force: float
    net_force: float
    largest_stress: float
    closest: float
    closest_pair: str
    isolated: int
    problem: str
    identity: bytes


def record(structure: Structure, index: int) -> Record:
    """Summarise a structure.

    Args:
        structure: The structure.
        index: Where it is in its source.
    """
    zeroed, net_force = _forces(structure.forces)
    closest, pair, isolated, problem = _distances(structure)
    return Record(
        index=index,
        name=structure.name,
        numbers=structure.numbers.astype(np.uint8),
        energy=np.nan if structure.energy is None else structure.energy,
        has=(structure.energy is not None, structure.forces is not None, structure.stress is not None),
        three_dimensional=bool(structure.pbc.all()) and structure.volume > 0,
        not_finite=not_finite(structure),
        zeroed=zeroed,
        zero=structure.forces is not None and not structure.forces.any(),
        largest_force=_largest(structure.forces),
        net_force=net_force,
        largest_stress=_largest(structure.stress),
        closest=closest,
        closest_pair=pair,
        isolated=isolated,
        problem=problem,
        identity=identify(structure),
    )


def _largest(values: Float[np.ndarray, "..."] | None) -> float:
    """Return the largest absolute value; NaN without any, or with some that are not finite."""
    if values is None or not values.size or not np.isfinite(values).all():
        return np.nan
    return float(np.abs(values).max())


def _forces(forces: Float[np.ndarray, "n 3"] | None) -> tuple[int, float]:
    if forces is None or len(forces) < 2 or not np.isfinite(forces).all() or not forces.any():
        return 0, 0.0
    zeroed = int((forces == 0).all(axis=1).sum())
    return zeroed, float(np.abs(forces.sum(axis=0)).max() / np.abs(forces).sum())


def _distances(structure: Structure) -> tuple[float, str, int, str]:
    """Return the closest approach, who approaches, the number of lonely atoms and any problem."""
    from ase.data import chemical_symbols, covalent_radii

    numbers, positions = structure.numbers, structure.positions
    if not len(numbers):
        return np.nan, "", 0, "no atoms"
    if not (np.isfinite(positions).all() and np.isfinite(structure.cell).all()):
        return np.nan, "", 0, "positions or cell are not finite"
    try:
        refuse_singular(structure.cell, structure.pbc)
        senders, receivers, shifts = neighbor_list(positions, structure.cell, structure.pbc, ISOLATED)
    except (GraphError, np.linalg.LinAlgError) as error:
        return np.nan, "", 0, str(error)
    isolated = len(numbers) - len(np.unique(receivers)) if len(numbers) > 1 else 0
    if not len(senders):
        return np.nan, "", isolated, ""
    lengths = np.linalg.norm(positions[senders] - positions[receivers] + shifts @ structure.cell, axis=1)
    ratios = lengths / (covalent_radii[numbers[senders]] + covalent_radii[numbers[receivers]])
    edge = int(ratios.argmin())
    pair = "-".join(chemical_symbols[numbers[atom[edge]]] for atom in (receivers, senders))
    return float(ratios[edge]), f"{pair} {lengths[edge]:.2f} A", isolated, ""


def identify(structure: Structure) -> bytes:
    """Return a digest of elements, positions (to 1e-4 A), cell and boundary conditions.

    Args:
        structure: The structure.
    """
    digest = hashlib.blake2b(structure.numbers.astype(np.int64).tobytes(), digest_size=16)
    for values in (structure.positions, structure.cell):
        digest.update((np.round(values, _DIGITS) + 0.0).tobytes())  # + 0.0 makes -0.0 equal to 0.0
    digest.update(structure.pbc.tobytes())
    return digest.digest()
