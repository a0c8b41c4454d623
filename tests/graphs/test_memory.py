import numpy as np
import pytest

from nequix.core.errors import GraphError
from nequix.core.spec import ModelSpec
from nequix.graphs import memory
from nequix.graphs.graph import batch, build_graph
from nequix.graphs.neighbors import neighbor_list

NONE, ALL = np.zeros(3, bool), np.ones(3, bool)


def crystal(n, spacing=2.0):
    """A cubic lattice of n^3 atoms; atoms have 32 neighbours within 2 spacings."""
    return spacing * np.stack(np.meshgrid(*3 * [np.arange(n)], indexing="ij"), -1).reshape(-1, 3).astype(
        float
    )


def test_the_memory_of_this_machine_is_known():
    assert 1e6 < memory.max_edges() <= memory.MAX_EDGES


@pytest.mark.parametrize(
    ("positions", "cell", "pbc"),
    [
        (crystal(12), 24.0 * np.eye(3), ALL),
        (crystal(12), np.zeros((3, 3)), NONE),
        (np.concatenate([crystal(10), crystal(10) + 1e5]), np.zeros((3, 3)), NONE),  # clusters far apart
    ],
)
def test_a_graph_beyond_the_memory_is_refused_before_it_is_searched(positions, cell, pbc, monkeypatch):
    n_edges = len(neighbor_list(positions, cell, pbc, 4.5)[0])
    monkeypatch.setattr(memory, "max_edges", lambda: 2.0 * n_edges)
    neighbor_list(positions, cell, pbc, 4.5)  # fits
    monkeypatch.setattr(memory, "max_edges", lambda: 0.5 * n_edges)
    monkeypatch.setattr("nequix.graphs.neighbors._search", None)
    with pytest.raises(GraphError, match=r"atoms would have about .* edges within 4.5 A, which need .* GiB"):
        neighbor_list(positions, cell, pbc, 4.5)


def test_a_batch_beyond_the_memory_is_refused_before_it_is_put_together(monkeypatch):
    spec = ModelSpec(atomic_numbers=(6,), avg_n_neighbors=1.0, scale=1.0, shift=0.0, cutoff=4.5)
    graphs = [build_graph([6] * 27, crystal(3), 6.0 * np.eye(3), True, spec)] * 4
    monkeypatch.setattr(memory, "max_edges", lambda: 4.0 * graphs[0].n_edges)
    assert batch(graphs).n_edges == 4 * graphs[0].n_edges
    monkeypatch.setattr(np, "concatenate", None)
    with pytest.raises(GraphError, match=r"a batch of 5 structures would have .* edges, which need .* GiB"):
        batch([*graphs, graphs[0]])


def test_a_cutoff_of_300_angstrom_is_refused_for_a_crystal_and_fits_for_two_atoms():
    with pytest.raises(GraphError, match="edges within 300 A"):
        neighbor_list(crystal(20), 40.0 * np.eye(3), ALL, 300.0)
    assert len(neighbor_list(np.array([[0.0, 0, 0], [0, 0, 1]]), np.zeros((3, 3)), NONE, 300.0)[0]) == 2
