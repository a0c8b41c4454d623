"""Fixtures that many tests share."""

import gc
import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from nequix.io.catalogue import ENTRIES

# Read when NumPy and PyTorch are imported: arrays are small, and the tests run side by side.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same few examples everywhere and every time; HYPOTHESIS_PROFILE=thorough looks for new ones.
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=12, database=None)
settings.register_profile("thorough", deadline=None, max_examples=200, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session")
def published_folder() -> Path:
    """The folder of the published files, which NEQUIX_MIRROR names; where CI runs it must be there."""
    mirror = os.environ.get("NEQUIX_MIRROR", "")
    missing = [
        entry.file for entry in ENTRIES.values() if not mirror or not (Path(mirror) / entry.file).is_file()
    ]
    if missing:
        reason = f"NEQUIX_MIRROR = {mirror!r} is not a folder with {', '.join(missing)}"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return Path(mirror)


@pytest.fixture(autouse=True, scope="module")
def few_compiled_functions():
    """Free the functions that JAX compiled before a process reaches its limit of memory mappings.

    Every compiled function takes some mappings. Linux allows a process 65,530, after which compilers and
    libraries crash; a whole run of the tests compiles more than that.
    """
    yield
    maps = Path("/proc/self/maps")
    if "jax" in sys.modules and maps.is_file() and maps.read_bytes().count(b"\n") > 20_000:
        sys.modules["jax"].clear_caches()
        gc.collect()
