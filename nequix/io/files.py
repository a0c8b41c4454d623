"""Files opened with care and written whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
from collections.abc import Iterable
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from nequix.core.errors import DataError, WeightsError

TEMPORARY = ".nequix-*.tmp"
"""Pattern of the names of half-written files, which only a killed process leaves behind."""


def open_regular(path: str | os.PathLike[str]) -> BufferedReader:
    """Open a regular file for reading.

    Args:
        path: The file.

    Raises:
        WeightsError: If it is missing, cannot be read, or is a folder, a pipe or a device.
    """
    try:
        mode = os.stat(path).st_mode
        # Opening a pipe without a writer would wait for ever, so the kind is checked first.
        if stat.S_ISREG(mode):
            return open(path, "rb")
    except FileNotFoundError:
        message = f"{path}: no such file; check the path, or give one of the names that `nequix models` lists"
        raise WeightsError(message) from None
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{path}: cannot be opened ({error}); check the path and its permissions"
        ) from None
    kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
    raise WeightsError(f"{path}: {kind}, not a file; give the path of one weight file")


def read_exactly(handle: BinaryIO, n_bytes: int, where: str, what: str) -> bytes:
    """Read a number of bytes, all of them.

    Args:
        handle: An open file.
        n_bytes: How many; the caller has compared it with the size of the file.
        where: The file's name, for the message.
        what: What the bytes are, for the message.

    Raises:
        WeightsError: If the file ends early or cannot be read.
    """
    try:
        data = handle.read(n_bytes)
    except OSError as error:
        raise WeightsError(f"{where}: {what} cannot be read ({error}); copy the file anew") from None
    if len(data) != n_bytes:
        raise WeightsError(
            f"{where}: truncated: {what} has {len(data)} of {n_bytes} bytes; copy or convert it anew"
        )
    return data


def make_folder(path: str | os.PathLike[str]) -> None:
    """Make a folder and those above it, if they are not there.

    Args:
        path: The folder.

    Raises:
        DataError: If it cannot be made, as where a file has its name.
    """
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be made a folder ({error}); choose another name") from None


def write_atomic(path: str | os.PathLike[str], chunks: Iterable[bytes]) -> None:
    """Write a file so that its name holds the whole of it, or what it held before.

    Args:
        path: The file to make or replace.
        chunks: Its bytes.

    Raises:
        WeightsError: If the disk is full or the folder missing or protected; nothing is left behind.
    """
    target = Path(path)
    temporary = target.with_name(TEMPORARY.replace("*", secrets.token_hex(8)))
    try:
        with open(temporary, "xb") as handle:
            handle.writelines(chunks)
            handle.flush()
            os.fsync(handle.fileno())  # without it a crash may keep the new name but lose the bytes
        os.replace(temporary, target)
    except OSError as error:
        raise WeightsError(
            f"{path}: cannot be written ({error.strerror or error}); free disk space or choose another folder"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()  # gone already when all went well


def digest_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 digest of a file, as hexadecimal text.

    Args:
        path: The file.

    Raises:
        WeightsError: If it cannot be read.
    """
    with open_regular(path) as handle:
        try:
            return hashlib.file_digest(handle, "sha256").hexdigest()
        except OSError as error:
            raise WeightsError(f"{path}: cannot be read ({error}); copy the file anew") from None
