"""Safe opening and atomic writing of files."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from nequix.core.errors import FileError, WeightsError

TEMPORARY = ".nequix-*.tmp"
"""Pattern of the names of temporary files; the next writer removes those that a killed process left."""


def open_regular(path: str | os.PathLike[str]) -> BufferedReader:
    """Open a regular file for reading.

    Args:
        path: The file.

    Raises:
        WeightsError: If it is missing, cannot be read, or is a folder, a pipe or a device.
    """
    try:
        mode = os.stat(path).st_mode
        # Opening a pipe without a writer would block forever, so the kind is checked first.
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
    """Read exactly a number of bytes.

    Args:
        handle: An open file.
        n_bytes: Number of bytes; the caller has compared it with the file size.
        where: The file's name, for the message.
        what: What the bytes are, for the message.

    Raises:
        WeightsError: If the file ends early or cannot be read.
    """
    try:
        data = handle.read(n_bytes)
    except OSError as error:
        raise WeightsError(f"{where}: {what} cannot be read ({error}); copy the file again") from None
    if len(data) != n_bytes:
        raise WeightsError(
            f"{where}: truncated: {what} has {len(data)} of {n_bytes} bytes; copy or convert it again"
        )
    return data


def make_folder(path: str | os.PathLike[str]) -> None:
    """Create a folder and its parents, if they do not exist.

    Args:
        path: The folder.

    Raises:
        FileError: If it cannot be created, e.g. because a file has its name.
    """
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise FileError(f"{path}: cannot be created as a folder ({error}); choose another name") from None


@contextlib.contextmanager
def temporary_beside(target: Path, suffix: str = "") -> Iterator[tuple[Path, BinaryIO]]:
    """Create a temporary file beside a target that it will replace; it is removed at the end unless renamed.

    The file is locked while its process lives. The first call of a process for a folder removes the unlocked
    files there, which killed processes have left.

    Args:
        target: The file to be replaced.
        suffix: Ending of the temporary name, for programs that depend on it.

    Yields:
        The path, and the file, open for writing.

    Raises:
        OSError: If the folder is missing or write-protected.
    """
    _remove_stale(target.parent)
    path, handle = _claim(target, suffix)
    try:
        yield path, handle
    finally:
        with contextlib.suppress(OSError):
            path.unlink()  # already renamed if all went well
        handle.close()


def _claim(target: Path, suffix: str) -> tuple[Path, BinaryIO]:
    """Create and lock a temporary file, unless another process has removed it as stale in the meantime."""
    while True:
        path = target.with_name(TEMPORARY.replace("*", secrets.token_hex(8)) + suffix)
        handle = open(path, "xb")  # noqa: SIM115  the caller closes it
        if _lock(handle) is not False and os.fstat(handle.fileno()).st_nlink:
            return path, handle
        handle.close()


def _lock(handle: BinaryIO) -> bool | None:
    """Lock a file without waiting; False if another process has the lock, None if files cannot be locked."""
    try:
        import fcntl
    except ImportError:  # Windows, where open files cannot be removed
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True


def _remove_stale(folder: Path) -> None:
    """Remove temporary files of dead processes, once for each folder and process."""
    if folder.absolute() in _cleared:
        return
    _cleared.add(folder.absolute())
    for path in folder.glob(f"{TEMPORARY}*"):
        with contextlib.suppress(OSError), open(path, "rb") as handle:
            if _lock(handle):
                path.unlink()


_cleared: set[Path] = set()


def write_atomic(path: str | os.PathLike[str], chunks: Iterable[bytes]) -> None:
    """Write a file atomically: it has the new content or keeps the previous one.

    Args:
        path: The file to create or replace.
        chunks: Its bytes.

    Raises:
        FileError: If the disk is full or the folder is missing or write-protected; nothing is left behind.
    """
    target = Path(path)
    try:
        with temporary_beside(target) as (temporary, handle):
            handle.writelines(chunks)
            handle.flush()
            os.fsync(handle.fileno())  # otherwise a crash may keep the new name but lose the bytes
            if os.name == "nt":  # where open files cannot be renamed
                handle.close()
            os.replace(temporary, target)
    except OSError as error:
        raise FileError(
            f"{path}: cannot be written ({error.strerror or error}); free disk space or choose another folder"
        ) from error


def digest_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 digest of a file, as hexadecimal text.

    Args:
        path: The file.

    Raises:
        FileError: If it cannot be read.
        WeightsError: If it is missing or not a regular file.
    """
    with open_regular(path) as handle:
        try:
            return hashlib.file_digest(handle, "sha256").hexdigest()
        except OSError as error:
            raise FileError(f"{path}: cannot be read ({error}); copy the file again") from None
