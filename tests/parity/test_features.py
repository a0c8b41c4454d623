"""The scalars of every layer, ``Potential.features``: equal in both engines and the reference."""

from dataclasses import replace

import numpy as np
import pytest

import nequix.jax
import nequix.torch
from nequix.backends import load_model
from nequix.core.errors import GraphError
from nequix.graphs.graph import batch, build_graph
from tests import reference_model
from tests.calculator.small import SPEC, WEIGHTS
from tests.systems import random_weights, structure
from tests.tolerances import PARITY_FLOAT32, PARITY_FLOAT64

ENGINES = {"jax": nequix.jax, "torch": nequix.torch}
TOLERANCES = {"float64": PARITY_FLOAT64, "float32": PARITY_FLOAT32}


def graphs():
    kinds = [(3, (True,) * 3), (4, (False,) * 3), (2, (True, True, False))]
    return [structure(SPEC, seed, n, pbc) for seed, (n, pbc) in enumerate(kinds)]


def expected(weights, graph):
    stages, _ = reference_model.trace(
        weights.spec, weights.parameters, graph.vectors, graph.senders, graph.receivers, graph.species
    )
    return np.concatenate([parts["l = 0"][:, :, 0] for name, parts in stages if "layer" in name], axis=1)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("engine", ENGINES)
def test_features_are_the_scalars_of_every_layer(engine, dtype):
    weights = random_weights(SPEC, 5)
    potential = ENGINES[engine].Potential(weights, dtype=dtype, kernel="plain", device="cpu")
    together = batch(graphs())
    found, reference = potential.features(together), expected(weights, together)
    assert found.shape == (together.n_nodes, 8 * SPEC.n_layers)
    assert found.dtype == np.float64
    assert np.ptp(reference) > 0.1
    np.testing.assert_allclose(found, reference, atol=TOLERANCES[dtype] * np.abs(reference).max(), rtol=0)


@pytest.mark.parametrize("engine", ENGINES)
def test_features_do_not_depend_on_the_kernel_or_the_batch(engine):
    alone = [load_model(WEIGHTS, engine, kernel="plain", dtype="float64").features(g) for g in graphs()]
    together = load_model(WEIGHTS, engine, dtype="float64").features(batch(graphs()))
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_features_do_not_change_when_a_structure_is_turned(engine):
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    numbers, positions = [6, 1, 8, 1], rng.uniform(0, 3, (4, 3))
    potential = load_model(WEIGHTS, engine, dtype="float64")
    one, other = (
        potential.features(build_graph(numbers, x, None, False, SPEC)) for x in (positions, positions @ turn)
    )
    np.testing.assert_allclose(one, other, atol=1e-11)
    assert np.abs(one - one[:1]).max() > 1e-3


@pytest.mark.parametrize("engine", ENGINES)
def test_a_graph_of_another_cutoff_is_refused(engine):
    graph = build_graph([6], [[0.0, 0.0, 0.0]], None, False, SPEC)
    wrong = type(graph)(**{**vars(graph), "cutoff": 3.0})
    with pytest.raises(GraphError, match="cutoff"):
        load_model(WEIGHTS, engine).features(wrong)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_graph_for_a_model_of_other_elements_is_refused(engine):
    others = tuple(number + 1 for number in SPEC.atomic_numbers)
    graph = build_graph([others[0]], [[0.0, 0.0, 0.0]], None, False, replace(SPEC, atomic_numbers=others))
    potential = load_model(WEIGHTS, engine)
    for evaluate in (potential.evaluate, potential.features, potential.hessian):
        with pytest.raises(GraphError, match="other ones; build the graph with this model's"):
            evaluate(graph)
