"""NumPy archives: headers are compared with the file size before anything is allocated."""

from __future__ import annotations

import math
import zipfile
from typing import BinaryIO

import numpy as np

from nequix.core.errors import DataError
from nequix.io.limits import DAMAGE, open_member

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def check_npz(handle: BinaryIO, where: str) -> None:
    """Reject an archive with an array larger than its file, or with objects.

    Args:
        handle: An open ``.npz`` file; its position is reset to the start.
        where: The file's name, for messages.

    Raises:
        DataError: If it is not such an archive, or an array's shape does not fit its bytes.
    """
    try:
        with zipfile.ZipFile(handle) as archive:
            for member in archive.infolist():
                with open_member(archive, member, f"{where}/{member.filename}") as stored:
                    _check_array(stored, member.file_size, f"{where}/{member.filename}")
    except DataError:
        raise
    except (*DAMAGE, ValueError, NotImplementedError, KeyError) as error:
        raise DataError(f"{where}: not a whole .npz archive ({str(error)[:200]})") from None
    handle.seek(0)


def _check_array(stored: BinaryIO, n_bytes: int, where: str) -> None:
    version = np.lib.format.read_magic(stored)
    if version not in _HEADERS:
        raise DataError(f"{where}: .npy version {version}, expected {' or '.join(map(str, _HEADERS))}")
    shape, _, dtype = _HEADERS[version](stored)
    expected = stored.tell() + math.prod(shape) * dtype.itemsize
    if dtype.hasobject or expected != n_bytes:
        raise DataError(
            f"{where}: claims {shape} of {dtype}, {expected} bytes, but has {n_bytes}; the file is damaged"
        )
