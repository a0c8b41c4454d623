"""Locks for files and folders that only one process at a time may use."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

LOCK = ".lock"
"""Name of a folder's lock. The operating system releases it when its process ends for any reason."""


class Busy(Exception):
    """Another process has the lock."""


class NoLocks(Exception):
    """The lock's folder is write-protected, or its file system has no locks."""


@contextlib.contextmanager
def lock(path: str | os.PathLike[str], timeout: float = 0) -> Iterator[None]:
    """Keep other processes out within the context.

    Args:
        path: The lock file, created if needed; for a folder ``folder / LOCK``.
        timeout: Seconds to wait for another process.

    Raises:
        Busy: If another process still has the lock.
        NoLocks: If nothing can be locked there.
    """
    try:
        file_lock = FileLock(path, timeout=timeout)
        file_lock.acquire()
    except Timeout:
        raise Busy(str(path)) from None
    except (OSError, NotImplementedError) as error:
        raise NoLocks(str(error)) from error
    try:
        yield
    finally:
        file_lock.release()


def is_locked(path: str | os.PathLike[str]) -> bool:
    """Return whether another process has a lock; False if the file system has no locks.

    Args:
        path: The file of the lock.
    """
    if not Path(path).exists():
        return False
    try:
        with lock(path):
            return False
    except Busy:
        return True
    except NoLocks:
        return False
