import subprocess
import sys

import pytest

import nequix
from nequix import backends, engines
from nequix.native import library
from tests.calculator.small import ENGINES, write_small

HEAVY = "{'numpy', 'ase', 'scipy', 'jax', 'torch', 'equinox', 'optax', 'e3nn', 'e3nn_jax'}"


def run(code, *arguments):
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=nequix.__path__[0] + "/..")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_loads_nothing_heavy_and_is_quick():
    code = f"""
import sys, time
start = time.perf_counter()
import nequix
seconds = time.perf_counter() - start
dir(nequix), nequix.__version__
print({HEAVY} & set(sys.modules), seconds)
"""
    loaded, seconds = run(code).rsplit(" ", 1)
    assert loaded == "set()"
    assert float(seconds) < 0.3


def test_every_public_name_is_there():
    missing = [name for name in nequix.__all__ if not hasattr(nequix, name)]
    assert missing == []
    assert set(nequix.__all__) <= set(dir(nequix))
    with pytest.raises(AttributeError, match=r"no attribute 'Calculator'; it has .*NequixCalculator"):
        nequix.Calculator  # noqa: B018


@pytest.mark.parametrize("backend", ENGINES)
def test_one_backend_never_loads_the_other(backend, tmp_path):
    code = """
import sys
import numpy as np
from ase import Atoms
from nequix import NequixCalculator
backend, path, *others = sys.argv[1:]
atoms = Atoms("OH", [[0, 0, 0], [0.9, 0.3, 0.1]], cell=np.eye(3) * 5, pbc=True)
atoms.calc = NequixCalculator(path, backend)
atoms.get_forces(), atoms.get_stress()
print(sorted(set(others) & set(sys.modules)), backend in sys.modules)
"""
    others = {"jax": ["torch", "e3nn"], "torch": ["jax", "jaxlib", "equinox", "e3nn_jax"]}[backend]
    others.append("nequix." + {"jax": "torch", "torch": "jax"}[backend])
    assert run(code, backend, write_small(tmp_path), *others) == "[] True"


@pytest.mark.parametrize("backend", ENGINES)
def test_a_missing_framework_is_named_with_the_line_that_installs_it(backend):
    code = f"""
import sys
sys.modules[{backend!r}] = None  # as if it were not installed
import nequix
try:
    nequix.NequixCalculator("absent", {backend!r})
except nequix.BackendUnavailable as error:
    print(error)
"""
    assert f"[{backend}]" in run(code).partition("pip install")[2]


def test_installed_backends_are_found_without_an_import():
    code = "import sys, nequix; print(nequix.installed_backends(), {'jax', 'torch'} & set(sys.modules))"
    assert run(code) == "['native', 'jax', 'torch'] set()"


def test_a_backend_without_its_packages_is_not_listed(monkeypatch):
    monkeypatch.setitem(engines.ENGINES, "torch", ("torch", "no_such_package"))
    assert backends.installed_backends() == ["native", "jax"]


def test_an_unknown_backend_is_refused_with_the_choices():
    with pytest.raises(
        ValueError, match="backend = 'tensorflow', expected 'auto' or one of 'native', 'jax', 'torch'"
    ):
        nequix.load_model("nequix-mp-1", "tensorflow")


@pytest.mark.parametrize("installed", ENGINES)
def test_by_default_an_installed_backend_is_taken(installed, tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "installed_engines", lambda: [installed])
    monkeypatch.setattr(library, "path", lambda: tmp_path / "not built")
    path = write_small(tmp_path)
    assert nequix.load_model(path).backend == installed
    assert nequix.NequixCalculator(path).backend == installed
    assert nequix.NequixEnsembleCalculator([path, path]).backend == installed


def test_without_any_backend_the_default_names_the_command_that_installs_one(tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "installed_engines", list)
    monkeypatch.setattr(library, "path", lambda: tmp_path / "not built")
    for use in (nequix.load_model, nequix.NequixCalculator):
        with pytest.raises(
            nequix.BackendUnavailable, match=r"no backend .*not built.*: pip install .*\[jax\]"
        ):
            use(write_small(tmp_path))
