"""Building the library in tests: which tools there are, and CMake's runs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "nequix" / "native" / "src"
HERE = ROOT / "tests" / "native"


def require_tools(*tools: str) -> None:
    """Skip a test whose tools are missing; continuous integration must have them all."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing and os.environ.get("CI"):
        pytest.fail(f"not installed: {', '.join(missing)} (.ci/run installs what the tests need)")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def run(*command: str | Path, **options) -> str:
    """Run a program that must succeed; return what it printed."""
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, **options)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def build(folder: Path, *options: str, targets: tuple[str, ...] = ("all",)) -> None:
    """Build the library in a folder, where a warning is an error."""
    given = (f"-DPython_EXECUTABLE={sys.executable}", "-DNEQUIX_WERROR=ON", *options)
    run("cmake", "-S", SOURCE, "-B", folder, *given)
    run("cmake", "--build", folder, "--parallel", "2", "--target", *targets)


def generate(folder: Path) -> None:
    """Write the generated sources into a folder."""
    for module, name in (("generate", "couplings.inc"), ("sources", "digest.inc")):
        run(sys.executable, "-m", f"nequix.native.{module}", folder / name)
