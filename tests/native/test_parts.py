"""Systems divided among parts have the energies and gradients of undivided ones."""

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from nequix.core.errors import GraphError, SpecError
from nequix.graphs.graph import batch
from nequix.native import library
from nequix.native.model import NativeModel
from nequix.native.parts import Part
from tests.kernels.engines import spec_with
from tests.native.division import divide, evaluate_divided, make_parts
from tests.native.models import SEEDS, native_specifications
from tests.systems import random_weights, structure, systems

CLOSE = {"float64": 1e-14, "float32": 1e-6}
"""Gradients, relative to the largest: sums over senders have another order.

Some random models magnify roundings. There, what another order of edges changes in the undivided system is
added.
"""

SPEC = spec_with("3x0e + 2x1o + 1x2e + 2x3o", lmax=3, n_layers=3)
WEIGHTS = random_weights(SPEC, 3)


def whole(graph):
    return graph.vectors, graph.senders, graph.receivers, graph.species


def assert_same(found, expected, dtype, noise=0.0):
    assert (found[0] == expected[0]).all()
    largest = np.abs(expected[1]).max(initial=0.0)
    np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=CLOSE[dtype] * largest + 4 * noise)


def reordering_noise(model, graph, gradient, rng):
    """The largest change of the gradient when the edges of each receiver are taken in other orders."""
    largest = 0.0
    for _ in range(3):
        order = np.lexsort((rng.random(graph.n_edges), graph.receivers))
        edges = (array[order] for array in (graph.vectors, graph.senders, graph.receivers))
        _, reordered = model.evaluate(*edges, graph.species, threads=1)
        largest = max(largest, np.abs(reordered - gradient[order]).max(initial=0.0))
    return largest


@given(
    data=st.data(),
    n_layers=st.sampled_from([3, 2, 4, 1]),
    dtype=st.sampled_from(["float64", "float32"]),
    n_parts=st.sampled_from([3, 2, 9, 1, 5]),
    seed=SEEDS,
)
@settings(suppress_health_check=list(HealthCheck))
def test_random_models_and_structures(data, n_layers, dtype, n_parts, seed):
    spec = data.draw(native_specifications(n_layers))
    graph, rng = data.draw(systems(spec)), np.random.default_rng(seed)
    try:
        model = NativeModel(random_weights(spec, seed), dtype)
    except SpecError:  # a rare model that the library rejects, with radial functions that are too steep
        reject()
    expected = model.evaluate(*whole(graph), threads=1)
    noise = reordering_noise(model, graph, expected[1], rng)
    parts = make_parts(model, n_parts, rng)
    for _ in range(2):  # in the memory of the first step
        found = evaluate_divided(parts, divide(graph, n_parts, rng), graph)
        assert_same(found, expected, dtype, noise)


def larger(n_graphs, n_atoms=12):
    return batch([structure(SPEC, seed, n_atoms) for seed in range(n_graphs)])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("layer_norm", [True, False])
def test_memory_serves_steps_of_all_sizes(dtype, layer_norm):
    model = NativeModel(
        dataclasses.replace(WEIGHTS, spec=dataclasses.replace(SPEC, layer_norm=layer_norm)), dtype
    )
    rng = np.random.default_rng(0)
    parts = make_parts(model, 4, rng)
    for step, n_graphs in enumerate((2, 5, 1, 4, 3)):
        graph, gradient = larger(n_graphs), step % 3 != 1
        expected = model.evaluate(*whole(graph), threads=1)
        found = evaluate_divided(parts, divide(graph, 4, rng), graph, gradient=gradient)
        if gradient:
            assert_same(found, expected, dtype)
        else:
            assert (found[0] == expected[0]).all()
            assert np.isnan(found[1]).all()


def test_one_rank_without_ghosts_needs_no_exchange():
    graph, model = larger(3), NativeModel(WEIGHTS, "float64")
    energies, gradient = model.evaluate(*whole(graph), threads=2)
    part = Part(model, threads=2)
    first = np.searchsorted(graph.receivers, np.arange(graph.n_nodes + 1))
    part.begin(first, graph.vectors, graph.senders, graph.species)
    for t in range(3):
        part.forward(t)
    for t in (2, 1, 0):
        part.backward(t)
    assert (part.energies == energies).all()
    assert (part.gradient == gradient).all()  # the same stages, so the same digits
    assert model.calls == 2


