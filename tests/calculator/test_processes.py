"""Calculators in forked children, and where an engine cannot start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nequix import BackendUnavailable, backends, engines

ROOT = Path(__file__).parents[2]

FORK = """
import os, signal, sys
import numpy as np
from nequix import NequixCalculator, NequixEnsembleCalculator, load_model
from nequix.graphs.graph import graph_from_atoms
from tests.calculator.ensembles import members
from tests.calculator.small import WEIGHTS, salt, water

backend, kernel, *works = sys.argv[1:]
potential = load_model(WEIGHTS, backend, kernel=kernel)
ensemble = NequixEnsembleCalculator(members(2, ("readout",)), backend, kernel=kernel)
atoms = salt()
graph = graph_from_atoms(atoms, WEIGHTS.spec)
methods = {
    "evaluate": lambda: potential.evaluate(graph).forces,
    "ensemble": lambda: ensemble.get_forces(atoms),
    "features": lambda: potential.features(graph),
    "hessian_vector_product": lambda: potential.hessian_vector_product(graph, np.ones((8, 3))),
    "get_hessian": lambda: ensemble.get_hessian(water()),
    "construct": lambda: NequixCalculator(WEIGHTS, backend, kernel=kernel).get_forces(atoms),
}
if backend == "torch":
    import torch
    torch.set_num_threads(2)
else:
    import jax
    jax.numpy.ones(3).block_until_ready()
expected = {name: methods[name]() for name in works}
ensemble.reset()
for name, method in methods.items():
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # a hanging child is killed
        try:
            close = np.allclose(method(), expected[name], rtol=0, atol=1e-4)
            outcome = "equal" if close else "different"
        except Exception as error:
            outcome = type(error).__name__
            assert "'spawn'" in str(error), error
        print(name, outcome, flush=True)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, f"{name} hangs"
"""
METHODS = ("evaluate", "ensemble", "features", "hessian_vector_product", "get_hessian", "construct")


def _run(program, *arguments, **environment):
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", **environment}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, cwd=ROOT, env=variables, timeout=300, capture_output=True, text=True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize(
    ("backend", "kernel", "works"),
    [
        ("native", "native", METHODS),
        ("torch", "plain", METHODS),
        ("torch", "native", METHODS),
        ("jax", "plain", ()),
        ("jax", "native", ("evaluate", "ensemble", "features")),
    ],
)
def test_a_forked_child_calculates_or_raises_at_once(backend, kernel, works):
    ran = _run(FORK, backend, kernel, *works)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    outcomes = dict(line.split() for line in ran.stdout.splitlines())
    assert outcomes == {name: "equal" if name in works else "BackendUnavailable" for name in METHODS}


PLATFORMS = """
from nequix import BackendUnavailable, load_model
from tests.calculator.small import WEIGHTS
for device in (None, "cpu"):
    for attempt in range(2):  # the second failure of JAX is another one
        try:
            load_model(WEIGHTS, "jax", device=device)
        except BackendUnavailable as error:
            assert "'absent'" in str(error) and "JAX_PLATFORMS" in str(error), error
        else:
            raise SystemExit("JAX works without the platform")
    assert load_model(WEIGHTS, "auto", device=device).backend != "jax"
"""


def test_an_absent_platform_of_jax_is_an_error_with_the_reason_and_auto_takes_another_backend():
    ran = _run(PLATFORMS, JAX_PLATFORMS="absent")
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_no_working_backend_is_an_error_with_every_reason(monkeypatch):
    def fail(name):
        raise BackendUnavailable(f"{name} is broken")

    monkeypatch.setattr(engines, "import_engine", fail)
    with pytest.raises(BackendUnavailable, match=r"jax: jax is broken.*torch: torch is broken"):
        engines.first_working(["jax", "torch"])


def test_auto_takes_the_backend_that_has_the_device():
    assert engines.first_working(["jax", "torch"], "cpu") == "jax"
    with pytest.raises(BackendUnavailable, match=r"jax: device 'gpu:99'.*torch: device 'gpu:99'"):
        engines.first_working(["jax", "torch"], "gpu:99")


@pytest.mark.parametrize("error", [ImportError("a library is missing"), RuntimeError("version mismatch")])
def test_a_backend_that_cannot_be_imported_is_unavailable(monkeypatch, error):
    def fail(name):
        raise error

    monkeypatch.setattr(engines.importlib, "import_module", fail)
    with pytest.raises(BackendUnavailable, match=str(error)):
        backends.import_backend("jax")
