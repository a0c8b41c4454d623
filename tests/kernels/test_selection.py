"""Kernels are chosen by name, never fall back in silence, and are imported only when they are wanted."""

import os
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nequix.core.errors import BackendUnavailable, SpecError
from nequix.native import library
from tests.kernels.engines import ENGINES, engine, spec_with
from tests.systems import random_weights

ROOT = Path(__file__).parents[2]
E3NN = {"jax": ("e3nn_jax",), "torch": ("e3nn.o3", "e3nn")}
BROKEN = "raise OSError('libcuda.so.1: cannot open shared object file')\n"

pytestmark = pytest.mark.parametrize("name", ENGINES)


@pytest.fixture
def kernels(name):
    return engine(name).kernels


def _remove(monkeypatch, *modules):
    *children, root = modules
    for child in children:
        monkeypatch.delitem(sys.modules, child, raising=False)
    monkeypatch.setitem(sys.modules, root, None)


def _break(monkeypatch, folder, *modules):
    for module in modules:
        monkeypatch.delitem(sys.modules, module, raising=False)
    (folder / f"{modules[-1]}.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(folder)


def test_kernels_are_named(kernels):
    assert kernels.KERNELS == ("plain", "native", "e3nn", "openequivariance")
    for name in ("plain", "native", "e3nn"):
        assert kernels.select_kernel(name, "cpu").name == name


def test_kernel_of_potential_is_the_one_asked_for(name):
    weights = random_weights(spec_with("2x0e", lmax=0), 0)
    for kernel, expected in (("auto", "native"), ("plain", "plain"), ("native", "native"), ("e3nn", "e3nn")):
        potential = engine(name).potential.Potential(weights, kernel=kernel, device="cpu")
        assert potential.kernel.name == expected


def test_auto_is_native_on_a_cpu_for_models_that_it_can_run(kernels):
    assert kernels.select_kernel("auto", "cpu", spec_with("2x0e + 1x3o", lmax=3)).name == "native"
    assert kernels.select_kernel("auto", "cpu").name == "plain"  # as for training
    for spec, reason in (
        (spec_with("2x0e + 1x4e", lmax=4), "up to degree 3"),
        (replace(spec_with("2x0e", lmax=0), radial_polynomial_p=2.5), "radial_polynomial_p"),
    ):
        with pytest.warns(RuntimeWarning, match=f"takes 'plain': .*{reason}"):
            assert kernels.select_kernel("auto", "cpu", spec).name == "plain"


def test_native_refuses_models_that_it_cannot_run(name):
    weights = random_weights(spec_with("2x0e + 1x4e", lmax=4), 0)
    with pytest.raises(SpecError, match=r"up to degree 3.*kernel='plain'"):
        engine(name).potential.Potential(weights, kernel="native", device="cpu")


def test_native_that_was_not_built_is_an_error_with_a_hint(kernels, monkeypatch, tmp_path):
    monkeypatch.setattr(library, "path", lambda: tmp_path / "libnequix.so")
    library.load.cache_clear()
    with pytest.raises(BackendUnavailable, match=r"were not built .*compiler.*kernel='plain'"):
        kernels.select_kernel("native", "cpu")
    library.tell_missing.cache_clear()
    assert kernels.select_kernel("auto", "cpu").name == "plain"  # as for training: nothing is missed
    with pytest.warns(RuntimeWarning, match=r"takes 'plain', .*not built.*compiler"):
        assert kernels.select_kernel("auto", "cpu", spec_with("2x0e", lmax=0)).name == "plain"
    with warnings.catch_warnings(action="error"):  # warned once
        assert kernels.select_kernel("auto", "cpu", spec_with("2x0e", lmax=0)).name == "plain"
    assert kernels.available_kernels("cpu") == ("plain", "e3nn")
    (tmp_path / "libnequix.so").write_bytes(b"no library")
    with pytest.raises(BackendUnavailable, match="cannot be loaded"):
        kernels.select_kernel("native", "cpu")
    with pytest.warns(RuntimeWarning, match="takes 'plain': .*cannot be loaded"):
        assert kernels.select_kernel("auto", "cpu", spec_with("2x0e", lmax=0)).name == "plain"
    shutil.copy(np.linalg._umath_linalg.__file__, tmp_path / "libnequix.so")
    with pytest.raises(BackendUnavailable, match=r"another version .*no nequix_create.*reinstall nequix"):
        kernels.select_kernel("native", "cpu")


def test_native_of_another_version_is_an_error(kernels, monkeypatch):
    monkeypatch.setattr(library, "LayerStruct", library.PathStruct)
    library.load.cache_clear()
    with pytest.raises(BackendUnavailable, match=r"another version .*other structures.*reinstall nequix"):
        kernels.select_kernel("native", "cpu")


def test_a_device_that_is_not_there_names_those_that_are(kernels):
    with pytest.raises(
        BackendUnavailable, match=r"'tpu' is not there .*there are: cpu.*; choose one of them, or"
    ):
        kernels.find_device("tpu")


def test_native_on_a_gpu_names_the_kernel_to_use(kernels):
    with pytest.raises(BackendUnavailable, match=r"runs on a CPU.*kernel='plain'"):
        kernels.select_kernel("native", "gpu")


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [("plian", "plain"), ("E3NN", "e3nn"), ("oeq", None), ("openequivarience", "openequi")],
)
def test_unknown_kernel_is_an_error_that_lists_the_kernels(kernels, wrong, nearest):
    with pytest.raises(
        ValueError, match=rf"kernel = '{wrong}', but the kernels are \('auto', 'plain'"
    ) as caught:
        kernels.select_kernel(wrong, "cpu")
    assert (
        (f"did you mean '{nearest}" in str(caught.value)) if nearest else ("did you" not in str(caught.value))
    )


