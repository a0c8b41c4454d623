"""The native backend: the compiled library by itself, and how ``auto`` chooses it."""

import copy
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

import nequix.torch
from nequix import NequixCalculator, NequixEnsembleCalculator, backends, engines
from nequix.core.errors import BackendUnavailable, GraphError, SpecError
from nequix.native import EnsemblePotential, Potential, library
from tests.kernels.engines import spec_with
from tests.native.models import plain
from tests.native.tolerances import RELATIVE, SINGLE
from tests.systems import random_weights, structure

SPEC = spec_with("3x0e + 2x1o + 1x2e", lmax=2)
WEIGHTS = random_weights(SPEC, 3)
GRAPH = structure(SPEC, 0, 3)
ROOT = Path(__file__).parents[2]


def assert_equal(results, expected):
    for name in ("energy", "energies", "forces", "stress"):
        np.testing.assert_array_equal(getattr(results, name), getattr(expected, name))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_backend_gives_the_numbers_of_the_engines_native_kernel(dtype):
    engine = nequix.torch.Potential(WEIGHTS, kernel="native", dtype=dtype, device="cpu")
    potential = Potential(WEIGHTS, dtype=dtype)
    assert_equal(potential.evaluate(GRAPH), engine.evaluate(GRAPH))
    assert (potential.backend, potential.kernel.name, potential.platform) == ("native", "native", "cpu")
    assert potential.kernel.n_calls == 1


def test_forces_and_stress_are_those_of_the_plain_kernel():
    results, expected = Potential(WEIGHTS, dtype="float64").evaluate(GRAPH), plain(WEIGHTS, GRAPH)
    for name in ("energies", "forces", "stress"):
        scale = np.nanmax(np.abs(getattr(expected, name)))
        np.testing.assert_allclose(
            getattr(results, name), getattr(expected, name), rtol=0, atol=RELATIVE * scale
        )


@pytest.mark.parametrize("threads", [1, 3])
def test_features_are_those_of_the_plain_kernel(threads):
    engine = nequix.torch.Potential(WEIGHTS, kernel="plain", dtype="float64", device="cpu")
    expected = engine.features(GRAPH)
    features = Potential(WEIGHTS, dtype="float64", threads=threads).features(GRAPH)
    np.testing.assert_allclose(features, expected, rtol=0, atol=RELATIVE * np.abs(expected).max())
    single = Potential(WEIGHTS, threads=threads).features(GRAPH)
    np.testing.assert_allclose(single, expected, rtol=0, atol=SINGLE * np.abs(expected).max())


def test_an_ensemble_is_its_members():
    members = [WEIGHTS, random_weights(SPEC, 4)]
    ensemble = EnsemblePotential(members, dtype="float64", threads=2)
    assert ensemble.threads == 2
    assert ensemble.platform == "cpu"
    for results, weights in zip(ensemble.evaluate(GRAPH).members, members, strict=True):
        assert_equal(results, Potential(weights, dtype="float64", threads=2).evaluate(GRAPH))
    assert [potential.kernel.n_calls for potential in ensemble.potentials] == [1, 1]


def test_copies_give_the_same():
    potential = Potential(WEIGHTS, dtype="float64", threads=1)
    expected = potential.evaluate(GRAPH)
    for other in (copy.deepcopy(potential), pickle.loads(pickle.dumps(potential))):  # noqa: S301 - our own
        assert_equal(other.evaluate(GRAPH), expected)


def test_second_derivatives_are_those_of_an_engine():
    potential = Potential(WEIGHTS, dtype="float64")
    engine = nequix.torch.Potential(WEIGHTS, kernel="plain", dtype="float64", device="cpu")
    direction = np.random.default_rng(0).normal(size=(GRAPH.n_nodes, 3))
    product = potential.hessian_vector_product(GRAPH, direction)
    expected = engine.hessian_vector_product(GRAPH, direction)
    np.testing.assert_allclose(product, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def test_without_an_engine_second_derivatives_name_the_command_that_installs_one(monkeypatch):
    monkeypatch.setattr(engines, "installed_engines", list)
    with pytest.raises(BackendUnavailable, match=r"second derivatives need an engine.*pip install"):
        Potential(WEIGHTS).hessian(GRAPH)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"kernel": "plain"}, BackendUnavailable, "choose backend='jax' or backend='torch'"),
        ({"device": "gpu"}, BackendUnavailable, "runs on a CPU, not on 'gpu'"),
        ({"dtype": "float16"}, ValueError, "dtype = 'float16', but the precisions are"),
        ({"threads": 0}, ValueError, "threads = 0, expected a whole number"),
    ],
)
def test_what_the_backend_cannot_do_is_an_error(options, error, message):
    with pytest.raises(error, match=message):
        Potential(WEIGHTS, **options)


