"""What a calling program sets up in NumPy, JAX and PyTorch changes no number and breaks nothing."""

import contextlib
from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest
import torch

from nequix import NequixCalculator, load_model, load_weights
from nequix.graphs.graph import graph_from_atoms
from tests.calculator.small import WEIGHTS, water


@contextlib.contextmanager
def _setting(change, value, usual):
    change(value)
    try:
        yield
    finally:
        change(usual)


@contextlib.contextmanager
def _jax(name, value):
    usual = getattr(jax.config, name)
    with _setting(partial(jax.config.update, name), value, usual):
        yield


NUMPY = {"seterr": lambda: np.errstate(all="raise")}
JAX = {
    **NUMPY,
    "rank promotion": lambda: _jax("jax_numpy_rank_promotion", "raise"),
    "dtype promotion": lambda: _jax("jax_numpy_dtype_promotion", "strict"),
    "debug nans": lambda: _jax("jax_debug_nans", True),
    "debug infs": lambda: _jax("jax_debug_infs", True),
    "disable jit": lambda: _jax("jax_disable_jit", True),
    "tracer leaks": lambda: _jax("jax_check_tracer_leaks", True),
    "x64 on": lambda: _jax("jax_enable_x64", True),
    "x64 off": lambda: _jax("jax_enable_x64", False),
    "bfloat16 products": lambda: _jax("jax_default_matmul_precision", "bfloat16"),
    "transfer guard": lambda: jax.transfer_guard("disallow"),
}
TORCH = {
    **NUMPY,
    "default device": lambda: _setting(torch.set_default_device, "meta", None),
    "float64": lambda: _setting(torch.set_default_dtype, torch.float64, torch.float32),
    "float16": lambda: _setting(torch.set_default_dtype, torch.float16, torch.float32),
    "no gradients": lambda: _setting(torch.set_grad_enabled, False, True),
    "inference mode": torch.inference_mode,
    "deterministic": lambda: _setting(torch.use_deterministic_algorithms, True, False),
    "bfloat16 products": lambda: _setting(torch.set_float32_matmul_precision, "medium", "highest"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "anomalies": lambda: _setting(partial(torch.autograd.set_detect_anomaly, check_nan=True), True, False),
}
CASES = [
    *(("jax", "plain", name) for name in JAX),
    *(("jax", "native", name) for name in JAX),
    *(("jax", "e3nn", name) for name in ("seterr", "rank promotion", "dtype promotion", "x64 on")),
    *(("torch", "plain", name) for name in TORCH),
    *(("torch", "native", name) for name in TORCH),
    *(("torch", "e3nn", name) for name in ("seterr", "default device", "float64", "inference mode")),
    ("native", "native", "seterr"),
]
SETTINGS = {"jax": JAX, "torch": TORCH, "native": NUMPY}


def _evaluate(potential):
    """All that engines compute: energies, forces, features and a product with the Hessian."""
    graph = graph_from_atoms(water(), WEIGHTS.spec)
    results = potential.evaluate(graph)
    values = [results.energies, results.forces]
    if potential.backend != "native":
        values += [potential.features(graph), potential.hessian_vector_product(graph, np.ones((3, 3)))]
    return values


@pytest.fixture(scope="module")
def usual():
    """Potentials and their values without any settings, made when they are first asked for."""
    made = {}

    def get(backend, kernel):
        if (backend, kernel) not in made:
            potential = load_model(WEIGHTS, backend, kernel=kernel)
            made[backend, kernel] = potential, _evaluate(potential)
        return made[backend, kernel]

    return get


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
@pytest.mark.parametrize(("backend", "kernel", "name"), CASES)
def test_a_setting_of_the_caller_changes_no_number(usual, backend, kernel, name):
    if kernel == "e3nn":
        pytest.importorskip({"jax": "e3nn_jax", "torch": "e3nn"}[backend])
    potential, expected = usual(backend, kernel)
    with SETTINGS[backend][name]():
        values = _evaluate(potential)
        load_model(WEIGHTS, backend, kernel=kernel)  # and it can be constructed there
    for value, reference in zip(values, expected, strict=True):
        np.testing.assert_array_equal(value, reference)


def test_a_model_that_was_never_loaded_is_constructed_where_numpy_raises():
    nano = load_weights("nequix-nano")  # its radial functions underflow when they are tabulated
    changed = {**nano.parameters, "atom_energies": nano.parameters["atom_energies"] + 1}
    weights = replace(nano, parameters=changed)  # the library keeps the tables of models that it knows
    with np.errstate(all="raise"):
        atoms = water()
        atoms.calc = NequixCalculator(weights, "native")
        assert np.isfinite(atoms.get_forces()).all()


def test_the_settings_of_the_caller_are_restored(usual):
    with JAX["rank promotion"](), JAX["debug nans"]():
        _evaluate(usual("jax", "plain")[0])
        assert (jax.config.jax_numpy_rank_promotion, jax.config.jax_debug_nans) == ("raise", True)
    with TORCH["bfloat16 products"](), TORCH["no gradients"](), np.errstate(under="raise"):
        _evaluate(usual("torch", "plain")[0])
        assert torch.get_float32_matmul_precision() == "medium"
        assert not torch.is_grad_enabled()
        assert np.geterr()["under"] == "raise"
    assert torch.get_float32_matmul_precision() == "highest"
