"""Two small models and a few structures without symmetry, for tests of exact properties."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

import nequix.jax
import nequix.torch
from nequix.core.spec import ModelSpec
from nequix.graphs.graph import Graph, build_graph
from nequix.graphs.results import Results
from tests.systems import atoms, random_weights

ENGINES = {"jax": nequix.jax, "torch": nequix.torch}

_FIELDS = {
    "atomic_numbers": (1, 8, 30),
    "radial_basis_size": 4,
    "radial_mlp_size": 6,
    "avg_n_neighbors": 12.0,
}
SPECS = {
    "l = 3, norm": ModelSpec(
        hidden_irreps="4x0e + 2x1o + 2x3o",
        lmax=3,
        n_layers=3,
        cutoff=3.2,
        scale=1.7,
        shift=-0.4,
        **_FIELDS,
    ),
    "l = 4, no norm": ModelSpec(
        hidden_irreps="3x0e + 2x1o + 2x4e",
        lmax=4,
        n_layers=3,
        cutoff=3.0,
        scale=-2.3,
        shift=0.3,
        layer_norm=False,
        **_FIELDS,
    ),
}
"""Three layers, for only those between the first and the last couple all degrees."""


@cache
def potential(engine: str, model: str) -> nequix.jax.Potential | nequix.torch.Potential:
    """Put a model on an engine in float64; only once, because JAX compiles for each model."""
    weights = random_weights(SPECS[model], 7)
    return ENGINES[engine].Potential(weights, dtype="float64", kernel="plain", device="cpu")


@dataclass(frozen=True, eq=False)
class Structure:
    """Atoms in a cell: what a graph is built from."""

    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    pbc: tuple[bool, ...] = (True, True, True)

    def graph(self, spec: ModelSpec) -> Graph:
        """Build the graph."""
        return build_graph(self.numbers, self.positions, self.cell, self.pbc, spec)

    def evaluate(self, potential: nequix.jax.Potential | nequix.torch.Potential) -> Results:
        """Evaluate energies, forces and stress."""
        return potential.evaluate(self.graph(potential.spec))


PERIODICITIES = {
    "crystal": (True, True, True),
    "slab": (True, True, False),
    "molecule": (False, False, False),
}


def structure(model: str, kind: str, n_atoms: int = 4, seed: int = 3) -> Structure:
    """Draw a structure without symmetry that has many edges; other seeds follow until one has."""
    pbc = PERIODICITIES[kind]
    numbers, positions, cell = atoms(SPECS[model], seed, n_atoms, pbc)
    box = np.where(np.array(pbc)[:, None], cell, np.eye(3))
    images = np.where(pbc, np.floor(positions @ np.linalg.inv(box)), 0)
    drawn = Structure(numbers, positions - images @ cell, cell, pbc)
    enough = drawn.graph(SPECS[model]).n_edges >= 2 * n_atoms
    return drawn if enough else structure(model, kind, n_atoms, seed + 100)
