"""e3nn and e3nn-jax judge the coupling tensors and the spherical harmonics of the core."""

import e3nn.o3
import e3nn_jax
import jax
import numpy as np
import pytest
import torch

from nequix.core.coupling import coupling, spherical_harmonics
from nequix.core.irreps import MAX_DEGREE
from tests.tolerances import PARITY_FLOAT64

DEGREES = range(MAX_DEGREE + 1)
HARMONICS = range(2 * MAX_DEGREE + 1)
TRIPLES = [
    (l1, l2, l3)
    for l1 in DEGREES
    for l2 in HARMONICS
    for l3 in DEGREES
    if abs(l1 - l2) <= l3 <= l1 + l2 and (l1 + l2 + l3) % 2 == 0
]


def _close(a, b):
    np.testing.assert_allclose(a, b, rtol=0, atol=PARITY_FLOAT64)


def test_coupling_is_e3nn_s():
    assert len(TRIPLES) == 55
    for degrees in TRIPLES:
        expected = e3nn.o3.wigner_3j(*degrees, dtype=torch.float64).numpy()
        _close(coupling(*degrees), np.sqrt(2 * degrees[2] + 1) * expected)


def test_coupling_is_e3nn_jax_s():
    for degrees in TRIPLES:
        expected = e3nn_jax.clebsch_gordan(*degrees)
        _close(np.linalg.norm(expected), 1.0)  # the norm of a 3j tensor, in spite of its name
        _close(coupling(*degrees), np.sqrt(2 * degrees[2] + 1) * expected)


@pytest.fixture(scope="module")
def units():
    vectors = np.random.default_rng(0).normal(size=(50, 3))
    special = np.concatenate([np.eye(3), -np.eye(3)])
    return np.concatenate([vectors / np.linalg.norm(vectors, axis=1, keepdims=True), special])


def test_harmonics_are_e3nn_s(units):
    expected = e3nn.o3.spherical_harmonics(
        list(HARMONICS), torch.tensor(units), normalize=False, normalization="component"
    )
    _close(spherical_harmonics(units, HARMONICS[-1]), expected.numpy())


def test_harmonics_are_e3nn_jax_s(units):
    with jax.enable_x64(True):
        vectors = e3nn_jax.IrrepsArray("1o", jax.numpy.asarray(units))
        expected = e3nn_jax.spherical_harmonics(
            list(HARMONICS), vectors, normalize=False, normalization="component"
        )
    _close(spherical_harmonics(units, HARMONICS[-1]), np.asarray(expected.array))
