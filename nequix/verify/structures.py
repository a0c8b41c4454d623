"""The structures that are compared, made by code: small, without symmetry, of every kind of cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nequix.core.parameters import initialise
from nequix.core.spec import ModelSpec
from nequix.graphs.graph import Graph, batch, build_graph
from nequix.io.weights import Provenance, Weights

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


class Structure(NamedTuple):
    """One structure.

    Attributes:
        name: What it is.
        numbers: Atomic numbers.
        positions: A.
        cell: Rows are lattice vectors, A; zero where there is none.
        pbc: Which of them are periodic.
    """

    name: str
    numbers: Int[np.ndarray, " n"]
    positions: Float[np.ndarray, "n 3"]
    cell: Float[np.ndarray, "3 3"]
    pbc: Bool[np.ndarray, " 3"]


def structures(spec: ModelSpec) -> list[Structure]:
    """Make the structures; elements that the model does not know are replaced by ones that it does.

    Args:
        spec: The model's specification.
    """
    known = spec.atomic_numbers
    rng = np.random.default_rng(20)
    made = []
    for name, numbers, positions, cell, pbc in _ideal():
        positions = np.array(positions, float)
        if len(positions) > 1:
            # Off the symmetric sites, where forces vanish and hide errors.
            positions += rng.normal(0, 0.1, positions.shape)
        replaced = [number if number in known else known[number % len(known)] for number in numbers]
        cell = np.zeros((3, 3)) if cell is None else np.array(cell, float)
        made.append(Structure(name, np.array(replaced), positions, cell, np.array(pbc)))
    return made


def _ideal() -> list[tuple]:
    """List name, atomic numbers, positions (A), cell (A) and periodicity, before rattling."""
    # The determinant is negative.
    skewed = np.array([[4.2, 0.3, -0.2], [9.1, 4.5, 0.4], [-3.8, 4.9, -4.4]])
    sites = [[0.1, 0.1, 0.1], [0.5, 0.3, 0.4], [0.3, 0.8, 0.6], [0.8, 0.6, 0.2]]
    one = [[2.7, 0.1, 0], [0.9, 2.6, 0.2], [0.8, 0.9, 2.5]]
    layers = [[0, 0, 8], [1.4, 1.4, 6], [0, 0, 4], [1.4, 1.4, 9.2]]
    plane = [[2.9, 0, 0], [0.2, 2.8, 0], [0, 0, 14]]
    zigzag = [[0, 0, 0], [1.7, 1.4, 0.9], [3.4, 0, 1.8]]
    line = [[5.1, 0.3, 0.2], [0, 0, 0], [0, 0, 0]]
    carbon_oxygen, methyl = [[-0.05, 0.66, 0], [-0.05, -0.76, 0]], [[-1.09, 0.98, 0], [0.44, 1.07, 0.89]]
    methanol = [*carbon_oxygen, *methyl, [0.44, 1.07, -0.89], [0.87, -1.06, 0]]
    return [
        ("rock salt MgO", [12, 8, 12, 8], *_rock_salt(4.21), (True, True, True)),
        ("perovskite SrTiO3", [38, 22, 8, 8, 8], *_perovskite(3.95), (True, True, True)),
        ("disordered alloy", [24, 25, 26, 27, 28, 26, 24, 29], *_cubic_sites(3.6), (True, True, True)),
        ("skewed left-handed cell", [14, 8, 8, 11], np.array(sites) @ skewed, skewed, (True, True, True)),
        ("one-atom cell", [74], [[0.3, -0.2, 0.1]], one, (True, True, True)),
        ("slab", [13, 13, 79, 1], layers, plane, (True, True, False)),
        ("wire", [34, 52, 34], zigzag, line, (True, False, False)),
        ("molecule", [6, 8, 1, 1, 1, 1], methanol, None, (False, False, False)),
        ("isolated atom", [54], [[1, 2, 3]], None, (False, False, False)),
    ]


def _rock_salt(a: float) -> tuple[np.ndarray, np.ndarray]:
    cell = np.diag([2, 1, 1]) @ np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * a / 2
    # One atom lies some cells away, as after long dynamics without wrapping.
    return np.array([[3, -2, 1], [0.25, 0.5, 0.5], [0.5, 0, 0], [0.75, 0.5, 0.5]]) @ cell, cell


def _perovskite(a: float) -> tuple[np.ndarray, np.ndarray]:
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    return np.array(sites) * a, np.eye(3) * a


def _cubic_sites(a: float) -> tuple[np.ndarray, np.ndarray]:
    sites = [[x, y, z] for x in (0, 0.5) for y in (0, 0.5) for z in (0, 0.5)]
    cell = np.diag([1.6 * a, a, a])
    return np.array(sites) @ cell, cell


def join(members: list[Structure], spec: ModelSpec) -> Graph:
    """Put structures side by side in one graph, which an engine compiles once.

    Args:
        members: The structures.
        spec: The model's specification.
    """
    return batch([build_graph(*member[1:], spec) for member in members])


def random_model() -> Weights:
    """Draw a model of the published shape, for where the published weights are out of reach."""
    elements = (*range(1, 84), *range(89, 95))
    spec = ModelSpec(atomic_numbers=elements, avg_n_neighbors=50.0, scale=50.0, shift=0.0)
    energies = dict(zip(elements, np.linspace(-8, -1, len(elements)).tolist(), strict=True))
    return Weights(spec, initialise(spec, seed=1, atom_energies=energies), Provenance("random"))
