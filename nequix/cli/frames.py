"""Files of structures that commands write, completely or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nequix.core.errors import DataError
from nequix.data.frames import format_by_ending
from nequix.io.files import temporary_beside
from nequix.io.limits import COMPRESSED

if TYPE_CHECKING:
    from ase import Atoms

WITH_RESULTS = ("extxyz", "traj", "json")
"""ASE's formats that keep energies, forces and stress."""

WITH_SPREADS = ("extxyz",)
"""The one that keeps the spreads of an ensemble, too: results that ASE does not know."""


def output_format(path: Path) -> str:
    """Tell by a file's name what is written there: by its ending if that says it, otherwise as ASE tells.

    Args:
        path: The output file, whose name may end in .gz, .bz2 or .xz besides.

    Returns:
        The format in ASE's words; empty if unknown.
    """
    from ase.io.formats import UnknownFileTypeError, filetype

    try:
        return format_by_ending(path) or filetype(str(path), read=False)
    except UnknownFileTypeError:
        return ""


def check_target(target: Path, sources: Sequence[Path], force: bool, formats: Sequence[str] = ()) -> None:
    """Refuse an output file that could not be written, or that would destroy something, before any work.

    Args:
        target: The output file.
        sources: The input files, which are never replaced.
        force: Whether another existing file may be replaced.
        formats: The allowed formats, in ASE's words; by default all that ASE writes.

    Raises:
        DataError: If it is an input, exists, has no folder or one where nothing may be written, or a format
            that cannot be written.
    """
    from ase.io.formats import ioformats

    kind = output_format(target)
    if formats and kind not in formats:
        what = "energies, forces and spreads" if formats == WITH_SPREADS else "energies and forces"
        raise DataError(
            f"{target}: format {kind or 'unknown'!r} cannot hold {what}; "
            f"give a name that ends in .{', .'.join(formats)}"
        )
    if formats and kind == "json" and target.suffix.lower() in COMPRESSED:  # ASE puts no second frame there
        raise DataError(
            f"{target}: compressed JSON cannot hold several frames; "
            "give a name that ends in .json or .extxyz.gz"
        )
    if kind not in ioformats or not ioformats[kind].can_write or not ioformats[kind].acceptsfd:
        raise DataError(f"{target}: cannot write the format {kind or 'unknown'!r}; try the ending .extxyz")
    folder = _place(target).parent
    if target.is_dir() or not folder.is_dir():
        raise DataError(f"{target}: no place for a file; make its folder, or choose another name")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DataError(f"{target}: nothing may be written into {folder}; choose another folder")
    if not target.exists():
        return
    if any(source.exists() and source.samefile(target) for source in sources):
        raise DataError(f"{target}: is an input file, which is never replaced; choose another name")
    if not force:
        raise DataError(f"{target}: exists already; choose another name, or replace it with --force")


def try_format(target: Path, atoms: Atoms) -> None:
    """Refuse a format that cannot hold a structure, before any work on it.

    Args:
        target: The output file.
        atoms: The structure as it is before the work.

    Raises:
        DataError: If it cannot be written there.
    """
    import numpy as np
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write

    from nequix.workflows.structures import with_results

    tried = atoms.copy()
    stress = {"stress": np.zeros(6)} if atoms.cell.rank == 3 else {}
    tried.calc = SinglePointCalculator(tried, energy=0.0, forces=np.zeros((len(atoms), 3)), **stress)
    with tempfile.TemporaryDirectory() as folder:
        try:
            write(Path(folder) / f"tried{target.suffix}", [with_results(tried)], format=output_format(target))
        except Exception as error:  # ASE's writers raise whatever they met
            reason = str(error) or type(error).__name__
            raise DataError(
                f"{target}: the format {output_format(target)!r} cannot hold this structure ({reason}); "
                "try the ending .extxyz"
            ) from error


def write_frames(target: Path, frames: Iterable[Atoms]) -> None:
    """Write structures so that the file's name holds all of them, or what it held before.

    A link stays, and the file that it leads to is written.

    Args:
        target: The file to make or replace; its name tells the format.
        frames: The structures, with their results.

    Raises:
        DataError: If the disk is full or the format cannot hold these structures.
    """
    from ase.io import write

    place = _place(target)
    # Beside the target, since renaming from another disk would not be one step; with its ending, by which
    # ASE tells whether to compress.
    try:
        with temporary_beside(place, target.suffix) as (temporary, _):
            write(temporary, list(frames), format=output_format(target))
            os.replace(temporary, place)
    except Exception as error:  # ASE's writers raise whatever they met
        reason = str(error) or type(error).__name__
        raise DataError(f"{target}: cannot be written ({reason}); choose another format or folder") from error


def _place(target: Path) -> Path:
    """Follow links to where a file is, or will be."""
    return Path(os.path.realpath(target))
