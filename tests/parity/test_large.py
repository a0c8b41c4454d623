"""Engines agree on a structure so large that compilers divide its arrays among blocks.

JAX 0.10.2 returns wrong sums on CPUs for arrays of more than 16,384 rows in some programs (docs/testing.md).
"""

import numpy as np
import pytest
from ase.build import bulk

from nequix import load_model
from nequix.graphs.graph import graph_from_atoms
from tests.calculator.small import BETWEEN_ENGINES, WEIGHTS, rattled


@pytest.fixture(scope="module")
def graph():
    atoms = rattled(bulk("NaCl", "rocksalt", a=5.0, cubic=True).repeat((7, 6, 6)))
    graph = graph_from_atoms(atoms, WEIGHTS.spec)
    assert graph.n_edges > 32_769  # the smallest number of rows that was seen to fail in float32
    return graph


def test_plain_kernels_agree_with_the_native_library_on_tens_of_thousands_of_edges(graph):
    expected = load_model(WEIGHTS, "native", dtype="float64").evaluate(graph)
    potential = load_model(WEIGHTS, "jax", kernel="plain", dtype="float64")
    results = potential.evaluate(graph)
    scale = float(np.abs(expected.forces).max())
    np.testing.assert_allclose(results.energies, expected.energies, rtol=0, atol=BETWEEN_ENGINES)
    np.testing.assert_allclose(results.forces, expected.forces, rtol=0, atol=BETWEEN_ENGINES * max(scale, 1))
    np.testing.assert_allclose(results.stress, expected.stress, rtol=0, atol=BETWEEN_ENGINES)
    torch = load_model(WEIGHTS, "torch", kernel="plain", dtype="float64")
    np.testing.assert_allclose(potential.features(graph), torch.features(graph), rtol=0, atol=BETWEEN_ENGINES)
