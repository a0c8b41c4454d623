"""Optimisers: what is updated by which, and what decays."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax.contrib import MuonDimensionNumbers, muon

from nequix.core.parameters import initialise, manifest
from nequix.core.spec import ModelSpec
from nequix.train.optimizer import FINAL_RATE, OptimizerConfig, make_optimizer, schedule

SPEC = ModelSpec(
    atomic_numbers=(1, 8, 29), avg_n_neighbors=10.0, scale=1.0, shift=0.0,
    hidden_irreps="8x0e + 4x1o", lmax=1, n_layers=1, radial_mlp_size=8,
)  # fmt: skip
RATE = 0.01


def config(name="muon", **changes):
    settings = {"learning_rate": RATE, "warmup_epochs": 0, "warmup_factor": 0.2, "weight_decay": 0.0}
    return OptimizerConfig(name, **{**settings, "gradient_clip": 1e9, **changes})


@pytest.fixture(scope="module")
def parameters():
    drawn = initialise(SPEC, seed=0)
    del drawn["atom_energies"]
    return {name: jnp.asarray(values, jnp.float32) for name, values in drawn.items()}


def gradients(parameters, seed):
    rng = np.random.default_rng(seed)
    return {n: jnp.asarray(rng.normal(size=x.shape), jnp.float32) for n, x in parameters.items()}


def updates(optimizer, parameters, n_steps=3):
    """Take steps with the same gradients every time; return the updates of the last."""
    state = optimizer.init(parameters)
    for step in range(n_steps):
        update, state = jax.jit(optimizer.update)(gradients(parameters, step), state, parameters)
    return update


def make(settings, parameters):
    return make_optimizer(settings, SPEC, parameters, optax.constant_schedule(settings.learning_rate))


def test_muon_updates_matrices_and_adam_the_rest(parameters):
    update = updates(make(config(), parameters), parameters)
    adam = updates(optax.adam(RATE, nesterov=True), parameters)  # Nesterov, as in optax's own Muon
    kinds = {p.name: p.muon for p in manifest(SPEC) if p.learned}
    assert set(kinds.values()) == {True, False}
    assert kinds.keys() == update.keys()
    for name, is_matrix in kinds.items():
        assert is_matrix == (parameters[name].ndim == 2)
        if is_matrix:
            # Orthogonal up to what five iterations leave: singular values near one, times the shape's factor.
            n_in, n_out = parameters[name].shape
            singular = np.linalg.svd(update[name] / (RATE * max(1, n_out / n_in) ** 0.5), compute_uv=False)
            assert singular.min() > 0.5, name
            assert singular.max() < 1.3, name
        else:
            np.testing.assert_allclose(update[name], adam[name], rtol=1e-5)


def test_muon_is_optax_s_own(parameters):
    matrices = {p.name: MuonDimensionNumbers() if p.muon else None for p in manifest(SPEC) if p.learned}
    expected = updates(muon(RATE, muon_weight_dimension_numbers=matrices), parameters)
    for name, update in updates(make(config(), parameters), parameters).items():
        np.testing.assert_allclose(update, expected[name], rtol=1e-5, atol=1e-8, err_msg=name)


def test_adamw_updates_all(parameters):
    update = updates(make(config("adamw"), parameters), parameters)
    for name, expected in updates(optax.adam(RATE), parameters).items():
        np.testing.assert_allclose(update[name], expected, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_weight_decay_acts_on_matrices_only(parameters, name):
    without = updates(make(config(name), parameters), parameters, 1)
    update = updates(make(config(name, weight_decay=0.1), parameters), parameters, 1)
    for parameter in manifest(SPEC):
        if parameter.learned:
            decay = -RATE * 0.1 * parameters[parameter.name] * parameter.decay
            difference = update[parameter.name] - without[parameter.name]
            np.testing.assert_allclose(difference, decay, atol=1e-7, err_msg=parameter.name)
    assert [p.decay for p in manifest(SPEC) if p.learned] == [p.muon for p in manifest(SPEC) if p.learned]


def test_gradients_are_clipped_by_their_global_norm(parameters):
    clipped = make(config("adamw", gradient_clip=1.0), parameters)
    small = gradients(parameters, 0)
    norm = float(optax.tree.norm(small))
    scaled = jax.tree.map(lambda x: x / norm, small)
    state = clipped.init(parameters)
    first = clipped.update(small, state, parameters)[1]
    second = clipped.update(scaled, state, parameters)[1]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), first, second)


def test_the_rate_warms_up_and_falls_to_almost_nothing():
    rate = schedule(config(warmup_epochs=0.5), 1000, 100)
    assert rate(0) == pytest.approx(0.2 * RATE)
    assert rate(25) == pytest.approx(0.6 * RATE)
    assert rate(50) == pytest.approx(RATE)
    assert rate(525) == pytest.approx((RATE + FINAL_RATE) / 2)
    assert rate(1000) == pytest.approx(FINAL_RATE)


def test_only_the_trained_parameters_have_a_state(parameters):
    some = {name: parameters[name] for name in list(parameters)[:3]}
    assert updates(make(config(), some), some).keys() == some.keys()