def test_a_large_exchange_takes_threads():
    """Several threads copy rows of more than a megabyte, nodes listed twice among them."""
    spec = spec_with("256x0e + 128x1o", lmax=1, n_layers=2)
    model = NativeModel(random_weights(spec, 0), "float64")
    species = np.zeros(700, np.int32)
    nodes = np.random.default_rng(0).integers(700, size=900).astype(np.int32)
    rows = {}
    for threads in (1, 3):
        part = Part(model, threads)
        assert part.width(1) * 8 * len(nodes) > 3 * 2**20
        part.begin(np.zeros(701), np.zeros((0, 3)), np.zeros(0), species)
        part.forward(0)
        values = np.random.default_rng(1).normal(size=(len(nodes), part.width(1)))
        part.write(1, nodes, values)
        assert (part.read(1, nodes[-1:]) == values[-1]).all()
        part.forward(1)
        part.backward(1)
        part.write(1, nodes, values, derivatives=True)
        rows[threads] = part.read(1, range(700), derivatives=True)
        total = np.zeros_like(rows[threads])
        np.add.at(total, nodes, values)
        np.testing.assert_allclose(rows[threads], total, rtol=0, atol=1e-12)
    assert (rows[1] == rows[3]).all()


def test_a_part_outlives_its_model():
    graph = larger(1)
    model = NativeModel(WEIGHTS, "float64")
    expected = model.evaluate(*whole(graph), threads=1)
    parts = [Part(model), Part(model)]
    del model
    found = evaluate_divided(parts, divide(graph, 2, np.random.default_rng(0)), graph)
    assert_same(found, expected, "float64")


def test_nothing_at_all():
    part = Part(NativeModel(WEIGHTS, "float32"), threads=3)
    part.begin(np.zeros(1), np.zeros((0, 3)), np.zeros(0), np.zeros(0))
    for t in range(3):
        part.forward(t)
    for t in (2, 1, 0):
        part.backward(t)
    assert part.energies.shape == (0,)
    part.begin(np.zeros(1), np.zeros((0, 3)), np.zeros(0), np.zeros(2, int))  # ghosts, but no receivers
    part.forward(0)
    give_features(part, 1, range(2))
    part.forward(1)
    part.forward(2)
    part.backward(2)
    assert not part.read(2, range(2), derivatives=True).any()


@pytest.fixture
def begun():
    """A part of three receivers that hear two ghosts, and one that nobody hears."""
    part = Part(NativeModel(WEIGHTS, "float32"))
    vectors = np.array([[1.0, 0.5, 0], [0, 1.2, 0], [0.3, 0, 1.1], [0, 0, 1.3]])
    part.begin(np.array([0, 2, 3, 4]), vectors, np.array([3, 4, 0, 1]), np.zeros(6, np.int32))
    return part


def give_features(part, t, nodes: np.ndarray | range = range(3, 6)):
    part.write(t, nodes, np.ones((len(nodes), part.width(t)), np.float32))


