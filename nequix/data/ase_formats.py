"""ASE formats that are read, and checks of a file before ASE's reader opens it.

ASE's readers allocate what a file claims, and some do more than read: CASTEP's start the program for its list
of keywords, Octopus's open other files that the input names, old trajectories are pickles, and names such as
``postgresql://`` are connections. Therefore only the formats in :data:`FORMATS` are read. Their readers were
audited: they open only the given file, start and import nothing, and evaluate no expressions.
"""

from __future__ import annotations

import io
import math
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nequix.core.errors import DataError
from nequix.data.ase_json import check_constraints, decode
from nequix.io.limits import COMPRESSED, MAX_DOCUMENT, check_regular, open_bounded, read_bounded

FORMATS = (
    "extxyz", "xyz", "vasp", "vasp-xdatcar", "vasp-out", "vasp-xml", "cif", "traj", "json",
    "espresso-in", "espresso-out", "aims", "aims-output", "lammps-data", "lammps-dump-text", "xsf", "gen",
    "proteindatabank", "res", "xsd", "cube", "gpaw-out", "nwchem-out", "orca-output", "gaussian-out",
    "turbomole", "siesta-xv", "sdf", "mol", "gromacs", "cfg",
)  # fmt: skip
"""ASE's names of the formats that are read."""

_HEAD = 1 << 20  # bytes at the start that are searched for the number of atoms
_COUNT_LINES = {
    "xyz": (0,), "gen": (0,), "gromacs": (1,), "cube": (2, 3, 4, 5), "siesta-xv": (3,), "vasp": (5, 6),
    "vasp-xdatcar": (5, 6),
}  # fmt: skip
_COUNTS = re.compile(
    rb"(?i)(?:\bnions\s*=|\bnat\s*=|number of atoms\S*\s*[:=]?|number of particles\s*=|<atoms>|^primcoord\b)"
    rb"\s*(\d{1,30})|^\s*(\d{1,30})\s+(?:atoms|atom types)\b",
    re.MULTILINE,
)
_PER_TYPE = re.compile(rb"ions per type\s*=([ \d]*)")
_INTEGER = re.compile(rb"(?<![\w.+-])\d{1,30}(?![\w.])")
_OPERATION = re.compile(
    rb"^\s*(?:\d+\s+)?['\"]?[-+xyzXYZ\d/. ]*[xyzXYZ][-+xyzXYZ\d/. ]*,[^,\n]*,[^,\n]*$", re.MULTILINE
)
_MOST_OPERATIONS = 192  # symmetry operations of a space group in its conventional cell


def check_file(path: Path, name: str) -> None:
    """Reject a file of an unsupported format, or one that claims more data than it has.

    Args:
        path: The file; not opened if its format is unsupported.
        name: ASE's name of its format.

    Raises:
        DataError: Naming the reason.
    """
    check_format(path, name)
    check_regular(path)
    if name == "traj":
        _check_trajectory(path)
    elif name == "json":
        decode(read_bounded(path), str(path))
    else:
        _check_text(path, name)


def check_format(path: Path, name: str) -> None:
    """Reject an unsupported format.

    Args:
        path: The file, for messages.
        name: ASE's name of its format.

    Raises:
        DataError: If ASE does not know it, or its reader may do more than reading.
    """
    from ase.io.formats import ioformats

    if name not in ioformats:
        raise DataError(
            f"{path}: not of a format that ASE knows; name it with its format's ending, such as .extxyz"
        )
    if name not in FORMATS:
        raise DataError(
            f"{path}: the format {name!r} is not read, because ASE's reader may do more than read; "
            "convert the file to .extxyz with a program that you trust with it"
        )


