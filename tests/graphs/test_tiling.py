"""Layouts: every edge is there once, tiles belong to one receiver, padding is inert."""

import numpy as np
import pytest
from ase.build import bulk, molecule

from nequix.core.errors import GraphError
from nequix.core.spec import ModelSpec
from nequix.graphs.graph import batch, graph_from_atoms
from nequix.graphs.tiling import TILE, chunk_edges, round_up, tile_edges, tiles_needed

SPEC = ModelSpec(atomic_numbers=(1, 8, 29), avg_n_neighbors=30.0, scale=1.0, shift=0.0, cutoff=4.0)


def graph():
    far = molecule("OH")
    far.positions[1] += 50  # two atoms without an edge
    copper = bulk("Cu", cubic=True)
    copper.rattle(0.1, seed=0)
    return batch([graph_from_atoms(atoms, SPEC) for atoms in (copper, far, molecule("H2O"), bulk("Cu"))])


@pytest.mark.parametrize("more", [(0, 0, 0), (1, 0, 0), (5, 7, 2), (0, 9, 0), (0, 0, 3)])
def test_arrange_keeps_every_edge_in_tiles_of_one_receiver(more):
    edges = graph()
    sizes = (edges.n_nodes + more[0], tiles_needed(edges) + more[1], edges.n_graphs + more[2] + (more[0] > 0))
    layout = tile_edges(edges, *sizes)
    assert (len(layout.species), len(layout.senders) // TILE, layout.n_graphs) == sizes
    np.testing.assert_array_equal(layout.vectors[layout.slots], edges.vectors)
    np.testing.assert_array_equal(layout.senders[layout.slots], edges.senders)
    np.testing.assert_array_equal(layout.receivers[layout.slots], edges.receivers)
    tiles = layout.receivers.reshape(-1, TILE)
    assert (tiles == tiles[:, :1]).all()
    assert (np.diff(layout.receivers) >= 0).all()
    np.testing.assert_array_equal(layout.species[: edges.n_nodes], edges.species)
    np.testing.assert_array_equal(layout.node_graph[: edges.n_nodes], edges.node_graph)
    assert (layout.node_graph[edges.n_nodes :] == edges.n_graphs).all()


def test_arrange_fills_the_other_slots_with_null_edges():
    edges = graph()
    layout = tile_edges(edges, edges.n_nodes + 3, tiles_needed(edges) + 4)
    null = np.ones(len(layout.senders), bool)
    null[layout.slots] = False
    assert null.sum() == len(layout.senders) - edges.n_edges
    np.testing.assert_array_equal(layout.senders[null], layout.receivers[null])
    assert (np.linalg.norm(layout.vectors[null], axis=1) > SPEC.cutoff).all()


@pytest.mark.parametrize("less", [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_arrange_refuses_too_little_and_names_the_least(less):
    edges = graph()
    least = (edges.n_nodes, tiles_needed(edges), edges.n_graphs)
    with pytest.raises(GraphError, match=f"at least {least[0]}, {least[1]}, {least[2]}"):
        tile_edges(edges, *(size - n for size, n in zip(least, less, strict=True)))


def test_arrange_asks_for_a_structure_that_holds_padding_atoms():
    edges = graph()
    with pytest.raises(GraphError, match=f"{edges.n_graphs + 1}$"):
        tile_edges(edges, edges.n_nodes + 1, None, edges.n_graphs)


@pytest.mark.parametrize("n_tiles", [1, 2, 5, 1000])
@pytest.mark.parametrize("more", [(0, 0), (6, 5)])
def test_chunks_cover_edges_and_atoms_once_and_never_share_a_receiver(n_tiles, more):
    edges = graph()
    layout = tile_edges(edges, edges.n_nodes + more[0], tiles_needed(edges) + more[1])
    n_nodes = len(layout.species)
    chunks = chunk_edges(layout.receivers, n_nodes, n_tiles)
    assert np.concatenate([np.arange(n_nodes)[nodes] for _, nodes in chunks]).tolist() == list(range(n_nodes))
    slots = np.concatenate([np.arange(len(layout.senders))[slots] for slots, _ in chunks])
    assert slots.tolist() == list(range(len(layout.senders)))
    for part, nodes in chunks:
        receivers = layout.receivers[part]
        assert ((nodes.start <= receivers) & (receivers < nodes.stop)).all()
        assert len(set(receivers)) <= 1 or len(receivers) <= n_tiles * TILE


def test_chunks_of_a_structure_without_edges_still_cover_its_atoms():
    assert chunk_edges(np.zeros(0, np.int32), 3, 4) == [(slice(0, 0), slice(0, 3))]


@pytest.mark.parametrize("granularity", [1, 4, 64])
def test_rounding_up_wastes_little_and_gives_few_sizes(granularity):
    sizes = range(1, 5000)
    rounded = [round_up(n, granularity) for n in sizes]
    assert all(n <= r and r % granularity == 0 for n, r in zip(sizes, rounded, strict=True))
    assert all(r <= max(1.125 * n + granularity, granularity) for n, r in zip(sizes, rounded, strict=True))
    assert rounded == sorted(rounded)
    assert len(set(rounded)) < 90
