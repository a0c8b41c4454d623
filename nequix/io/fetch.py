"""Download of large files with known digests to disk: atomic and resumable."""

from __future__ import annotations

import contextlib
import hashlib
import os
import urllib.error
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from http.client import HTTPException
from io import BufferedIOBase
from pathlib import Path

from nequix.core.errors import DataError, FetchError, FileError, WeightsError
from nequix.io.deadline import Deadline
from nequix.io.download import open_origin
from nequix.io.locks import Busy, NoLocks, lock
from nequix.io.progress import progress_bar

PATIENCE, LEAST_RATE = 120.0, 10_000.0
"""A server has this many seconds, plus one per this many received bytes."""

MAX_BYTES = 64 << 30
"""Larger files are not fetched; the largest public set has 11 GB."""

_CHUNK = 1 << 20
_ABSENT = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)


class MissingFile(FetchError):
    """An origin that does not have the file; another one may."""


def fetch(origin: str, target: Path, digest: str) -> bool:
    """Fetch a file to a path, unless it exists there.

    If the connection breaks or the process is killed, the received part is kept beside the target as
    ``.NAME.part``, and the next call resumes from it.

    Args:
        origin: Its URL (https, http or file) or path.
        target: The path to write; its folder is created.
        digest: ``md5:`` or ``sha256:`` and hexadecimal digits.

    Returns:
        Whether it was fetched.

    Raises:
        MissingFile: If the origin does not have the file.
        DataError: If a different file exists at the path, or the origin cannot be reached, breaks the
            connection, is too slow, or sends different content.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with lock(target.with_name(f".{target.name}.lock")):
            return _fetch(origin, target, digest)
    except Busy:
        raise DataError(f"{target}: another process is fetching it; wait until it is done") from None
    except (OSError, NoLocks) as error:
        raise FileError(f"{target}: cannot be written ({error}); choose another folder") from None


def fetch_first(origins: Sequence[str], target: Path, digest: str) -> bool:
    """Fetch a file from the first origin that has it.

    Args:
        origins: URLs or paths, in the order in which they are tried.
        target: The path to write; its folder is created.
        digest: ``md5:`` or ``sha256:`` and hexadecimal digits.

    Returns:
        Whether it was fetched.

    Raises:
        DataError: As :func:`fetch`; for the last origin if none has the file.
    """
    for origin in origins[:-1]:
        with contextlib.suppress(MissingFile):
            return fetch(origin, target, digest)
    return fetch(origins[-1], target, digest)


def _fetch(origin: str, target: Path, digest: str) -> bool:
    if target.exists():
        found = _describe(_hash_file(target, digest), digest)
        if found != digest:
            raise DataError(
                f"{target}: a different file exists: {found}, expected {digest}; move it, or choose another "
                "folder"
            )
        return False
    part = target.with_name(f".{target.name}.part")
    resumed = part.exists()
    found = _complete(origin, part, digest)
    if found != digest and resumed:  # the part may belong to another file
        part.unlink()
        found = _complete(origin, part, digest)
    if found != digest:
        part.unlink()
        raise DataError(
            f"{origin}: not the published file: {found}, expected {digest}; it was not kept: try again, or "
            "give a mirror that has it"
        )
    os.replace(part, target)
    return True


def _complete(origin: str, part: Path, digest: str) -> str:
    """Append the missing bytes to the received part, and return the digest of the whole."""
    held = _hash_file(part, digest)
    if _describe(held, digest) == digest:  # complete, but killed before it was renamed
        return digest
    n_held = part.stat().st_size if part.exists() else 0
    with (
        Deadline(PATIENCE, LEAST_RATE) as deadline,
        _open(origin, n_held, deadline) as (stream, start, size),
        open(part, "ab") as file,
    ):
        if size is not None and size > MAX_BYTES:
            raise _too_large(origin)
        if start != n_held:  # the server starts from the beginning
            file.truncate(start)
            held, n_held = _new_hash(digest), start
        with progress_bar(part.name[1 : -len(".part")], size, n_held, in_bytes=True) as bar:
            for chunk in _chunks(origin, stream, deadline):
                file.write(chunk)
                held.update(chunk)
                n_held += len(chunk)
                if n_held > MAX_BYTES:
                    raise _too_large(origin)
                bar.advance(len(chunk))
        file.flush()
        os.fsync(file.fileno())
    if size is not None and n_held < size:
        raise _broken_off(origin, f"after {n_held} of {size} bytes")
    return _describe(held, digest)


@contextlib.contextmanager
def _open(origin: str, start: int, deadline: Deadline) -> Iterator[tuple[BufferedIOBase, int, int | None]]:
    """Open an origin at an offset, or at its start if it does not support the offset."""
    try:
        try:
            opened = open_origin(origin, deadline, start)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
            opened = open_origin(origin, deadline)
    except WeightsError:
        raise MissingFile(f"{origin}: no such file, or not one that can be read; check the mirror") from None
    except (OSError, HTTPException, ValueError) as error:
        absent = isinstance(error, urllib.error.HTTPError) and error.code in _ABSENT
        raise (MissingFile if absent else FetchError)(
            f"{origin}: cannot be fetched ({error}); try again, or give a mirror: --mirror or NEQUIX_MIRROR"
        ) from None
    with opened[0]:
        yield opened


def _chunks(origin: str, stream: BufferedIOBase, deadline: Deadline) -> Iterator[bytes]:
    """Read a stream to its end; errors of writing to disk are not attributed to it."""
    while True:
        try:
            chunk = deadline.read(stream, _CHUNK)
        except (OSError, HTTPException) as error:
            raise _broken_off(origin, f"({error})") from None
        if not chunk:
            return
        yield chunk


def _broken_off(origin: str, how: str) -> FetchError:
    return FetchError(f"{origin}: the connection broke {how}; rerun the same command to resume")


def _too_large(origin: str) -> DataError:
    return DataError(
        f"{origin}: over {MAX_BYTES >> 30} GiB, more than any file of these sets; check the mirror"
    )


def _new_hash(digest: str) -> hashlib._Hash:
    return hashlib.new(digest.partition(":")[0], usedforsecurity=False)


def _hash_file(path: Path, digest: str) -> hashlib._Hash:
    """Start the digest of a file with the part that exists."""
    held = _new_hash(digest)
    if path.exists():
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                held.update(chunk)
    return held


def _describe(held: hashlib._Hash, digest: str) -> str:
    return f"{digest.partition(':')[0]}:{held.hexdigest()}"
