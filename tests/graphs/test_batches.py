"""Batches of an evaluation: atoms and edges at once are bounded, order and number are kept."""

import numpy as np
import pytest

from nequix.graphs import batches
from nequix.graphs.batches import in_batches
from nequix.graphs.graph import build_graph
from tests.calculator.small import SPEC


def graph(n_atoms, spacing):
    """A row of atoms; they are neighbours where the spacing is below the cutoff."""
    positions = spacing * np.arange(n_atoms)[:, None] * np.eye(3)[0]
    return build_graph([SPEC.atomic_numbers[0]] * n_atoms, positions, None, False, SPEC)


@pytest.mark.parametrize(("max_edges", "expected"), [(10**6, [4, 4, 2]), (42, [3, 3, 3, 1]), (1, [1] * 10)])
def test_batches_are_bounded_in_atoms_and_edges(max_edges, expected, monkeypatch):
    graphs = [graph(5, 0.4 * SPEC.cutoff) for _ in range(10)]  # two neighbours on either side
    assert graphs[0].n_edges == 14
    monkeypatch.setattr(batches, "MAX_EDGES", max_edges)
    divided = list(in_batches(graphs, 20))
    assert [len(some) for some in divided] == expected
    assert [one for some in divided for one in some] == graphs


def test_sparse_structures_after_a_dense_one_share_a_batch(monkeypatch):
    dense, sparse = graph(10, 0.1 * SPEC.cutoff), graph(10, 2 * SPEC.cutoff)
    assert (dense.n_edges, sparse.n_edges) == (90, 0)
    monkeypatch.setattr(batches, "MAX_EDGES", 50)
    assert [len(some) for some in in_batches([sparse, dense, sparse, sparse])] == [1, 1, 2]
