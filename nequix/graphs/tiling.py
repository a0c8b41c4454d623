"""Graphs arranged for the engines: edges in tiles of one receiver each, sizes free to be padded.

Sums over edges are the expensive part of a model. With the edges of a receiver in whole tiles, the sum over a
tile is the inner dimension of a matrix product, and only one row per tile is scattered to nodes. Unused slots
contain null edges: from an atom to itself, twice the cutoff long, so that their envelope and all its
derivatives are exactly zero. Padding atoms form separate structures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nequix.core.errors import GraphError
from nequix.graphs.graph import Graph

if TYPE_CHECKING:
    from jaxtyping import Float, Int32

TILE = 16
"""Edges per tile; 16 wastes few slots and was as fast as 32 and as whole neighbourhoods."""

CHUNK_TILES = 64
"""Number of tiles with messages in memory at a time: 1024 edges fit in the cache."""


@dataclass(frozen=True, eq=False)
class TiledGraph:
    """The engine's input for one or several structures.

    Attributes:
        vectors: ``r_e = x_j - x_i + S_e @ cell``, A.
        senders: Atom ``j`` of each edge.
        receivers: Atom ``i`` of each edge, ascending, one per tile.
        species: Index into the model's ``atomic_numbers``.
        node_graph: Structure of each atom, ascending.
        n_graphs: Number of structures, padding included.
        slots: Positions of the graph's own edges in ``vectors``.
    """

    vectors: Float[np.ndarray, "n_slots 3"]
    senders: Int32[np.ndarray, " n_slots"]
    receivers: Int32[np.ndarray, " n_slots"]
    species: Int32[np.ndarray, " n_nodes"]
    node_graph: Int32[np.ndarray, " n_nodes"]
    n_graphs: int
    slots: Int32[np.ndarray, " n_edges"]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what an engine places on its device, by name: every array but ``slots``."""
        names = ("vectors", "senders", "receivers", "species", "node_graph")
        return {name: getattr(self, name) for name in names}


def tiles_needed(graph: Graph) -> int:
    """Count the tiles that a graph fills.

    Args:
        graph: One structure or a batch.
    """
    counts = np.bincount(graph.receivers, minlength=graph.n_nodes)
    return int(np.sum(-(-counts // TILE)))


def tile_edges(
    graph: Graph, n_nodes: int | None = None, n_tiles: int | None = None, n_graphs: int | None = None
) -> TiledGraph:
    """Arrange a graph for the engines, padded to given sizes; padding contributes nothing.

    Args:
        graph: One structure or a batch.
        n_nodes: Atoms afterwards; by default the graph's own.
        n_tiles: Tiles afterwards; by default those needed.
        n_graphs: Structures afterwards; at least one more if there are padding atoms.

    Raises:
        GraphError: If a size is too small, naming the smallest possible ones.
    """
    counts = np.bincount(graph.receivers, minlength=graph.n_nodes)
    tiles = -(-counts // TILE)
    n_nodes = graph.n_nodes if n_nodes is None else n_nodes
    n_tiles = int(tiles.sum()) if n_tiles is None else n_tiles
    least_graphs = graph.n_graphs + (n_nodes > graph.n_nodes)
    n_graphs = least_graphs if n_graphs is None else n_graphs
    if n_nodes < graph.n_nodes or n_tiles < tiles.sum() or n_graphs < least_graphs:
        raise GraphError(
            f"cannot tile_edges in {n_nodes} nodes, {n_tiles} tiles, {n_graphs} graphs: this graph needs at "
            f"least {graph.n_nodes}, {tiles.sum()}, {least_graphs}"
        )
    more_tiles = n_tiles - int(tiles.sum())
    owners = np.append(np.arange(graph.n_nodes), n_nodes - 1)
    receivers = np.repeat(owners, np.append(tiles, more_tiles) * TILE).astype(np.int32)
    first_slot = (np.cumsum(tiles) - tiles) * TILE
    first_edge = np.cumsum(counts) - counts
    slots = np.arange(graph.n_edges) + (first_slot - first_edge)[graph.receivers]
    senders = receivers.copy()
    senders[slots] = graph.senders
    vectors = np.tile([2.0 * graph.cutoff, 0.0, 0.0], (len(receivers), 1))
    vectors[slots] = graph.vectors
    more_nodes = n_nodes - graph.n_nodes
    species = np.append(graph.species, np.zeros(more_nodes, np.int32))
    node_graph = np.append(graph.node_graph, np.full(more_nodes, graph.n_graphs, np.int32))
    return TiledGraph(vectors, senders, receivers, species, node_graph, n_graphs, slots.astype(np.int32))


def chunk_edges(
    receivers: Int32[np.ndarray, " n_slots"], n_nodes: int, n_tiles: int
) -> list[tuple[slice, slice]]:
    """Cut edges into chunks of about ``n_tiles`` tiles; each atom receives from only one chunk.

    Args:
        receivers: As in :class:`TiledGraph`.
        n_nodes: Number of atoms.
        n_tiles: Tiles per chunk; an atom with more tiles makes a larger chunk.

    Returns:
        Slices of edges and of atoms; the atoms' cover all atoms, in order, without overlap.
    """
    owners = receivers[::TILE]
    chunks = []
    tile = node = 0
    while node < n_nodes:
        after = tile + n_tiles
        last = n_nodes if after >= len(owners) else max(int(owners[after]), node + 1)
        end = int(np.searchsorted(owners, last))
        chunks.append((slice(tile * TILE, end * TILE), slice(node, last)))
        tile, node = end, last
    return chunks


def round_up(n: int, granularity: int) -> int:
    """Round a size up to the next of a geometric series, at most an eighth larger.

    Engines that compile for every shape use it, so that few shapes occur.

    Args:
        n: The size needed.
        granularity: The result is a multiple of this.
    """
    step = max(granularity, 2 ** max(0, math.floor(math.log2(max(n, 1))) - 3))
    step = -(-step // granularity) * granularity
    return -(-max(n, 1) // step) * step
