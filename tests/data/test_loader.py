"""The loader: the same batches from any number of workers, processes and interruptions."""

import copy
import multiprocessing
import os
import pickle
import signal
import time

import numpy as np
import pytest

from nequix.core.errors import DataError, GraphError
from nequix.data.batch import collate, graph_of
from nequix.data.graph_cache import GraphCache
from nequix.data.label_table import LABEL_TABLE, LABELS
from nequix.data.loader import Loader
from nequix.data.opening import open_source
from nequix.data.packing import Budget
from nequix.data.sizes import measure
from nequix.data.sources import Subset
from nequix.data.workers import ordered_map
from nequix.graphs.tiling import TILE
from tests.data.sets import SPEC, real, relabelled, saved, strained_copper

N = 60


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    frames = strained_copper(N)
    frames[3] = relabelled(frames[3], energy=None)
    frames[4] = relabelled(frames[4], forces=None)
    frames[5] = relabelled(frames[5], stress=None)
    frames[6].info.update(energy_weight=2.0, forces_weight=3.0, stress_weight=0.5)
    return open_source(saved(tmp_path_factory.mktemp("loader") / "set.extxyz", frames))


def assert_same(one, other):
    assert len(one) == len(other)
    for step, other_step in zip(one, other, strict=True):
        for a, b in zip(step, other_step, strict=True):
            assert a.names == b.names
            arrays = b.arrays()
            for name, values in a.arrays().items():
                np.testing.assert_array_equal(values, arrays[name], strict=True)


def test_batches_hold_graphs_and_labels(source):
    loader = Loader(source, SPEC, batch_size=7, epochs=1, shuffle=False)
    by_name = {structure.name: structure for structure in source}
    seen = []
    for (batch,) in loader:
        layout, start = batch.layout, 0
        assert batch.graph_mask.sum() == len(batch.names)
        for index, name in enumerate(batch.names):
            structure = by_name[name]
            atoms = slice(start, start := start + len(structure.numbers))
            assert (layout.node_graph[atoms] == index).all()
            np.testing.assert_array_equal(
                np.array(SPEC.atomic_numbers)[layout.species[atoms]], structure.numbers
            )
            energy, forces, stress = (batch.labels[name] for name in LABELS)
            assert energy.mask[index] == (structure.energy is not None)
            assert energy.values[index] == (structure.energy or 0.0)
            assert forces.mask[atoms].all() == (structure.forces is not None)
            np.testing.assert_array_equal(
                forces.values[atoms], 0.0 if structure.forces is None else structure.forces
            )
            assert stress.mask[index] == (structure.stress is not None)
            np.testing.assert_array_equal(
                stress.values[index], 0.0 if structure.stress is None else structure.stress
            )
            weights = energy.weight[index], forces.weight[atoms][0], stress.weight[index]
            assert weights == structure.weights
            assert batch.n_atoms[index] == len(structure.numbers)
            assert batch.volume[index] == pytest.approx(structure.volume)
        assert batch.node_mask.sum() == start
        graphs = [graph_of(by_name[name], SPEC) for name in batch.names]
        np.testing.assert_allclose(layout.vectors[layout.slots], np.concatenate([g.vectors for g in graphs]))
        seen += batch.names
    assert sorted(seen) == sorted(by_name)


def test_padding_is_masked_and_safe_to_divide_by(source):
    loader = Loader(source, SPEC, batch_size=7, epochs=1)
    shapes = set()
    for (batch,) in loader:
        padding = ~batch.graph_mask
        assert padding.any()
        assert (batch.volume[padding] == 1).all()
        assert (batch.n_atoms[padding] == 1).all()
        for label in LABEL_TABLE:
            for array in batch.labels[label.name]:
                assert not array[~batch.node_mask if label.of_atoms else padding].any()
        shapes.add(tuple((name, a.shape, str(a.dtype)) for name, a in batch.arrays().items()))
    assert len(shapes) == 1
    assert batch.layout.vectors.shape[0] == loader.budget.n_tiles * TILE


