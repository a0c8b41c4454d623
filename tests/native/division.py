"""Structures divided at random among parts, and the exchange between them as a host does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nequix.graphs.graph import Graph
from nequix.native.model import NativeModel
from nequix.native.parts import Part


@dataclass
class Share:
    """What one part has of a graph.

    Attributes:
        atoms: Atom of each node: receivers first.
        n_receivers: Number of those.
        first: First edge of each receiver, and the number of edges.
        edges: Edge of the graph of each edge.
        senders: Node of each edge.
    """

    atoms: np.ndarray
    n_receivers: int
    first: np.ndarray
    edges: np.ndarray
    senders: np.ndarray

    @property
    def receivers(self) -> np.ndarray:
        return np.arange(self.n_receivers, dtype=np.int32)

    @property
    def ghosts(self) -> range:
        return range(self.n_receivers, len(self.atoms))

    def begin(self, part: Part, graph: Graph, **options) -> None:
        species = graph.species[self.atoms]
        part.begin(self.first, graph.vectors[self.edges], self.senders, species, **options)


def divide(graph: Graph, n_parts: int, rng: np.random.Generator) -> list[Share]:
    """Deal atoms to parts; some get none. An edge comes from the receiver itself or from any copy of it."""
    owners = rng.integers(rng.integers(1, n_parts + 1), size=graph.n_nodes)
    return [_share(graph, rng.permutation(np.flatnonzero(owners == part)), rng) for part in range(n_parts)]


def _share(graph: Graph, receivers: np.ndarray, rng: np.random.Generator) -> Share:
    by_receiver = [np.flatnonzero(graph.receivers == atom) for atom in receivers]
    edges = np.concatenate([*by_receiver, np.zeros(0, np.int64)]).astype(np.int64)
    senders = graph.senders[edges]
    # Copies of all senders that are not here, second copies of some, copies of receivers and of atoms that
    # nobody hears.
    more = [rng.choice(some, rng.integers(len(some) + 1)) for some in (senders, np.arange(graph.n_nodes))]
    ghosts = np.concatenate([np.setdiff1d(senders, receivers), *more])
    atoms = np.concatenate([receivers, rng.permutation(ghosts)]).astype(np.int64)
    nodes = [rng.choice(np.flatnonzero(atoms == sender)) for sender in senders]
    first = np.cumsum([0, *map(len, by_receiver)])
    return Share(atoms, len(receivers), first, edges, np.array(nodes, np.int32))


def exchange(parts: Sequence[Part], shares: Sequence[Share], t: int, derivatives: bool, n_atoms: int) -> None:
    """Bring features to ghosts, or derivatives to receivers."""
    pairs = list(zip(parts, shares, strict=True))
    table = np.zeros((n_atoms, parts[0].width(t)))
    for part, share in pairs:
        if derivatives:
            np.add.at(table, share.atoms[share.ghosts], part.read(t, share.ghosts, derivatives=True))
        else:
            table[share.atoms[share.receivers]] = part.read(t, share.receivers)
    for part, share in pairs:
        nodes = share.receivers if derivatives else share.ghosts
        part.write(t, nodes, table[share.atoms[nodes]], derivatives=derivatives)


def evaluate_divided(
    parts: Sequence[Part], shares: Sequence[Share], graph: Graph, *, gradient: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Take parts through a step together; return energies and gradient of the undivided graph."""
    pairs, n_layers = list(zip(parts, shares, strict=True)), parts[0].n_layers
    for part, share in pairs:
        share.begin(part, graph, gradient=gradient)
    for t in range(n_layers):
        if t:
            exchange(parts, shares, t, False, graph.n_nodes)
        for part in parts:
            part.forward(t)
    for t in reversed(range(n_layers if gradient else 0)):
        for part in parts:
            part.backward(t)
        if t:
            exchange(parts, shares, t, True, graph.n_nodes)
    energies, slopes = np.full(graph.n_nodes, np.nan), np.full((graph.n_edges, 3), np.nan)
    for part, share in pairs:
        energies[share.atoms[share.receivers]] = part.energies
        if gradient:
            slopes[share.edges] = part.gradient
    return energies, slopes


def make_parts(model: NativeModel, n_parts: int, rng: np.random.Generator) -> list[Part]:
    """Make parts of one to three threads."""
    return [Part(model, int(rng.integers(1, 4))) for _ in range(n_parts)]
