"""The kernels and the checks of the C interface under sanitizers, driven without Python."""

import os
import subprocess

import pytest

from nequix.native.export import export_model
from tests.kernels.engines import spec_with
from tests.native.building import HERE, build, require_tools
from tests.systems import random_weights

FUZZED = {"address": 3000, "undefined": 300, "thread": 0}
"""Specifications with wrong fields, and damaged model files: memory errors are the address sanitizer's."""


# Optimised as much as makes compiling and running shortest together.
@pytest.mark.parametrize(("sanitizer", "level"), [("address", 0), ("undefined", 1), ("thread", 1)])
def test_driver_runs_clean(sanitizer, level, tmp_path):
    require_tools("cmake", "g++")
    spec = spec_with("2x0e + 1x1o", lmax=1, n_layers=2)
    export_model(random_weights(spec, 0), tmp_path / "tiny.lammps", ["float32"])
    build(
        tmp_path,
        f"-DNEQUIX_SANITIZE={sanitizer}",
        f"-DNEQUIX_OPTIMISE=-O{level}",
        f"-DNEQUIX_DRIVER={HERE / 'driver.cpp'}",
        "-DCMAKE_CXX_COMPILER=g++",
        targets=("driver",),
    )
    options = {"ASAN_OPTIONS": "detect_leaks=0"}  # leaks are looked for by tracing, which containers forbid
    ran = subprocess.run(
        [tmp_path / "driver", str(FUZZED[sanitizer]), tmp_path / "tiny.lammps"],
        capture_output=True,
        text=True,
        env={**os.environ, **options},
        timeout=1200,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.endswith("passed\n")
    for bits in (32, 64):  # and whatever more this machine has
        assert f"base, {bits} bits, lmax 1: exercised" in ran.stdout
    assert "model files opened" in ran.stdout
    assert "ERROR" not in ran.stderr
    assert "WARNING" not in ran.stderr