def test_missing_e3nn_is_an_error_with_the_install_line(kernels, name, monkeypatch):
    _remove(monkeypatch, *E3NN[name])
    with pytest.raises(BackendUnavailable, match=rf'not installed .*pip install .*\[e3nn-{name}\]"'):
        kernels.select_kernel("e3nn", "cpu")
    assert kernels.available_kernels("cpu") == ("plain", "native")


def test_broken_e3nn_is_an_error_with_the_reason(kernels, name, monkeypatch, tmp_path):
    _break(monkeypatch, tmp_path, *E3NN[name])
    with pytest.raises(BackendUnavailable, match=r"does not work \(OSError: libcuda") as caught:
        kernels.select_kernel("e3nn", "cpu")
    assert isinstance(caught.value.__cause__, OSError)


def test_openequivariance_on_a_cpu_names_the_kernel_to_use(kernels, double):
    with pytest.raises(BackendUnavailable, match=r"needs a GPU.*kernel='plain'"):
        kernels.select_kernel("openequivariance", "cpu")
    assert kernels.select_kernel("auto", "cpu").name == "plain"
    assert kernels.available_kernels("cpu") == ("plain", "native", "e3nn")
    assert double.problems == []


@pytest.mark.parametrize("platform", ["gpu", "cuda"])
def test_openequivariance_is_taken_on_a_gpu_where_it_is_installed(kernels, double, platform):
    assert kernels.select_kernel("auto", platform).name == "openequivariance"
    assert kernels.select_kernel("openequivariance", platform).name == "openequivariance"
    assert kernels.available_kernels(platform) == ("plain", "e3nn", "openequivariance")


def test_missing_openequivariance_is_an_error_with_the_install_line(kernels, monkeypatch):
    _remove(monkeypatch, "openequivariance.jax", "openequivariance")
    with pytest.raises(BackendUnavailable, match=r'not installed .*pip install .*\[openequivariance\]"'):
        kernels.select_kernel("openequivariance", "gpu")
    assert kernels.select_kernel("auto", "gpu").name == "plain"  # and no warning: nothing was promised


