"""The kernels under sanitizers, driven without Python, and their source for AArch64."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "nequix" / "native" / "src"
CROSS = "aarch64-linux-gnu-g++"


def missing(*tools):
    return [tool for tool in tools if shutil.which(tool) is None]


def build(folder, *options):
    given = (f"-DPython_EXECUTABLE={sys.executable}", *options)
    for command in (
        ["cmake", "-S", SOURCE, "-B", folder, *given],
        ["cmake", "--build", folder, "--parallel", "2"],
    ):
        ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.skipif(missing("cmake", "g++"), reason="cmake or g++ is missing")
# Optimised as much as makes compiling and running shortest together.
@pytest.mark.parametrize(("sanitizer", "level"), [("address", 0), ("undefined", 1), ("thread", 1)])
def test_driver_runs_clean(sanitizer, level, tmp_path):
    driver = ROOT / "tests" / "native" / "driver.cpp"
    build(
        tmp_path,
        f"-DNEQUIX_SANITIZE={sanitizer}",
        f"-DNEQUIX_OPTIMISE=-O{level}",
        f"-DNEQUIX_DRIVER={driver}",
        "-DCMAKE_CXX_COMPILER=g++",
    )
    options = {"ASAN_OPTIONS": "detect_leaks=0"}  # leaks are looked for by tracing, which containers forbid
    ran = subprocess.run(
        [tmp_path / "driver"], capture_output=True, text=True, env={**os.environ, **options}, timeout=1200
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.endswith("passed\n")
    for bits in (32, 64):  # and whatever more this machine has
        assert f"base, {bits} bits, lmax 1: exercised" in ran.stdout
    assert "ERROR" not in ran.stderr
    assert "WARNING" not in ran.stderr


@pytest.mark.skipif(missing("cmake", CROSS), reason=f"cmake or the cross compiler {CROSS} is missing")
def test_source_compiles_for_aarch64(tmp_path):
    system = ("-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64")
    build(tmp_path, *system, "-DNEQUIX_OPTIMISE=-O1", f"-DCMAKE_CXX_COMPILER={CROSS}")
    assert (tmp_path / "libnequix.so").is_file()