def _check_text(path: Path, name: str) -> None:
    """Compare the counts at the start of a text file with its size; a compressed file is expanded once."""
    with open_bounded(path) as handle:
        head = handle.read(_HEAD)
        size = len(head)
        while chunk := handle.read(_HEAD):
            size += len(chunk)
            if size > MAX_DOCUMENT * 16:
                raise DataError(f"{path}: over {MAX_DOCUMENT >> 26} GiB; split it into several files")
    counts = [int(first or second) for first, second in _COUNTS.findall(head)]
    counts += [sum(map(int, match.split())) for match in _PER_TYPE.findall(head)]
    lines = head.split(b"\n", 7)
    for at in _COUNT_LINES.get(name, ()):
        counts.append(sum(map(int, _INTEGER.findall(lines[at]))) if at < len(lines) else 0)
    if too_many := [count for count in counts if count > size]:
        raise DataError(
            f"{path}: claims a number of {str(too_many[0])[:30]}, but has {size} bytes; copy the file again"
        )
    if name == "cif" and len(_OPERATION.findall(head)) > _MOST_OPERATIONS * (head.count(b"data_") + 1):
        raise DataError(f"{path}: lists more than {_MOST_OPERATIONS} symmetry operations; is it a CIF file?")
    if name in ("vasp-xml", "xsd") and b"<!DOCTYPE" in head:
        raise DataError(f"{path}: defines XML entities, which are not read; remove the DOCTYPE")


def _check_trajectory(path: Path) -> None:
    """Check a ``.traj`` file: offsets and arrays within the file, constraints of known kinds."""
    compressed = path.suffix.lower() in COMPRESSED
    with io.BytesIO(read_bounded(path)) if compressed else open(path, "rb") as handle:
        size = handle.seek(0, os.SEEK_END)
        handle.seek(0)
        head = handle.read(48)
        if len(head) < 48 or not head.startswith((b"- of Ulm", b"AFFormat")):
            raise DataError(
                f"{path}: not a trajectory of ASE (.traj), or an old one of pickles; convert it to .extxyz"
            )
        version, n_frames, place = struct.unpack("<qqq", head[24:48])
        if not 1 <= version <= 3 or not 0 <= n_frames <= size // 8 or not 0 <= place <= size - 8 * n_frames:
            raise DataError(f"{path}: claims {n_frames} frames, but has {size} bytes; copy the file again")
        handle.seek(place)
        offsets = struct.unpack(f"<{n_frames}q", handle.read(8 * n_frames))
        for index, offset in enumerate(offsets):
            where = f"{path}: frame {index}"
            for values in _mappings(_frame(handle, offset, size, where)):
                _check_values(values, size, where)


def _frame(handle: BinaryIO, offset: int, size: int, where: str) -> dict:
    if not 0 <= offset <= size - 8:
        raise DataError(f"{where}: begins at byte {offset} of {size}; copy the file again")
    handle.seek(offset)
    (length,) = struct.unpack("<q", handle.read(8))
    if not 0 <= length <= size - offset - 8:
        raise DataError(f"{where}: claims {length} bytes, but the file has {size}; copy the file again")
    values = decode(handle.read(length), where)
    if not isinstance(values, dict):
        raise DataError(f"{where}: not a frame of ASE; copy the file again")
    return values


def _mappings(values: dict) -> Iterator[dict]:
    """Yield a dict and all nested ones."""
    waiting = [values]
    while waiting:
        current = waiting.pop()
        yield current
        waiting += [value for value in current.values() if isinstance(value, dict)]


def _check_values(values: dict, size: int, where: str) -> None:
    if "ndarray" in values:
        try:
            shape, kind, offset = values["ndarray"]
            n_bytes = math.prod(int(n) for n in shape) * np.dtype(str(kind)).itemsize
            fits = min(shape, default=0) >= 0 and 0 <= int(offset) <= size - n_bytes
        except (TypeError, ValueError) as error:
            raise DataError(f"{where}: an array that cannot be read ({error}); copy the file again") from None
        if not fits or np.dtype(str(kind)).hasobject:
            raise DataError(f"{where}: an array of shape {str(shape)[:60]} that the file does not have")
    if "constraints" in values:
        check_constraints(values["constraints"], where)
