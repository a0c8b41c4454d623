"""Random models and structures: small, but with every feature that a specification or a cell can have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from nequix.core import irreps
from nequix.core.graph import Graph, batch, build_graph
from nequix.core.layout import tiles_needed
from nequix.core.parameters import initialise
from nequix.core.spec import ModelSpec
from nequix.core.weights import Provenance, Weights

MIN_DISTANCE = 0.7
"""A; closer than any bond."""

MAX_EDGES = 120
"""Edges of one random structure: cells grow until they have no more, which keeps tests short."""


def random_weights(spec: ModelSpec, seed: int) -> Weights:
    """Draw a model without a zero or a one among its parameters, exact in float32."""
    rng = np.random.default_rng(seed)
    parameters = initialise(spec, seed)
    for name, values in parameters.items():
        if ".norm." in name or name == "atom_energies":
            parameters[name] = rng.uniform(0.5, 1.5, values.shape)
    exact = {name: values.astype(np.float32).astype(np.float64) for name, values in parameters.items()}
    return Weights(spec, exact, Provenance(name="random"))


def specifications(n_layers: int) -> st.SearchStrategy[ModelSpec]:
    """Draw specifications: degrees with gaps and up to 4, every option on and off."""

    def build(degrees, atomic_numbers, **fields):
        channels = {0: degrees.pop(0), **{l: mul for l, mul in enumerate(degrees, 1) if mul}}
        return ModelSpec(
            hidden_irreps=irreps.format(channels),
            atomic_numbers=tuple(sorted(atomic_numbers)),
            n_layers=n_layers,
            **fields,
        )

    channels = st.integers(0, 3)
    return st.builds(
        build,
        degrees=st.tuples(st.integers(1, 4), channels, channels, channels, channels).map(list),
        atomic_numbers=st.sets(st.integers(1, 94), min_size=1, max_size=4),
        avg_n_neighbors=st.floats(0.5, 60.0),
        scale=st.floats(0.1, 3.0) | st.floats(-3.0, -0.1),
        shift=st.floats(-5.0, 5.0),
        cutoff=st.floats(2.0, 4.5),
        lmax=st.integers(0, 4),
        radial_basis_size=st.integers(1, 5),
        radial_mlp_size=st.integers(1, 6),
        radial_mlp_layers=st.integers(1, 3),
        radial_polynomial_p=st.sampled_from([2.0, 2.5, 3.0, 6.0]),
        layer_norm=st.booleans(),
    )


CELLS = ("plain", "skewed", "left-handed", "tiny")
PERIODICITIES = [tuple(bool(bits & bit) for bit in (1, 2, 4)) for bits in range(8)]


def structure(
    spec: ModelSpec, seed: int, n_atoms: int = 3, pbc: tuple[bool, ...] = (True,) * 3, cell: str = "plain"
) -> Graph:
    """Draw one structure without any symmetry; lattice vectors vanish where it is not periodic."""
    numbers, positions, vectors = atoms(spec, seed, n_atoms, pbc, cell)
    return build_graph(numbers, positions, vectors, pbc, spec)


def atoms(
    spec: ModelSpec, seed: int, n_atoms: int = 3, pbc: tuple[bool, ...] = (True,) * 3, cell: str = "plain"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw atomic numbers, positions and cell of :func:`structure`."""
    rng = np.random.default_rng(seed)
    numbers = rng.choice(spec.atomic_numbers, n_atoms)
    vectors = 2.2 * n_atoms ** (1 / 3) * (np.eye(3) + rng.uniform(-0.2, 0.2, (3, 3)))
    if cell == "tiny":
        vectors *= 0.6
    elif cell == "skewed":
        vectors[1] += 2 * vectors[0]
        vectors[2] += vectors[1] - 3 * vectors[0]
    elif cell == "left-handed":
        vectors = vectors[[1, 0, 2]]
    fractional = rng.uniform(-1, 1, (n_atoms, 3))
    while True:
        kept = np.where(np.array(pbc)[:, None], vectors, 0.0)
        positions = fractional @ vectors
        graph = build_graph(numbers, positions, kept, pbc, spec)
        shortest = np.linalg.norm(graph.vectors, axis=1).min(initial=np.inf)
        if shortest > MIN_DISTANCE and graph.n_edges <= MAX_EDGES:
            return numbers, positions, kept
        vectors *= 1.1
        fractional = fractional + rng.uniform(-0.05, 0.05, fractional.shape)


@st.composite
def systems(draw, spec: ModelSpec, max_structures: int = 3) -> Graph:
    """Draw a batch of structures of any periodicity and any kind of cell."""
    graphs = [
        structure(
            spec,
            seed=draw(st.integers(0, 2**32 - 1)),
            n_atoms=draw(st.integers(1, 4)),
            pbc=draw(st.sampled_from(PERIODICITIES)),
            cell=draw(st.sampled_from(CELLS)),
        )
        for _ in range(draw(st.integers(1, max_structures)))
    ]
    return batch(graphs)


@dataclass(frozen=True)
class Case:
    """A model with several graphs, and one padded size that holds each of them.

    Attributes:
        spec: The model's specification.
        seed: Of its parameters and of the probes.
        graphs: What it is to evaluate.
        sizes: Atoms, tiles and structures after padding.
        chunk_tiles: Tiles of a chunk of the sum over edges.
    """

    spec: ModelSpec
    seed: int
    graphs: list[Graph]
    sizes: tuple[int, int, int]
    chunk_tiles: int

    def __repr__(self) -> str:
        counts = [(graph.n_nodes, graph.n_edges, graph.n_graphs) for graph in self.graphs]
        return f"Case({self.spec}, seed={self.seed}, graphs={counts}, {self.sizes}, {self.chunk_tiles})"


@st.composite
def cases(draw, n_layers: int, n_graphs: int) -> Case:
    """Draw a model and graphs, with padding and with sums over edges in one chunk or several."""
    spec = draw(specifications(n_layers))
    graphs = [draw(systems(spec)) for _ in range(n_graphs)]
    return arranged(spec, draw(st.integers(0, 2**32 - 1)), graphs, draw(st.sampled_from([2, 64])))


def arranged(spec: ModelSpec, seed: int, graphs: list[Graph], chunk_tiles: int) -> Case:
    """Make a case of graphs, padded by two atoms, two structures and up to whole chunks at least."""
    n_tiles = max(map(tiles_needed, graphs)) + 1
    sizes = (
        max(graph.n_nodes for graph in graphs) + 2,
        n_tiles + (-n_tiles) % min(chunk_tiles, 2),
        max(graph.n_graphs for graph in graphs) + 2,
    )
    return Case(spec, seed, graphs, sizes, chunk_tiles)
