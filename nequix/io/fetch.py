"""Fetching large files of known digest onto the disk, whole or not at all, and resumed after a break."""

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

from nequix.core.errors import DataError, WeightsError
from nequix.io.deadline import Deadline
from nequix.io.download import open_origin
from nequix.io.locks import Busy, NoLocks, lock
from nequix.io.progress import progress_bar

PATIENCE, LEAST_RATE = 120.0, 10_000.0
"""A server must answer and send within so many seconds, plus one for each so many bytes that have arrived."""

MAX_BYTES = 64 << 30
"""Larger files are not fetched; the largest public set has 11 GB."""

_CHUNK = 1 << 20
_ABSENT = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)


class MissingFile(DataError):
    """An origin that does not have the file, though another one may."""


def fetch(origin: str, target: Path, digest: str) -> bool:
    """Put a file at its place, unless it is there.

    What has arrived when a connection breaks or the process is killed stays beside the target as
    ``.NAME.part``, and the next call goes on from there.

    Args:
        origin: Its address (https, http or file), or its path.
        target: Where it goes; the folder is made.
        digest: ``md5:`` or ``sha256:`` and hexadecimal digits.

    Returns:
        Whether it had to be fetched.

    Raises:
        MissingFile: If the origin does not have it.
        DataError: If another file is there, or the origin cannot be reached, breaks off, is too slow, or
            sends too much or other content.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with lock(target.with_name(f".{target.name}.lock")):
            return _fetch(origin, target, digest)
    except Busy:
        raise DataError(f"{target}: another process is fetching it; wait for that") from None
    except (OSError, NoLocks) as error:
        raise DataError(f"{target}: cannot be written ({error}); choose another folder") from None


def fetch_first(origins: Sequence[str], target: Path, digest: str) -> bool:
    """Put a file at its place from the first origin that has it.

    Args:
        origins: Addresses or paths, in the order in which to ask.
        target: Where it goes; the folder is made.
        digest: ``md5:`` or ``sha256:`` and hexadecimal digits.

    Returns:
        Whether it had to be fetched.

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
                f"{target}: another file is there: {found}, expected {digest}; "
                "move it, or choose another folder"
            )
        return False
    part = target.with_name(f".{target.name}.part")
    resumed = part.exists()
    found = _complete(origin, part, digest)
    if found != digest and resumed:  # what lay there may have been of another file
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
    """Add what is missing to what has arrived, and return the digest of all."""
    held = _hash_file(part, digest)
    if _describe(held, digest) == digest:  # killed before it got its name
        return digest
    n_held = part.stat().st_size if part.exists() else 0
    with (
        Deadline(PATIENCE, LEAST_RATE) as deadline,
        _open(origin, n_held, deadline) as (stream, start, size),
        open(part, "ab") as file,
    ):
        if size is not None and size > MAX_BYTES:
            raise _too_large(origin)
        if start != n_held:  # a server that begins anew
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
    """Open an origin from a byte on, or from its beginning if it has no such byte."""
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
        raise (MissingFile if absent else DataError)(
            f"{origin}: cannot be fetched ({error}); try again, or give a mirror: --mirror or NEQUIX_MIRROR"
        ) from None
    with opened[0]:
        yield opened


def _chunks(origin: str, stream: BufferedIOBase, deadline: Deadline) -> Iterator[bytes]:
    """Read a stream to its end; errors of the disk where it goes are none of its own."""
    while True:
        try:
            chunk = deadline.read(stream, _CHUNK)
        except (OSError, HTTPException) as error:
            raise _broken_off(origin, f"({error})") from None
        if not chunk:
            return
        yield chunk


def _broken_off(origin: str, how: str) -> DataError:
    return DataError(f"{origin}: broke off {how}; the same command goes on from there")


def _too_large(origin: str) -> DataError:
    return DataError(
        f"{origin}: over {MAX_BYTES >> 30} GiB, more than any file of these sets; check the mirror"
    )


def _new_hash(digest: str) -> hashlib._Hash:
    return hashlib.new(digest.partition(":")[0], usedforsecurity=False)


def _hash_file(path: Path, digest: str) -> hashlib._Hash:
    """Begin the digest of a file with what there is of it."""
    held = _new_hash(digest)
    if path.exists():
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                held.update(chunk)
    return held


def _describe(held: hashlib._Hash, digest: str) -> str:
    return f"{digest.partition(':')[0]}:{held.hexdigest()}"
