"""Tables of radial functions: as near to the MLP as they say."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from nequix.core.errors import SpecError
from nequix.io.catalogue import ENTRIES, load_published
from nequix.native import radial
from nequix.native.model import NativeModel
from nequix.native.radial import BOUNDS, radial_mlp, tabulate
from nequix.torch import Potential, layers
from tests.kernels.engines import spec_with
from tests.native.models import SEEDS, native_specifications
from tests.systems import random_weights


def matrices_of(weights):
    return [
        [
            np.asarray(weights.parameters[f"layers.{t}.radial.{i}"], np.float64)
            for i in range(weights.spec.radial_mlp_layers + 1)
        ]
        for t in range(weights.spec.n_layers)
    ]


def evaluate(tables, layer, distances, cutoff):
    """Evaluate a table and its slope, as the library does."""
    cells = (distances / cutoff * len(tables.cells)).astype(int)
    segment = tables.cells[np.minimum(cells, len(tables.cells) - 1)]
    t = ((distances - tables.middles[segment]) / tables.halves[segment])[:, None]
    value, slope = np.zeros((len(t), 1)), np.zeros((len(t), 1))
    for power in range(tables.coefficients[layer].shape[-1] - 1, -1, -1):
        slope = slope * t + value
        value = value * t + tables.coefficients[layer][segment, :, power]
    return value, slope / tables.halves[segment][:, None], tables.halves[segment][:, None]


def assert_within_bounds(weights, dtype):
    tables, spec = tabulate(matrices_of(weights), weights.spec, dtype), weights.spec
    assert tables.error <= BOUNDS[dtype]
    distances = np.random.default_rng(0).uniform(1e-3, spec.cutoff, 4000)
    for layer, matrices in enumerate(matrices_of(weights)):
        values, slopes = radial_mlp(matrices, distances, spec)
        found, steepness, half = evaluate(tables, layer, distances, spec.cutoff)
        allowed = (
            3 * BOUNDS[dtype] * np.abs(values).max()
        )  # judged at places that the table was not judged at
        assert np.abs(found - values).max() <= allowed
        assert np.abs((steepness - slopes) * half).max() <= allowed


@given(spec=native_specifications(2), seed=SEEDS)
@settings()
def test_tables_are_within_their_bounds(spec, seed):
    for dtype in BOUNDS:
        assert_within_bounds(random_weights(spec, seed), dtype)


@pytest.mark.parametrize("name", ENTRIES)
@pytest.mark.parametrize("dtype", BOUNDS)
def test_tables_of_published_models_are_within_their_bounds(name, dtype, published_folder):
    assert_within_bounds(load_published(published_folder / ENTRIES[name].file), dtype)


def test_radial_mlp_is_the_engines():
    spec = spec_with("2x0e + 1x1o", lmax=1)
    matrices = matrices_of(random_weights(spec, 1))[0]
    distances = torch.linspace(0.01, spec.cutoff, 50, dtype=torch.float64, requires_grad=True)
    weights = layers.radial_mlp([torch.tensor(m) for m in matrices], layers.radial_basis(distances, spec))
    values, slopes = radial_mlp(matrices, distances.detach().numpy(), spec)
    np.testing.assert_allclose(values, weights.detach(), rtol=1e-12, atol=1e-12)
    for column in range(weights.shape[1]):
        (slope,) = torch.autograd.grad(weights[:, column].sum(), distances, retain_graph=True)
        np.testing.assert_allclose(slopes[:, column], slope, rtol=1e-9, atol=1e-9)


def test_models_of_the_same_weights_share_their_tables():
    spec = spec_with("2x0e + 1x1o", lmax=1)
    first, second = (NativeModel(random_weights(spec, 1), "float64") for _ in range(2))
    assert first.tables is second.tables
    for other in (NativeModel(random_weights(spec, 2), "float64"), NativeModel(random_weights(spec, 1))):
        assert other.tables is not first.tables


def test_functions_that_are_not_finite_are_refused():
    weights = random_weights(spec_with("2x0e", lmax=0), 0)
    parameters = {**weights.parameters, "layers.0.radial.0": np.nan * weights.parameters["layers.0.radial.0"]}
    with pytest.raises(SpecError, match="not finite"):
        NativeModel(replace(weights, parameters=parameters), "float64")


def test_functions_too_steep_are_refused(monkeypatch):
    weights = random_weights(spec_with("2x0e", lmax=0), 0)
    monkeypatch.setattr(radial, "_MOST_HALVINGS", 0)
    with pytest.raises(SpecError, match="too steep for a table"):
        Potential(weights, kernel="native", dtype="float64", device="cpu")
    with pytest.warns(RuntimeWarning, match="takes 'plain': .*too steep"):
        assert Potential(weights, dtype="float64", device="cpu").kernel.name == "plain"
