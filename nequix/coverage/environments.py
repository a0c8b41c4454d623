"""Environments of the atoms of a structure, in chemical terms and without a model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nequix.core.errors import GraphError
from nequix.graphs.neighbors import neighbor_list

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from nequix.data.structure import Structure

BOND = 1.25
"""Neighbours within this many sums of the covalent radii are bonded; they define angles and coordination."""

FADING = 0.1
"""Width below ``BOND`` over which a bond's angles lose weight, so that none appears abruptly."""

BIN_WIDTH = 0.1
"""Bin width of the histograms of distances, A."""

ANGLE_BINS = 12
"""Number of bins of angles, 15 degrees each."""

COORDINATION_BINS = 32
"""Number of bins of coordination numbers; the last one has all larger ones."""

CROWD_BINS, CROWD_RATIO = 80, 1.1
"""Number of bins of neighbours and bond orders; each is a tenth wider than the previous one."""

ORDER_LENGTH, ORDER_SCALE = 0.37, 10.0
"""A, by which bonds of one order less are longer (Brown and Altermatt, Acta Cryst. B 41, 244, 1985); and the
bond orders that are distinguished by separate classes: a tenth."""

Z = 128
"""Base of the codes of pairs and triples: above every atomic number."""


class Events(NamedTuple):
    """Observations around atoms, each with a kind and a bin.

    Attributes:
        atom: Index of the central atom.
        code: The kind, such as a pair of species (:func:`pair_code`).
        bin: Bin in the kind's histogram.
        value: The binned value: A, degrees or a number.
        weight: From 0 to 1: smaller for long distances and weak bonds.
    """

    atom: Int[np.ndarray, " n"]
    code: Int[np.ndarray, " n"]
    bin: Int[np.ndarray, " n"]
    value: Float[np.ndarray, " n"]
    weight: Float[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class Environments:
    """The environments of a structure's atoms, in several views.

    Attributes:
        numbers: Atomic numbers.
        pairs: Distances to the neighbours within the cutoff, by pair of species.
        angles: Angles between bonds, by species of the centre and of the two ends.
        coordination: Number of bonded neighbours, by species.
        crowd: Number of neighbours within the cutoff, by species.
        orders: Sum of ``exp((r_i + r_j - d) / ORDER_LENGTH)`` with the covalent radii, by species of the atom
            and of the neighbours: the number of bonds, weighted towards short ones. It distinguishes a
            crystal under pressure from a dimer.
    """

    numbers: Int[np.ndarray, " n"]
    pairs: Events
    angles: Events
    coordination: Events
    crowd: Events
    orders: Events


VIEWS = ("pairs", "angles", "coordination", "crowd", "orders")
"""Names of the views, the fields of :class:`Environments`."""


def n_bins(view: str, cutoff: float) -> int:
    """Count the bins of a view's histograms.

    Args:
        view: One of ``VIEWS``.
        cutoff: Radius, A.
    """
    fixed = {"angles": ANGLE_BINS, "coordination": COORDINATION_BINS}
    fixed |= {"crowd": CROWD_BINS, "orders": CROWD_BINS}
    return fixed.get(view) or round(np.ceil(cutoff / BIN_WIDTH - 1e-9))


def n_kinds(view: str) -> int:
    """Return an upper bound of the codes of a view.

    Args:
        view: One of ``VIEWS``.
    """
    return Z ** {"pairs": 2, "angles": 3, "orders": 2}.get(view, 1)


def pair_code(a: Int[np.ndarray, " n"], b: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Return codes of unordered pairs of species.

    Args:
        a: Atomic numbers.
        b: Atomic numbers.
    """
    return np.minimum(a, b).astype(np.int64) * Z + np.maximum(a, b)


def name_of(view: str, code: int) -> str:
    """Name a kind: ``Li-Li``, or ``O-Si-O`` with the centre in the middle, or ``Cu``, or ``Cu to O``.

    Args:
        view: One of ``VIEWS``.
        code: Code of an event.
    """
    from ase.data import chemical_symbols as symbols

    first, last = symbols[code // Z % Z], symbols[code % Z]
    names = {"pairs": f"{first}-{last}", "angles": f"{first}-{symbols[code // Z**2]}-{last}"}
    return {**names, "orders": f"{first} to {last}"}.get(view, last)


def environments_of(structure: Structure, cutoff: float) -> Environments:
    """Find the environments of all atoms of a structure.

    Args:
        structure: The structure.
        cutoff: Radius of the neighbourhood, A.

    Raises:
        GraphError: For an invalid structure: atoms in one place, a singular cell, no atoms.
    """
    numbers = np.asarray(structure.numbers)
    finite = np.isfinite(structure.positions).all() and np.isfinite(structure.cell).all()
    if not numbers.size or not finite:
        raise GraphError(f"{structure.name}: no atoms, or coordinates that are not finite")
    cell = np.array(structure.cell, float)
    periodic = cell[structure.pbc]
    if len(periodic) and np.linalg.svd(periodic, compute_uv=False).min() < 1e-6:
        raise GraphError(f"{structure.name}: the periodic lattice vectors are linearly dependent")
    try:
        senders, receivers, shifts = neighbor_list(structure.positions, cell, structure.pbc, cutoff)
    except GraphError as error:
        raise GraphError(f"{structure.name}: {error}") from None
    vectors = structure.positions[senders] - structure.positions[receivers] + shifts @ cell
    lengths = np.linalg.norm(vectors, axis=1)
    sums = _radii()[numbers[senders]] + _radii()[numbers[receivers]]
    bonded = lengths < BOND * sums
    pairs = Events(
        receivers,
        pair_code(numbers[receivers], numbers[senders]),
        np.minimum(lengths / BIN_WIDTH, n_bins("pairs", cutoff) - 1).astype(int),
        lengths,
        (1 - np.minimum(lengths / cutoff, 1)) ** 2,
    )
    n_bonded = np.bincount(receivers[bonded], minlength=len(numbers))
    n_near = np.bincount(receivers, minlength=len(numbers))
    atoms, species, alike = np.arange(len(numbers)), numbers.astype(np.int64), np.ones(len(numbers))
    firmness = np.clip((BOND - lengths / sums) / FADING, 0, 1)[bonded]
    limited = np.minimum(n_bonded, COORDINATION_BINS - 1)
    return Environments(
        numbers,
        pairs,
        _angles(
            numbers, senders[bonded], receivers[bonded], vectors[bonded] / lengths[bonded, None], firmness
        ),
        Events(atoms, species, limited, n_bonded.astype(float), alike),
        Events(atoms, species, _classes(n_near), n_near.astype(float), alike),
        _orders(numbers, senders, receivers, np.exp((sums - lengths) / ORDER_LENGTH)),
    )


def _orders(
    numbers: Int[np.ndarray, " n"],
    senders: Int[np.ndarray, " e"],
    receivers: Int[np.ndarray, " e"],
    orders: Float[np.ndarray, " e"],
) -> Events:
    """Sum bond orders over the neighbours of each species."""
    keys, place = np.unique(receivers.astype(np.int64) * Z + numbers[senders], return_inverse=True)
    sums, atoms = np.bincount(place, orders, len(keys)), keys // Z
    return Events(atoms, numbers[atoms] * Z + keys % Z, _classes(ORDER_SCALE * sums), sums, sums / (1 + sums))


def _classes(numbers: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    return np.minimum(np.log1p(numbers) / np.log(CROWD_RATIO), CROWD_BINS - 1).astype(int)


def _angles(
    numbers: Int[np.ndarray, " n"],
    senders: Int[np.ndarray, " e"],
    receivers: Int[np.ndarray, " e"],
    unit: Float[np.ndarray, "e 3"],
    firmness: Float[np.ndarray, " e"],
) -> Events:
    """List the angles between any two bonds of an atom; bonds are sorted by receiver."""
    ends = np.searchsorted(receivers, receivers, side="right")
    following = ends - np.arange(len(receivers)) - 1
    first = np.repeat(np.arange(len(receivers)), following)
    second = first + 1 + np.arange(len(first)) - np.repeat(np.cumsum(following) - following, following)
    cosine = np.einsum("ij,ij->i", unit[first], unit[second])
    degrees = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    centres = receivers[first]
    code = numbers[centres] * Z**2 + pair_code(numbers[senders[first]], numbers[senders[second]])
    bins = np.minimum(degrees * ANGLE_BINS / 180, ANGLE_BINS - 1).astype(int)
    return Events(centres, code, bins, degrees, np.minimum(firmness[first], firmness[second]))


@cache
def _radii() -> Float[np.ndarray, " z"]:
    from ase.data import covalent_radii

    return np.where(np.isfinite(covalent_radii), covalent_radii, 1.5)
