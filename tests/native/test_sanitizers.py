"""The kernels and the checks of the C interface under sanitizers, driven without Python."""

import os
import subprocess

import pytest

from tests.native.building import HERE, build, require_tools

FUZZED = {"address": 3000, "undefined": 300, "thread": 0}
"""Specifications with wrong fields: memory errors are the address sanitizer's."""


# Optimised as much as makes compiling and running shortest together.
@pytest.mark.parametrize(("sanitizer", "level"), [("address", 0), ("undefined", 1), ("thread", 1)])
def test_driver_runs_clean(sanitizer, level, tmp_path):
    require_tools("cmake", "g++")
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
        [tmp_path / "driver", str(FUZZED[sanitizer])],
        capture_output=True,
        text=True,
        env={**os.environ, **options},
        timeout=1200,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.endswith("passed\n")
    for bits in (32, 64):  # and whatever more this machine has
        assert f"base, {bits} bits, lmax 1: exercised" in ran.stdout
    assert "ERROR" not in ran.stderr
    assert "WARNING" not in ran.stderr
