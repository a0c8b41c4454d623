"""Evaluation of many structures in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from nequix.core.errors import GraphError
from nequix.graphs.graph import Graph, batch, graph_from_atoms
from nequix.graphs.results import Results

if TYPE_CHECKING:
    from ase import Atoms

    from nequix.potential import Potential

MAX_ATOMS = 512
"""Maximum number of atoms per batch; more would cost memory without being faster on a CPU."""

MAX_EDGES = 1 << 20
"""Maximum number of edges per batch; 512 atoms of a dense crystal have a fifth of this within 6 A."""


def in_batches(graphs: Iterable[Graph], max_atoms: int = MAX_ATOMS) -> Iterator[list[Graph]]:
    """Divide graphs, in order, into batches of at most :data:`MAX_EDGES` edges.

    Args:
        graphs: The structures.
        max_atoms: Maximum number of atoms per batch. A single structure may have more atoms and edges.
    """
    some: list[Graph] = []
    n_atoms = n_edges = 0
    for graph in graphs:
        n_atoms, n_edges = n_atoms + graph.n_nodes, n_edges + graph.n_edges
        if some and (n_atoms > max_atoms or n_edges > MAX_EDGES):
            yield some
            some, n_atoms, n_edges = [], graph.n_nodes, graph.n_edges
        some.append(graph)
    if some:
        yield some


def evaluate_graphs(
    potential: Potential, graphs: Iterable[Graph], max_atoms: int = MAX_ATOMS
) -> Iterator[Results]:
    """Evaluate graphs in batches; the results come in their order, one for each.

    Args:
        potential: The model.
        graphs: The structures.
        max_atoms: Maximum number of atoms per batch, unless a single structure has more.
    """
    for some in in_batches(graphs, max_atoms):
        yield from _evaluate(potential, some)


def evaluate_atoms(
    potential: Potential, frames: Iterable[Atoms], max_atoms: int = MAX_ATOMS
) -> list[Results]:
    """Evaluate structures of ASE in batches.

    Args:
        potential: The model.
        frames: The structures.
        max_atoms: Maximum number of atoms per batch, unless a single structure has more.

    Raises:
        GraphError: For a structure that the model cannot evaluate or with predictions that are not finite.
    """
    graphs = (graph_from_atoms(atoms, potential.spec) for atoms in frames)
    evaluated = list(evaluate_graphs(potential, graphs, max_atoms))
    for number, results in enumerate(evaluated):
        if not (np.isfinite(results.energies).all() and np.isfinite(results.forces).all()):
            raise GraphError(
                f"structure {number} of {len(evaluated)} has energies or forces that are not finite; "
                "check the model's parameters"
            )
    return evaluated


def _evaluate(potential: Potential, graphs: list[Graph]) -> Iterator[Results]:
    together = potential.evaluate(batch(graphs))
    ends = np.cumsum([graph.n_nodes for graph in graphs]).tolist()
    for number, (graph, end) in enumerate(zip(graphs, ends, strict=True)):
        atoms = slice(end - graph.n_nodes, end)
        yield Results(
            together.energy[number : number + 1],
            together.energies[atoms],
            together.forces[atoms],
            together.stress[number : number + 1],
        )
