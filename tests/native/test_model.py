"""The library gives the plain kernel's energies, forces and stress, for any model and structure."""

import dataclasses
import platform
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nequix.core.errors import GraphError, SpecError
from nequix.graphs.graph import batch, build_graph
from nequix.native.model import NativeModel
from nequix.native.thread_counts import default_threads
from tests.kernels.engines import spec_with
from tests.native.models import SEEDS, native, native_specifications, plain
from tests.native.tolerances import RELATIVE, SINGLE
from tests.systems import random_weights, structure, systems

SPEC = spec_with("3x0e + 2x1o + 1x2e + 2x3o", lmax=3, n_layers=3)
WEIGHTS = random_weights(SPEC, 3)
INSTRUCTIONS = ("avx512", "avx2", "base")


def graph_of(n_atoms=4, seed=0, n_graphs=3):
    return batch([structure(SPEC, seed + i, n_atoms) for i in range(n_graphs)])


def assert_close(found, expected):
    for name in ("energies", "forces", "stress"):
        values = getattr(expected, name)
        scale = max(1.0, float(np.nanmax(np.abs(values), initial=0.0)))
        np.testing.assert_allclose(getattr(found, name), values, rtol=0, atol=RELATIVE * scale, err_msg=name)


@given(data=st.data(), n_layers=st.sampled_from([3, 2, 1]), seed=SEEDS, threads=st.sampled_from([1, 3]))
@settings(suppress_health_check=list(HealthCheck))
def test_random_models_and_structures(data, n_layers, seed, threads):
    spec = data.draw(native_specifications(n_layers))
    graph, weights = data.draw(systems(spec)), random_weights(spec, seed)
    expected = plain(weights, graph)
    assert_close(native(weights, graph, threads=threads), expected)
    given = (graph.vectors, graph.senders, graph.receivers, graph.species)
    alone, _ = NativeModel(weights, "float64").evaluate(*given, gradient=False, threads=threads)
    scale = max(1.0, float(np.abs(expected.energies).max(initial=0.0)))
    np.testing.assert_allclose(alone, expected.energies, rtol=0, atol=RELATIVE * scale)


@pytest.mark.parametrize("layer_norm", [True, False])
@pytest.mark.parametrize("hidden", ["48x0e", "7x0e + 40x1o", "3x0e + 2x2e", "130x0e + 5x1o + 20x2e"])
def test_float32_whatever_the_channels(hidden, layer_norm):
    weights = random_weights(dataclasses.replace(SPEC, hidden_irreps=hidden, layer_norm=layer_norm), 0)
    graph = graph_of(n_atoms=11, n_graphs=1)  # whole blocks of rows, and some over
    found, expected = native(weights, graph, "float32", threads=2), plain(weights, graph)
    for name in ("energies", "forces", "stress"):
        values = getattr(expected, name)
        scale = max(1.0, float(np.abs(values).max()))
        np.testing.assert_allclose(getattr(found, name), values, rtol=0, atol=SINGLE * scale, err_msg=name)