def test_no_structures_make_a_batch_of_padding(source):
    full = Loader(source, SPEC, batch_size=7, epochs=1)
    batch = collate([], SPEC, full.budget)
    assert not batch.graph_mask.any()
    assert not batch.node_mask.any()
    for name, values in next(full)[0].arrays().items():
        assert (values.shape, values.dtype) == (batch.arrays()[name].shape, batch.arrays()[name].dtype), name


def test_molecules_have_no_stress_to_learn(tmp_path):
    (atoms,) = strained_copper(1)
    atoms.set_cell(None)
    atoms.pbc = False
    loader = Loader(open_source(saved(tmp_path / "set.extxyz", [atoms])), SPEC, batch_size=1, epochs=1)
    ((batch,),) = list(loader)
    assert batch.labels["forces"].mask[: len(atoms)].all()
    assert not batch.labels["stress"].mask.any()
    assert (batch.volume == 1).all()


def test_workers_change_nothing(source):
    inline = list(Loader(source, SPEC, batch_size=7, epochs=1, seed=1))
    with Loader(source, SPEC, batch_size=7, epochs=1, seed=1, n_workers=2) as loader:
        assert_same(inline, list(loader))


@pytest.mark.parametrize("gigabytes", [0, 1e-4, 1])
def test_memory_changes_nothing_but_what_is_read(source, gigabytes):
    wanted = list(Loader(source, SPEC, batch_size=7, epochs=3, seed=1))
    read = []

    class Counted(Subset):
        def __getitem__(self, index):
            read.append(index)
            return super().__getitem__(index)

    counted = Counted(source, np.arange(N))
    sizes = measure(source, SPEC.cutoff)
    loader = Loader(counted, SPEC, batch_size=7, epochs=3, seed=1, sizes=sizes, memory=gigabytes)
    assert_same(wanted, list(loader))
    if gigabytes == 1:
        assert sorted(read) == list(range(N))
    else:
        assert (len(read) == 3 * N) == (gigabytes == 0)
        assert len(read) > N


def test_workers_keep_what_fits_too(source):
    wanted = list(Loader(source, SPEC, batch_size=7, epochs=3, seed=1))
    with Loader(source, SPEC, batch_size=7, epochs=3, seed=1, n_workers=2, memory=1) as loader:
        assert_same(wanted, list(loader))


def test_memory_of_one_process_is_not_sent_to_another(source):
    memory = GraphCache(source, SPEC, 2**30)
    memory.take(range(N))
    other = copy.copy(memory)  # by what pickling would take
    assert len(pickle.dumps(memory)) == len(pickle.dumps(other)) < 10_000
    assert [graph.n_edges for graph in other.take(range(3))[1]] == [
        graph.n_edges for graph in memory.take(range(3))[1]
    ]