def test_a_model_beyond_the_library_is_an_error():
    with pytest.raises(SpecError, match="up to degree 3"):
        Potential(random_weights(spec_with("2x0e + 1x4e", lmax=4), 0))


def test_a_graph_of_another_cutoff_is_an_error():
    other = structure(replace(SPEC, cutoff=SPEC.cutoff + 1), 0, 3)
    with pytest.raises(GraphError, match="cutoff"):
        Potential(WEIGHTS).evaluate(other)


def test_auto_is_native_unless_something_else_is_asked_for(monkeypatch):
    monkeypatch.setattr(engines, "installed_engines", lambda: ["torch"])
    monkeypatch.setattr(backends, "_has_gpu", lambda: False)
    assert backends.choose_backend("auto", SPEC) == "native"
    assert backends.choose_backend("auto", SPEC, kernel="plain") == "torch"
    with pytest.raises(BackendUnavailable, match="'gpu'"):  # an engine is asked, and has none
        backends.choose_backend("auto", SPEC, device="gpu")
    assert backends.choose_backend("auto", spec_with("2x0e + 1x4e", lmax=4)) == "torch"
    assert backends.choose_backend("jax", SPEC) == "jax"
    monkeypatch.setattr(backends, "_has_gpu", lambda: True)
    assert backends.choose_backend("auto", SPEC) == "torch"
    assert backends.choose_backend("auto", SPEC, device="cpu") == "native"
    monkeypatch.setattr(engines, "installed_engines", list)
    assert backends.choose_backend("auto", SPEC) == "native"
    with pytest.raises(BackendUnavailable, match="does not support the request"):
        backends.choose_backend("auto", SPEC, device="gpu")


def test_a_library_that_was_not_built_is_left_out(monkeypatch, tmp_path):
    monkeypatch.setattr(library, "path", lambda: tmp_path / "libnequix.so")
    assert "native" not in backends.installed_backends()
    assert backends.choose_backend("auto", SPEC) in engines.ENGINES


SCRIPT = """
import sys
from nequix import engines
from nequix.cli import main
engines.installed_engines = list  # as if there were none
try:
    main()
finally:
    if {"jax", "torch"} & set(sys.modules):
        raise SystemExit("an engine was imported")
"""


@pytest.mark.parametrize(
    ("command", "output"),
    [
        ("predict {crystal} -o {folder}/predicted.extxyz", "predicted.extxyz"),
        ("relax {crystal} -o {folder}/relaxed.extxyz --cell", "relaxed.extxyz"),
        ("coverage {crystal} -o {folder}/coverage", "coverage/report.md"),
        ("select {crystal} -n 1 -o {folder}/selected.extxyz", "selected.extxyz"),
        ("evaluate errors {crystal} -o {folder}/errors", "errors/report.md"),
        ("evaluate physics --checks equivariance -o {folder}/physics", "physics/report.md"),
        ("evaluate speed --sizes 8 --rounds 1 --no-memory -o {folder}/speed", "speed/report.md"),
    ],
)
def test_commands_run_without_an_engine(command, output, tmp_path):
    crystal = bulk("NaCl", "rocksalt", a=5.6)
    crystal.rattle(0.1, seed=1)
    crystal.calc = NequixCalculator("nequix-nano", "native")
    crystal.get_stress()
    crystal.write(tmp_path / "crystal.extxyz")
    arguments = command.format(crystal=tmp_path / "crystal.extxyz", folder=tmp_path).split()
    run = [sys.executable, "-c", SCRIPT, *arguments, "--model", "nequix-nano"]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / output).exists()


def test_an_ensemble_calculator_takes_the_backend():
    calculator = NequixEnsembleCalculator([WEIGHTS, random_weights(SPEC, 4)], "native", dtype="float64")
    assert calculator.backend == "native"
    assert calculator.parameters["backend"] == "native"
