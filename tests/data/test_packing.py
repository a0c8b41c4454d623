"""Packing: every structure once an epoch, within the budget, and little padding."""

import numpy as np
import pytest

from nequix.core.errors import DataError
from nequix.data.packing import Budget, Packing, Sizes, choose_budget, refuse_oversized
from nequix.graphs import memory
from nequix.graphs.tiling import CHUNK_TILES


def random_sizes(n, seed=0):
    """Log-normal, as those of MPtrj are."""
    rng = np.random.default_rng(seed)
    nodes = np.clip(rng.lognormal(3.0, 0.9, n), 1, 200).astype(int)
    tiles = np.maximum(1, (nodes * rng.uniform(2.5, 6.5, n)).astype(int))
    return Sizes.of(np.stack([nodes, 16 * tiles, tiles], axis=1), 6.0)


@pytest.mark.parametrize("batch_size", [1, 4, 16, 64])
@pytest.mark.parametrize("shards", [1, 4])
def test_epochs_hold_every_structure_once_within_the_budget(batch_size, shards):
    sizes = random_sizes(700)
    budget = choose_budget(sizes, batch_size)
    packing = Packing(sizes, budget, 1, shards)
    for epoch in range(3):
        batches = packing.batches(epoch)
        assert len(batches) == packing.n_batches
        assert len(batches) % shards == 0
        np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(700))
        for batch in batches:
            assert sizes.n_nodes[batch].sum() <= budget.n_nodes
            assert sizes.n_tiles[batch].sum() <= budget.n_tiles
            assert len(batch) < budget.n_graphs


@pytest.mark.parametrize("batch_size", [16, 32, 256])
def test_shapes_are_filled_to_nine_tenths(batch_size):
    sizes = random_sizes(3000)
    fill = Packing(sizes, choose_budget(sizes, batch_size), 0).fill()
    assert fill["tiles"] > 0.9
    assert fill["nodes"] > 0.9


def test_epochs_differ_and_seeds_differ_and_both_repeat():
    sizes = random_sizes(300)
    budget = choose_budget(sizes, 16)
    packing, again = Packing(sizes, budget, 5), Packing(sizes, budget, 5)
    again.batches(2)  # asked for in another order
    for epoch in (0, 1, 2):
        assert all(map(np.array_equal, packing.batches(epoch), again.batches(epoch)))
    together = [{frozenset(batch) for batch in map(np.ndarray.tolist, packing.batches(e))} for e in (0, 1)]
    assert not together[0] & together[1]  # not only another order of the same batches
    other = Packing(sizes, budget, 6).batches(0)
    assert not all(map(np.array_equal, packing.batches(0), other))


def test_without_shuffling_sorted_sizes_fill_too():
    sizes = Sizes.of(np.array([(2, 40, 4)] * 3000 + [(200, 12000, 800)] * 300), 6.0)
    budget = choose_budget(sizes, 32)
    packing, other = (Packing(sizes, budget, seed, shuffle=False) for seed in (0, 1))
    assert min(packing.fill()[name] for name in ("nodes", "tiles")) > 0.9
    np.testing.assert_array_equal(np.sort(np.concatenate(packing.batches(0))), np.arange(3300))
    for again in (packing.batches(1), other.batches(0)):
        assert all(map(np.array_equal, packing.batches(0), again))


def test_batches_are_mixtures_of_sizes():
    sizes = random_sizes(3000)
    packing = Packing(sizes, choose_budget(sizes, 32), 0)
    counts = np.array([len(batch) for batch in packing.batches(0)])
    assert counts.std() < 0.2 * counts.mean()


def test_budget_holds_the_largest_structure_and_whole_chunks():
    sizes = Sizes.of(np.array([[2, 32, 2]] * 50 + [[90, 32000, 2001]]), 6.0)
    budget = choose_budget(sizes, 4)
    assert budget.n_nodes >= 90
    assert budget.n_tiles >= 2001
    assert budget.n_tiles % CHUNK_TILES == 0
    assert choose_budget(sizes.take(range(50)), 4).n_tiles == 8


def test_structures_without_edges_are_packed():
    sizes = Sizes.of(np.array([[1, 0, 0]] * 10), 6.0)
    packing = Packing(sizes, choose_budget(sizes, 4), 0)
    assert sorted(np.concatenate(packing.batches(0))) == list(range(10))


def test_unlucky_epochs_take_the_batches_of_the_first(monkeypatch):
    sizes = random_sizes(200)
    packing = Packing(sizes, choose_budget(sizes, 16), 0)
    monkeypatch.setattr(packing, "_attempts", lambda epoch: None)
    batches = packing.batches(4)
    assert len(batches) == packing.n_batches
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(200))


def test_oversized_structures_are_named_with_what_they_need():
    sizes = random_sizes(12)
    names = [f"frame {i}" for i in range(12)]
    with pytest.raises(DataError, match=r"frame 0 \(.*frame 9 \(.* and 2 more; raise it to"):
        refuse_oversized(sizes, Budget(1, 1, 2), names)


def test_batches_beyond_the_memory_are_refused(monkeypatch):
    monkeypatch.setattr(memory, "max_edges", lambda: 1e9)
    crowded = Sizes.of(np.array([[100, 10**8, 10**7]] * 50), 6.0)
    assert choose_budget(crowded, 6).n_tiles >= 6 * 10**7
    with pytest.raises(
        DataError, match=r"a batch of 50 structures would have 8e.09 edges, .* batches smaller"
    ):
        choose_budget(crowded, 50)


@pytest.mark.parametrize(("n", "batch_size"), [(0, 4), (4, 0)])
def test_nothing_to_pack_is_an_error(n, batch_size):
    with pytest.raises(DataError, match="at least one"):
        choose_budget(random_sizes(n), batch_size)