def test_processes_share_the_steps(source):
    together = list(Loader(source, SPEC, batch_size=5, epochs=2, shards=4, mine=(0, 1, 2, 3)))
    parts = [
        list(Loader(source, SPEC, batch_size=5, epochs=2, shards=4, mine=mine)) for mine in ((0, 1), (2, 3))
    ]
    assert_same(together, [first + second for first, second in zip(*parts, strict=True)])
    names = [name for step in together[: len(together) // 2] for batch in step for name in batch.names]
    assert len(names) == len(set(names)) == N


def test_positions_are_restored_exactly(source):
    whole = list(Loader(source, SPEC, batch_size=7, epochs=3, seed=2))
    loader = Loader(source, SPEC, batch_size=7, epochs=3, seed=2)
    for stop in (1, loader.steps_per_epoch, loader.steps_per_epoch + 2):
        while loader.position < stop:
            next(loader)
        state = pickle.loads(pickle.dumps(loader.state()))  # noqa: S301
        resumed = Loader(source, SPEC, batch_size=7, epochs=3, seed=2)
        resumed.restore(state)
        assert resumed.epoch == stop // loader.steps_per_epoch
        assert_same(whole[stop:], list(resumed))


def test_positions_are_restored_with_other_workers(source):
    whole = list(Loader(source, SPEC, batch_size=7, epochs=2))
    with Loader(source, SPEC, batch_size=7, n_workers=2) as loader:  # without an end
        assert_same(whole[:3], [next(loader) for _ in range(3)])
        state = loader.state()
    assert state["position"] == 3  # not what the workers have prepared meanwhile
    rest = Loader(source, SPEC, batch_size=7, epochs=2)
    rest.restore(state)
    assert_same(whole[3:], list(rest))


def test_positions_in_other_data_are_refused(source):
    state = Loader(source, SPEC, batch_size=7).state()
    for changed in ({"batch_size": 9}, {"batch_size": 7, "seed": 1}, {"batch_size": 7, "shards": 2}):
        with pytest.raises(DataError, match="of other data"):
            Loader(source, SPEC, **changed).restore(state)


def test_oversized_structures_are_named_or_listed(source):
    sizes = measure(source, SPEC.cutoff)
    large = np.flatnonzero(sizes.n_nodes == sizes.n_nodes.max())
    budget = Budget(int(sizes.n_nodes.max()) - 1, int(sizes.n_tiles.sum()), 10)
    with pytest.raises(DataError, match=rf"{len(large)} structures exceed .*set.extxyz:{large[0]} \("):
        Loader(source, SPEC, budget=budget)
    loader = Loader(source, SPEC, budget=budget, skip_oversized=True, epochs=1)
    assert loader.skipped == [f"set.extxyz:{i}" for i in large]
    assert sum(len(batch.names) for (batch,) in loader) == N - len(large)


def test_budgets_beyond_the_memory_are_refused(source):
    with pytest.raises(DataError, match=r"a batch of 3 structures would have .* edges"):
        Loader(source, SPEC, budget=Budget(10**4, 2**30, 4))


@pytest.mark.parametrize("n_workers", [0, 1])
def test_what_cannot_be_loaded_is_named(tmp_path, n_workers):
    frames = strained_copper(8)
    frames[5].numbers[0] = 92
    source = open_source(saved(tmp_path / "set.extxyz", frames))
    with (
        Loader(source, SPEC, batch_size=2, epochs=1, n_workers=n_workers) as loader,
        pytest.raises(GraphError, match=r"set\.extxyz:5: atom 0 is U"),
    ):
        list(loader)


def test_labels_that_are_not_finite_are_named(tmp_path):
    frames = strained_copper(3)
    forces = frames[1].calc.results["forces"].copy()
    forces[0, 0] = np.inf
    frames[1] = relabelled(frames[1], forces=forces)
    source = open_source(saved(tmp_path / "set.extxyz", frames))
    with pytest.raises(DataError, match=r"set\.extxyz:1: forces is not finite"):
        list(Loader(source, SPEC, batch_size=2, epochs=1))


def test_sizes_are_kept_in_a_file(source, tmp_path):
    cache = tmp_path / "new" / "sizes.npz"
    first = measure(source, SPEC.cutoff, cache=cache)
    written = cache.stat().st_mtime_ns
    again = measure(source, SPEC.cutoff, cache=cache)
    np.testing.assert_array_equal(first.n_tiles, again.n_tiles)
    assert cache.stat().st_mtime_ns == written
    assert measure(source, 3.0, cache=cache).n_edges.sum() < first.n_edges.sum()
    assert cache.stat().st_mtime_ns > written
    cache.write_bytes(b"damaged")
    with pytest.raises(DataError, match="delete the file"):
        measure(source, SPEC.cutoff, cache=cache)


@pytest.mark.parametrize("change", ["cell", "pbc"])
def test_kept_sizes_are_not_those_of_other_cells(tmp_path, change):
    frames, cache = strained_copper(3), tmp_path / "sizes.npz"
    one = open_source(saved(tmp_path / "one.extxyz", frames))
    for atoms in frames:
        if change == "cell":
            atoms.set_cell(1.2 * atoms.cell.array)  # the positions stay
        else:
            atoms.pbc = (True, True, False)
    other = open_source(saved(tmp_path / "other.extxyz", frames))
    measure(one, SPEC.cutoff, cache=cache)
    found, expected = measure(other, SPEC.cutoff, cache=cache), measure(other, SPEC.cutoff)
    np.testing.assert_array_equal(found.n_edges, expected.n_edges)


def test_periodic_structures_without_a_lattice_are_named(tmp_path):
    frames = strained_copper(2)
    frames[1].set_cell(np.zeros((3, 3)))
    source = open_source(saved(tmp_path / "set.extxyz", frames))
    with pytest.raises(GraphError, match=r"set\.extxyz:1: pbc is true along direction 0.*give a lattice"):
        measure(source, SPEC.cutoff)


def test_endless_loaders_continue(source):
    loader = Loader(source, SPEC, batch_size=30)
    names = [next(loader)[0].names for _ in range(2 * loader.steps_per_epoch + 1)]
    assert loader.epoch == 2
    assert names[0] != names[loader.steps_per_epoch]


@pytest.mark.parametrize("arguments", [{}, {"batch_size": 3, "budget": Budget(9, 9, 9)}])
def test_one_of_batch_size_and_budget_is_needed(source, arguments):
    with pytest.raises(DataError, match="either"):
        Loader(source, SPEC, **arguments)


# Worker processes.


def slow(index):
    time.sleep(0.05)
    return index


def test_dead_workers_are_errors_and_not_hangs():
    results = ordered_map(slow, 0, 1000, 2)
    assert next(results) == 0
    workers = multiprocessing.active_children()
    assert len(workers) == 2
    os.kill(workers[0].pid, signal.SIGKILL)
    with pytest.raises(DataError, match="a worker process died"):
        list(results)
    assert not multiprocessing.active_children()


def test_workers_outlive_the_signals_of_their_job():
    results = ordered_map(slow, 0, 40, 1)
    assert next(results) == 0
    (worker,) = multiprocessing.active_children()
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(worker.pid, number)
    assert list(results) == list(range(1, 40))


def test_workers_end_with_a_killed_parent(tmp_path):
    context = multiprocessing.get_context("spawn")
    parent = context.Process(target=spawn_workers, args=(str(tmp_path / "pids"),))
    parent.start()
    deadline = time.monotonic() + 60
    while not (tmp_path / "pids").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    parent.kill()
    parent.join()
    while any(map(running, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(running, pids))


def spawn_workers(path):
    results = ordered_map(slow, 0, 10**6, 2)
    next(results)
    pids = " ".join(str(child.pid) for child in multiprocessing.active_children())
    with open(f"{path}.tmp", "w") as handle:
        handle.write(pids)
    os.replace(f"{path}.tmp", path)
    time.sleep(600)


def running(pid):
    try:
        with open(f"/proc/{pid}/stat") as handle:
            return handle.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_real_mptrj_sample_fills_nine_tenths(tmp_path):
    source = open_source(real("mattersim_benchmarks/mptrj-random-1k.extxyz.gz"))
    spec = SPEC.__class__(
        atomic_numbers=tuple(range(1, 119)), avg_n_neighbors=1.0, scale=1.0, shift=0.0, cutoff=6.0
    )
    loader = Loader(source, spec, batch_size=32, epochs=1)
    assert loader.fill["nodes"] > 0.9
    assert loader.fill["tiles"] > 0.9
    (batch,) = next(loader)
    used = np.count_nonzero(np.bincount(batch.layout.slots // TILE, minlength=loader.budget.n_tiles))
    assert used / loader.budget.n_tiles > 0.9  # as counted in the batch itself
