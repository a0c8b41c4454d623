"""Structures of every file format, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from nequix.core.errors import DataError, reason
from nequix.data.ase_formats import check_file, check_format
from nequix.data.databases import read_rows
from nequix.data.extxyz import frames, reading
from nequix.data.sources import DATABASES
from nequix.data.xyz_atoms import parse_atoms
from nequix.io.limits import COMPRESSED, open_bounded

if TYPE_CHECKING:
    from ase import Atoms

XYZ = "extxyz"

ENDINGS = {".extxyz": XYZ, ".xyz": XYZ, ".traj": "traj", ".json": "json"}
"""Formats that a name's ending decides, before ASE's patterns; to it ``POSCAR-relaxed.extxyz`` is VASP's."""


def read_frames(path: Path) -> Iterator[Atoms]:
    """Read the structures of a file, one after the other.

    Args:
        path: A file of any format that ASE reads.

    Raises:
        DataError: If there is no such file or if it cannot be read, naming the frame, or if it is a CIF file
            whose sites are not occupied by one whole atom each.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file; check the path")
    if not path.is_file():  # a pipe without a writer would be waited for, and can be read only once
        kind = "a folder" if path.is_dir() else "a pipe or a device"
        raise DataError(f"{path}: {kind}, not a file; give the path of a file of structures")
    n_frames = 0
    for atoms in _read_xyz(path) if format_by_ending(path) == XYZ else _read_other(path):
        yield atoms
        n_frames += 1
    if not n_frames:
        raise DataError(f"{path}: contains no structure; is the file complete?")


def _read_xyz(path: Path) -> Iterator[Atoms]:
    with reading(str(path)), open_bounded(path) as handle:
        for index, text in enumerate(frames(handle, str(path))):
            yield parse_atoms(text, f"{path}: frame {index}")


def _read_other(path: Path) -> Iterator[Atoms]:
    index = 0
    try:
        for atoms in read_rows(path) if path.suffix.lower() in DATABASES else _iterate(path):
            if ".cif" in path.suffixes:  # in other files what stands there may be older than the atoms
                _refuse_partial(atoms, f"{path}: frame {index}")
            yield atoms
            index += 1
    except DataError:
        raise
    except Exception as error:  # ASE's readers raise whatever their parsing met
        why = reason(error) + (" is unknown" if isinstance(error, KeyError) else "")
        raise DataError(f"{path}: frame {index} cannot be read ({why}); is the file complete?") from error


def _iterate(path: Path) -> Iterator[Atoms]:
    from ase.io import iread

    name = file_format(path)
    check_file(path, name)
    yield from iread(path, ":", format=name, do_not_split_by_at_sign=True)


def _refuse_partial(atoms: Atoms, where: str) -> None:
    """Reject a disordered crystal; ASE would keep one full atom per site."""
    for site, occupants in atoms.info.get("occupancy", {}).items():
        shares = list(occupants.values())
        if len(shares) != 1 or (isinstance(shares[0], float) and abs(shares[0] - 1) > 1e-3):
            occupied = ", ".join(f"{symbol} {share:g}" for symbol, share in occupants.items())
            raise DataError(
                f"{where}: site {site} has partial occupancies ({occupied}); "
                "give an ordered structure, such as a supercell with a whole atom on each site"
            )


def file_format(path: Path) -> str:
    """Return the format of a file in ASE's words, from its name's ending or else as ASE guesses it.

    Args:
        path: An existing file.

    Raises:
        DataError: If ASE does not know the format, or it is not among those that are read.
    """
    from ase.io.formats import UnknownFileTypeError, filetype

    try:
        name = format_by_ending(path) or filetype(str(path))
    except UnknownFileTypeError:
        raise DataError(
            f"{path}: not of a format that ASE knows; give the file its format's usual ending, such as "
            ".extxyz"
        ) from None
    except Exception as error:  # a damaged compressed file, or one that must not be read
        raise DataError(f"{path}: cannot be read ({reason(error)}); copy the file again") from error
    check_format(path, name)
    return name


def format_by_ending(path: Path) -> str | None:
    """Return the format that a name's ending decides, in ASE's words, or None.

    Args:
        path: A file, which need not exist.
    """
    name = Path(path.stem) if path.suffix.lower() in COMPRESSED else path
    return ENDINGS.get(name.suffix.lower())