def test_calls_out_of_order_are_errors_that_change_nothing(begun):
    def refused(message, call, *args, **options):
        with pytest.raises(GraphError, match=message):
            call(*args, **options)

    idle = Part(NativeModel(WEIGHTS, "float32"))
    refused(r"forward\(0\) was called, but begin comes next", idle.forward, 0)
    refused(r"backward\(2\) was called, but begin comes next", idle.backward, 2)
    refused(r"forward\(1\) was called, but forward\(0\) comes next", begun.forward, 1)
    refused(r"forward\(3\) was called, but t must be 0 to 2 in a model of 3 layers", begun.forward, 3)
    refused(r"forward\(-1\) was called, but t must be", begun.forward, -1)
    refused(r"features\(1\) was called, but forward\(0\) comes next", begun.read, 1, range(3))
    refused(r"features\(0\) was called, but t must be 1 to 2", begun.read, 0, range(3))
    begun.forward(0)
    refused(r"features 1 of node 3, a ghost that sends to receivers, were not written", begun.forward, 1)
    refused(r"features\(2\) was called, but forward\(1\) comes next", begun.read, 2, range(3))
    refused(r"derivatives\(1\) was called, but forward\(1\)", begun.read, 1, range(3), derivatives=True)
    give_features(begun, 1, np.array([4, 3], np.int32))  # nobody hears the last one
    begun.forward(1)
    refused(r"features 2 of node 3, .* were not written", begun.forward, 2)
    give_features(begun, 2)
    begun.forward(2)
    refused(r"forward\(2\) was called, but backward\(2\) comes next", begun.forward, 2)
    refused(r"backward\(1\) was called, but backward\(2\) comes next", begun.backward, 1)
    begun.backward(2)
    refused(r"features\(2\) was called, but backward\(1\) comes next", give_features, begun, 2)
    begun.backward(1)
    begun.backward(0)
    refused(r"backward\(0\) was called, but begin comes next", begun.backward, 0)


def test_no_gradient_without_asking(begun):
    begun.begin(np.arange(2), np.array([[1.0, 0.5, 0]]), np.array([0]), np.array([0]), gradient=False)
    for t in range(3):
        begun.forward(t)
    with pytest.raises(GraphError, match="begin with with_gradient = 1"):
        begun.backward(2)


def test_a_failed_begin_ends_the_step_before(begun):
    with pytest.raises(GraphError, match="edge 0 comes from node 9 of 1"):
        begun.begin(np.arange(2), np.array([[1.0, 0, 0]]), np.array([9]), np.array([0]))
    with pytest.raises(GraphError, match="begin comes next"):
        begun.forward(0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"senders": [0, -1]}, "edge 1 comes from node -1 of 3"),
        ({"senders": [3, 0]}, "edge 0 comes from node 3 of 3; expected nodes that exist and finite vectors"),
        ({"vectors": [[1.0, 0, 0], [0, np.nan, 0]]}, "edge 1 comes from node 2 of 3; .*finite"),
        ({"vectors": [[np.inf, 0, 0], [0, 1, 0]]}, "edge 0 .*finite"),
        ({"species": [0, 0, 3]}, "atom 2 has species 3, expected 0 to 2"),
        ({"first": [1, 2, 2]}, r"first\[0\] = 1, expected"),
        ({"first": [0, 3, 2]}, r"first\[2\] = 2, expected numbers of edges that ascend from 0"),
        ({"first": [0, 2**40, 2**40]}, "the number of edges = 1099511627776"),
        ({"first": [0, 1, 2, 2, 2]}, "n_receivers = 4, expected 0 to 3"),
    ],
)
def test_what_cannot_be_is_an_error(changed, message):
    part = Part(NativeModel(WEIGHTS, "float32"))
    sound: dict[str, list] = {
        "first": [0, 1, 2],
        "vectors": [[1.0, 0, 0], [0, 1, 0]],
        "senders": [1, 2],
        "species": [0, 1, 2],
    }
    part.begin(*map(np.array, sound.values()))
    with pytest.raises(GraphError, match=message):
        part.begin(*map(np.array, {**sound, **changed}.values()))


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (range(4, 7), "nodes from 4 on, 3 of them, are not among the 6 nodes"),
        (range(-1, 2), "nodes from -1 on"),
        (np.array([0, 6, 1], np.int32), r"nodes\[1\] = 6, but there are 6 nodes"),
        (np.array([0, 2, -1], np.int32), r"nodes\[2\] = -1"),
    ],
)
def test_nodes_that_do_not_exist_are_an_error(begun, nodes, message):
    begun.forward(0)
    for call in (lambda: begun.read(1, nodes), lambda: give_features(begun, 1, nodes)):
        with pytest.raises(GraphError, match=message):
            call()


@pytest.mark.parametrize("threads", [0, 1025])
def test_threads_that_cannot_be_are_an_error(threads):
    with pytest.raises(GraphError, match=f"n_threads = {threads}, expected 1 to 1024"):
        Part(NativeModel(WEIGHTS, "float32"), threads)


def test_the_interface_has_a_version():
    assert library.load().nequix_version() == 1
