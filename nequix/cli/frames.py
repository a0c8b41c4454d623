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
"""The format that also keeps the spreads of an ensemble, which ASE does not know."""


def output_format(path: Path) -> str:
    """Return the format of an output file: from its ending if that is known, otherwise as ASE guesses it.

    Args:
        path: The output file; its name may also end in .gz, .bz2 or .xz.

    Returns:
        ASE's name of the format; empty if unknown.
    """
    from ase.io.formats import UnknownFileTypeError, filetype

    try:
        return format_by_ending(path) or filetype(str(path), read=False)
    except UnknownFileTypeError:
        return ""


def check_target(target: Path, sources: Sequence[Path], force: bool, formats: Sequence[str] = ()) -> None:
    """Reject an output file that cannot be written or would overwrite something, before any work.

    Args:
        target: The output file.
        sources: The input files, which are never replaced.
        force: Whether another existing file may be replaced.
        formats: ASE's names of the allowed formats; by default all that ASE writes.

    Raises:
        DataError: If it is an input, exists, lies in a missing or write-protected folder, or has a
            format that cannot be written.
    """
    from ase.io.formats import ioformats

    kind = output_format(target)
    if formats and kind not in formats:
        what = "energies, forces and spreads" if formats == WITH_SPREADS else "energies and forces"
        raise DataError(
            f"{target}: format {kind or 'unknown'!r} cannot store {what}; "
            f"give a name that ends in .{', .'.join(formats)}"
        )
    if formats and kind == "json" and target.suffix.lower() in COMPRESSED:  # ASE cannot append frames there
        raise DataError(
            f"{target}: compressed JSON cannot store several frames; "
            "give a name that ends in .json or .extxyz.gz"
        )
    if kind not in ioformats or not ioformats[kind].can_write or not ioformats[kind].acceptsfd:
        raise DataError(f"{target}: cannot write the format {kind or 'unknown'!r}; try the ending .extxyz")
    folder = _place(target).parent
    if target.is_dir() or not folder.is_dir():
        raise DataError(f"{target}: cannot be written there; create its folder, or choose another name")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DataError(f"{target}: no permission to write to {folder}; choose another folder")
    if not target.exists():
        return
    if any(source.exists() and source.samefile(target) for source in sources):
        raise DataError(f"{target}: an input file, which is never replaced; choose another name")
    if not force:
        raise DataError(f"{target}: already exists; choose another name, or replace it with --force")


def try_format(target: Path, atoms: Atoms) -> None:
    """Reject a format that cannot store a structure, before any work on it.

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
        except Exception as error:  # ASE's writers raise many kinds of errors
            reason = str(error) or type(error).__name__
            raise DataError(
                f"{target}: the format {output_format(target)!r} cannot store this structure ({reason}); "
                "try the ending .extxyz"
            ) from error


def write_frames(target: Path, frames: Iterable[Atoms]) -> None:
    """Write structures atomically: the file holds all of them or keeps its previous content.

    A symbolic link is kept; the file that it points to is written.

    Args:
        target: The file to create or replace; its name determines the format.
        frames: The structures, with their results.

    Raises:
        DataError: If the disk is full or the format cannot hold these structures.
    """
    from ase.io import write

    place = _place(target)
    # In the same folder, because renaming across file systems is not atomic; with the same ending, because
    # ASE compresses according to it.
    try:
        with temporary_beside(place, target.suffix) as (temporary, _):
            write(temporary, list(frames), format=output_format(target))
            os.replace(temporary, place)
    except Exception as error:  # ASE's writers raise many kinds of errors
        reason = str(error) or type(error).__name__
        raise DataError(f"{target}: cannot be written ({reason}); choose another format or folder") from error


def _place(target: Path) -> Path:
    """Resolve links to where a file is, or will be."""
    return Path(os.path.realpath(target))