@pytest.mark.parametrize("instructions", INSTRUCTIONS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_instruction_set(instructions, dtype):
    try:
        NativeModel(WEIGHTS, dtype, instructions)
    except SpecError as error:
        pytest.skip(str(error))  # this machine has other ones
    found, expected = (
        native(WEIGHTS, graph_of(), dtype, instructions=instructions),
        plain(WEIGHTS, graph_of()),
    )
    if dtype == "float64":
        assert_close(found, expected)
    else:
        assert found.forces == pytest.approx(expected.forces, rel=0, abs=1e-4 * np.abs(expected.forces).max())


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize(
    ("hidden", "lmax"),
    [("16x0e + 8x1o + 8x2e", 2), ("16x0e + 16x1o + 16x2e + 16x3o", 1)],  # the latter grows layer by layer
)
def test_only_energies_are_those_with_derivatives(threads, hidden, lmax):
    spec = spec_with(hidden, lmax=lmax, n_layers=4)
    model = NativeModel(random_weights(spec, 3), "float64")
    graph = batch([structure(spec, seed, 12) for seed in range(8)])
    given = (graph.vectors, graph.senders, graph.receivers, graph.species)
    expected, _ = model.evaluate(*given, threads=1)
    for _ in range(5):
        found, _ = model.evaluate(*given, gradient=False, threads=threads)
        np.testing.assert_allclose(found, expected, rtol=0, atol=RELATIVE * np.abs(expected).max())


def with_layers_of(weights, other, n_layers):
    """The first model with the second's first layers."""
    names = tuple(f"layers.{t}." for t in range(n_layers))
    own = {name: x for name, x in other.parameters.items() if name.startswith(names)}
    return dataclasses.replace(weights, parameters={**weights.parameters, **own})


@pytest.mark.parametrize("n_shared", [0, 1, 2, 3])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("threads", [1, 3])
def test_members_that_share_layers(dtype, n_shared, threads):
    graph, others = graph_of(), [random_weights(SPEC, seed) for seed in (4, 5)]
    first, *members = (with_layers_of(w, WEIGHTS, n_shared) for w in (WEIGHTS, *others))
    models = [NativeModel(weights, dtype) for weights in (first, *members)]
    together = models[0].evaluate_members(models[1:], n_shared, graph, threads)
    for weights, (energies, forces, virials) in zip((first, *members), together, strict=True):
        alone = NativeModel(weights, dtype).evaluate_graph(graph, threads)
        close = RELATIVE if dtype == "float64" else 1e-4
        for found, expected in zip((energies, forces, virials), alone, strict=True):
            np.testing.assert_allclose(found, expected, rtol=0, atol=close * np.abs(expected).max())
    assert all(model.calls == 1 for model in models)


def test_shared_layers_run_forwards_once():
    graph, other = graph_of(), random_weights(SPEC, 4)
    models = [NativeModel(weights, "float64") for weights in (WEIGHTS, other)]
    # It is passed two shared layers, which is false, so it uses those of the first member.
    (_, (energies, _, _)) = models[0].evaluate_members(models[1:], 2, graph)
    mixed, _, _ = NativeModel(with_layers_of(other, WEIGHTS, 2), "float64").evaluate_graph(graph)
    np.testing.assert_allclose(energies, mixed, rtol=0, atol=RELATIVE * np.abs(mixed).max())
    assert np.abs(energies - models[1].evaluate_graph(graph)[0]).max() > 1e-3 * np.abs(energies).max()


def test_members_of_several_kinds_are_an_error():
    model = NativeModel(WEIGHTS, "float64")
    smaller = spec_with("3x0e + 2x1o + 1x2e", lmax=2, n_layers=3)
    for other in (NativeModel(WEIGHTS, "float32"), NativeModel(random_weights(smaller, 1), "float64")):
        with pytest.raises(GraphError, match="member 1 differs from the first one in shape"):
            model.evaluate_members([other], 0, graph_of())


@pytest.mark.skipif(
    platform.machine() != "x86_64" or not Path("/proc/cpuinfo").exists(), reason="not x86-64 Linux"
)
def test_the_best_instructions_of_the_processor_run():
    flags = set(re.search(r"flags\s*: (.*)", Path("/proc/cpuinfo").read_text())[1].split())
    needed = {
        "avx512": {"avx512f", "avx512dq", "avx512bw", "avx512vl"},
        "avx2": {"avx2", "fma"},
        "base": set(),
    }
    best = next(name for name in INSTRUCTIONS if needed[name] <= flags)
    assert NativeModel(WEIGHTS, "float32").instructions == best


def test_unknown_instructions_are_an_error():
    with pytest.raises(SpecError, match=r"lacks the instructions 'mmx'.*it has .*base"):
        NativeModel(WEIGHTS, "float32", "mmx")


def test_atoms_without_edges():
    alone = build_graph([8], [[0.0, 0, 0]], None, False, SPEC)
    assert alone.n_edges == 0
    assert_close(native(WEIGHTS, alone), plain(WEIGHTS, alone))
    assert not native(WEIGHTS, alone).forces.any()
    assert_close(
        native(WEIGHTS, batch([alone, graph_of(), alone])), plain(WEIGHTS, batch([alone, graph_of(), alone]))
    )


def test_the_same_threads_give_the_same_digits():
    graph = graph_of(n_graphs=5)
    for threads in (1, 2, 5):
        first, second = (native(WEIGHTS, graph, "float32", threads=threads) for _ in range(2))
        assert (first.energies == second.energies).all()
        assert (first.forces == second.forces).all()
    one, many = (native(WEIGHTS, graph, threads=threads) for threads in (1, 4))
    assert (one.energies == many.energies).all()  # only of an atom's own edges
    assert_close(many, one)


def test_edges_beyond_the_cutoff_change_no_digit():
    graph, model = graph_of(), NativeModel(WEIGHTS, "float64")
    arrays = [graph.vectors, graph.senders, graph.receivers]
    longer = [
        np.array([[SPEC.cutoff, 0, 0]]),
        np.array([0], np.int32),
        np.array([graph.n_nodes - 1], np.int32),
    ]
    more = [np.concatenate(pair) for pair in zip(arrays, longer, strict=True)]
    energies, gradient = model.evaluate(*arrays, graph.species)
    with_more, gradient_of_more = model.evaluate(*more, graph.species)
    assert (with_more == energies).all()
    assert (gradient_of_more[:-1] == gradient).all()
    assert not gradient_of_more[-1].any()


def test_gradient_of_a_weighted_sum():
    graph, model = graph_of(), NativeModel(WEIGHTS, "float64")
    arrays = (graph.vectors, graph.senders, graph.receivers, graph.species)
    seed, rng = np.random.default_rng(0).normal(size=graph.n_nodes), np.random.default_rng(1)
    gradient = model.evaluate(*arrays, seed)[1]
    direction, step = rng.normal(size=graph.vectors.shape), 1e-5
    ends = [
        model.evaluate(graph.vectors + sign * step * direction, *arrays[1:], gradient=False)[0] @ seed
        for sign in (1, -1)
    ]
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx((gradient * direction).sum(), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "index", "value", "message"),
    [
        ("species", 1, 3, "atom 1 has species 3, expected 0 to 2"),
        ("species", 0, -1, "atom 0 has species -1"),
        ("senders", 2, 12, "edge 2 runs from atom 12"),
        ("senders", 2, -1, "edge 2 runs from atom -1"),
        ("receivers", -1, 99, "to 99 of 12"),
        ("receivers", 0, 5, "receivers that ascend"),
        ("vectors", (3, 1), np.nan, "edge 3 .*finite"),
        ("vectors", (3, 1), np.inf, "edge 3 .*finite"),
    ],
)
def test_what_cannot_be_is_an_error(name, index, value, message):
    graph, model = graph_of(), NativeModel(WEIGHTS, "float32")
    arrays = {
        "vectors": graph.vectors,
        "senders": graph.senders,
        "receivers": graph.receivers,
        "species": graph.species,
    }
    arrays[name] = arrays[name].copy()
    arrays[name][index] = value
    with pytest.raises(GraphError, match=message):
        model.evaluate(**arrays)
    arrays[name] = arrays[name][:-1]
    with pytest.raises(GraphError):
        model.evaluate(**arrays)
    assert model.calls == 0


def test_threads_follow_the_environment(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert default_threads() == 3
    for value in ("", "0", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", value)
        assert default_threads() >= 1