def test_missing_half_of_openequivariance_is_an_error(kernels, name, double, monkeypatch):
    if name == "jax":
        monkeypatch.delitem(sys.modules, "openequivariance.jax")
        expected = r"does not work \(ModuleNotFoundError: No module named 'openequivariance.jax'"
    else:
        monkeypatch.setattr(sys.modules["openequivariance"], "TensorProductConv", None)
        expected = r"does not work \(RuntimeError: openequivariance was imported without its PyTorch half"
    with pytest.raises(BackendUnavailable, match=expected):
        kernels.select_kernel("openequivariance", "gpu")


def test_missing_jax_extension_is_an_error_for_jax_only(kernels, name, double, monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "openequivariance.jax")
    monkeypatch.setattr(sys.modules["openequivariance"], "__path__", [str(tmp_path)])
    (tmp_path / "jax.py").write_text("import openequivariance_extjax\n")
    if name == "torch":
        assert kernels.select_kernel("openequivariance", "gpu").name == "openequivariance"
    else:
        with pytest.raises(
            BackendUnavailable, match=r"openequivariance_extjax is missing.*no-build-isolation"
        ):
            kernels.select_kernel("openequivariance", "gpu")


def test_broken_openequivariance_is_an_error_and_auto_warns(kernels, monkeypatch, tmp_path):
    _break(monkeypatch, tmp_path, "openequivariance.jax", "openequivariance")
    with pytest.raises(BackendUnavailable, match=r"does not work \(OSError: libcuda.*kernel='plain'"):
        kernels.select_kernel("openequivariance", "gpu")
    with pytest.warns(RuntimeWarning, match=r"kernel='auto' takes 'plain': .*OSError: libcuda"):
        assert kernels.select_kernel("auto", "gpu").name == "plain"
    assert "openequivariance" not in kernels.available_kernels("gpu")


def test_openequivariance_that_imports_but_cannot_run_is_found_out_at_once(
    kernels, name, double, monkeypatch
):
    def fail(*args, **kwargs):
        raise ImportError("Could not import DeviceProp: OpenEquivariance extension build not attempted")

    package = "openequivariance.jax" if name == "jax" else "openequivariance"
    monkeypatch.setattr(sys.modules[package], "TensorProductConv", fail)
    with pytest.raises(BackendUnavailable, match=r"does not work \(ImportError: Could not import DeviceProp"):
        kernels.select_kernel("openequivariance", "gpu")


SCRIPT = """
import sys
from nequix.{name}.kernels import available_kernels, select_kernel
third = [m for m in ("e3nn", "e3nn_jax", "openequivariance") if m in sys.modules]
if third: raise SystemExit(f"import: {{third}}")
select_kernel("auto", "cpu")
third = [m for m in ("e3nn", "e3nn_jax", "openequivariance") if m in sys.modules]
if third: raise SystemExit(f"auto: {{third}}")
found = available_kernels("gpu")
if found != ("plain", "e3nn", "openequivariance"): raise SystemExit(str(found))
if "{other}" in sys.modules: raise SystemExit("the other framework was imported")
"""
PACKAGE = """
import os
class TPProblem:
    def __init__(self, *args, **kwargs): pass
class TensorProductConv(TPProblem): pass
if os.environ.get("OEQ_NOTORCH") != "1": import torch
"""


def test_kernels_are_imported_when_wanted_and_never_the_other_framework(name, tmp_path):
    (tmp_path / "openequivariance").mkdir()
    for module in ("__init__", "jax"):
        text = PACKAGE if module == "__init__" else "from openequivariance import TensorProductConv\n"
        (tmp_path / "openequivariance" / f"{module}.py").write_text(text)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    environment.pop("OEQ_NOTORCH", None)
    code = SCRIPT.format(name=name, other={"jax": "torch", "torch": "jax"}[name])
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
