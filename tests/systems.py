"""Random models and structures: small, but with every feature that a specification or a cell can have."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from nequix.core import irreps
from nequix.core.parameters import initialise
from nequix.core.spec import ModelSpec
from nequix.graphs.graph import Graph, batch, build_graph
from nequix.graphs.tiling import tiles_needed
from nequix.io.weights import Provenance, Weights

MIN_DISTANCE = 0.7
"""A; closer than any bond."""

STRENGTH = 5.0
"""Factor of the first radial matrix; for most pairs its input is this factor below one."""

MAX_EDGES = 120
"""Edges of one random structure: cells grow until they have no more, which keeps tests short."""


def random_weights(spec: ModelSpec, seed: int) -> Weights:
    """Draw a model without a zero or a one among its parameters, exact in float32.

    The radial functions are made strong: of a fresh model they are so weak that messages, and the paths
    between higher degrees most of all, would hardly matter to the energy.
    """
    rng = np.random.default_rng(seed)
    parameters = initialise(spec, seed)
    for name, values in parameters.items():
        if ".norm." in name or name == "atom_energies":
            parameters[name] = rng.uniform(0.5, 1.5, values.shape)
        elif name.endswith(".radial.0"):
            parameters[name] = STRENGTH * values
        elif name.endswith(f".radial.{spec.radial_mlp_layers}"):
            parameters[name] = math.sqrt(spec.avg_n_neighbors) * values
    exact = {name: values.astype(np.float32).astype(np.float64) for name, values in parameters.items()}
    return Weights(spec, exact, Provenance(name="random"))


DEGREES = [(1, 3), (2, 4), (1, 2), (3, 4), (1, 4), (2, 3), (1,), (2,), (3,), (4,), ()]
"""Degrees above 0; two at most, for compiling takes as long as there are paths, and pairs give all kinds."""


def specifications(n_layers: int) -> st.SearchStrategy[ModelSpec]:
    """Draw specifications: degrees with gaps and up to 4, every option on and off.

    What is drawn first and most often stands first: rich models rather than trivial ones.
    """

    def build(scalars, channels, atomic_numbers, layer_norm, **fields):
        # The norm of a lone channel is its sign: its derivatives vanish, as differences of huge numbers.
        return ModelSpec(
            hidden_irreps=irreps.format({0: max(scalars, 2) if layer_norm else scalars, **channels}),
            atomic_numbers=tuple(sorted(atomic_numbers)),
            n_layers=n_layers,
            layer_norm=layer_norm,
            **fields,
        )

    return st.builds(
        build,
        scalars=st.sampled_from([3, 4, 2, 1]),
        channels=st.sampled_from(DEGREES).flatmap(
            lambda degrees: st.fixed_dictionaries({l: st.sampled_from([2, 3, 1]) for l in degrees})
        ),
        atomic_numbers=st.sets(st.integers(1, 94), min_size=1, max_size=4),
        avg_n_neighbors=st.floats(1.0, 60.0),
        scale=st.floats(0.1, 3.0) | st.floats(-3.0, -0.1),
        shift=st.floats(-5.0, 5.0),
        cutoff=st.floats(3.0, 4.5),
        lmax=st.sampled_from([3, 4, 2, 1, 0, 6]),
        radial_basis_size=st.sampled_from([3, 5, 2, 4, 1]),
        radial_mlp_size=st.sampled_from([5, 4, 2, 6, 1]),
        radial_mlp_layers=st.sampled_from([2, 1, 3]),
        radial_polynomial_p=st.sampled_from([6.0, 2.0, 3.0, 2.5]),
        layer_norm=st.sampled_from([True, False]),
    )


CELLS = ("plain", "skewed", "left-handed", "tiny")
PERIODICITIES = [tuple(bool(bits & bit) for bit in (1, 2, 4)) for bits in reversed(range(8))]


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
    fractional = rng.uniform(0, 1, (n_atoms, 3)) + np.where(pbc, rng.integers(-2, 3, (n_atoms, 3)), 0)
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
def systems(draw, spec: ModelSpec) -> Graph:
    """Draw a batch of structures of any periodicity and any kind of cell."""
    graphs = [
        structure(
            spec,
            seed=draw(st.integers(0, 2**32 - 1)),
            n_atoms=draw(st.sampled_from([3, 2, 4, 1])),
            pbc=draw(st.sampled_from(PERIODICITIES)),
            cell=draw(st.sampled_from(CELLS)),
        )
        for _ in range(draw(st.sampled_from([2, 3, 1])))
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
