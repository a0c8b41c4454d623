"""Download of one file of known size and digest from the network or a mirror."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPException
from io import BufferedIOBase
from pathlib import Path
from urllib.parse import urlsplit

from nequix.core.errors import FetchError, WeightsError
from nequix.io.deadline import Deadline
from nequix.io.files import open_regular
from nequix.io.progress import progress_bar

TIMEOUT = 30.0
"""Maximum time without data from a server, s."""

DEADLINE = 900.0
"""Maximum time for the download of a model, s, from connecting to the last byte."""

_REMEDY = (
    "set NEQUIX_MIRROR to a folder or a base URL that has {file}, or give the path of a local weight file"
)


def origin(url: str) -> str:
    """Return the origin of a file: its URL, or its path in the mirror ``NEQUIX_MIRROR``.

    Args:
        url: The published URL; its last part is the file name.
    """
    mirror = os.environ.get("NEQUIX_MIRROR", "")
    if not mirror:
        return url
    file = url.rsplit("/", 1)[1]
    return f"{mirror.rstrip('/')}/{file}" if "://" in mirror else str(Path(mirror).expanduser() / file)


def download(url: str, size: int, sha256: str) -> bytes:
    """Fetch a file with a known digest into memory.

    Args:
        url: Its published URL; the environment variable ``NEQUIX_MIRROR`` sets another origin: a folder
            or a base URL (https, http or file).
        size: Its size in bytes; nothing beyond it is read.
        sha256: Its digest.

    Raises:
        FetchError: If the origin cannot be reached or the connection breaks.
        WeightsError: If the content differs.
    """
    where = origin(url)
    file = url.rsplit("/", 1)[1]
    try:
        with (
            Deadline(DEADLINE) as deadline,
            open_origin(where, deadline)[0] as stream,
            progress_bar(file, size, in_bytes=True) as bar,
        ):
            data = _read(stream, size, bar.advance, deadline)
    except WeightsError as error:
        mirror = os.environ.get("NEQUIX_MIRROR", "")
        if not mirror or ("://" in mirror and not mirror.startswith("file:")):
            raise
        # The name is known, so it is the mirror that lacks the file.
        raise FetchError(
            f"{str(error).rpartition('; ')[0]} in the mirror NEQUIX_MIRROR={mirror}; put {file} there, unset "
            "NEQUIX_MIRROR to download it, or give the path of a local weight file"
        ) from error
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        remedy = _REMEDY.format(file=file)
        raise FetchError(f"{where}: cannot be downloaded ({error}); {remedy}") from None
    if len(data) < size:
        raise FetchError(
            f"{where}: broke off after {len(data)} of {size} bytes; try again, or {_REMEDY.format(file=file)}"
        )
    digest = hashlib.sha256(data).hexdigest()
    if len(data) > size or digest != sha256:
        got = f"more than {size} bytes" if len(data) > size else f"SHA-256 {digest}"
        raise WeightsError(
            f"{where}: not the published file: {got}, expected {size} bytes and SHA-256 {sha256}; "
            f"it was not kept: {_REMEDY.format(file=file)}"
        )
    return data


def open_origin(where: str, deadline: Deadline, start: int = 0) -> tuple[BufferedIOBase, int, int | None]:
    """Open a path or an https, http or file URL, at an offset if the server supports it.

    Args:
        where: The path or URL.
        deadline: Deadline of the whole download.
        start: Offset of the first requested byte.

    Returns:
        The stream, the offset at which it starts, and the size of the whole file, if known.

    Raises:
        WeightsError: If the file is missing or the URL has another scheme.
        OSError: If the server cannot be reached or rejects the request.
    """
    scheme = urlsplit(where).scheme if "://" in where else ""
    if scheme in ("", "file"):
        path = urllib.request.url2pathname(urlsplit(where).path) if scheme else where
        stream = open_regular(path)
        stream.seek(start)
        return stream, start, os.path.getsize(path)
    if scheme not in ("http", "https"):
        raise WeightsError(
            f"{where}: cannot download with {scheme!r}; set NEQUIX_MIRROR to an https, http or file URL"
        )
    # Assembled explicitly: the default opener would also follow ftp and data URLs.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    for handler in deadline.handlers():
        opener.add_handler(handler)
    opener.addheaders = [("User-Agent", "nequix")] + [("Range", f"bytes={start}-")] * (start > 0)
    try:
        stream = opener.open(where, timeout=TIMEOUT)
    except (OSError, HTTPException):
        deadline.check()  # raise the timeout instead, if it is the reason
        raise
    length = stream.headers.get("Content-Length")
    begin = start if stream.status == HTTPStatus.PARTIAL_CONTENT else 0
    return stream, begin, None if length is None else begin + int(length)


def _read(stream: BufferedIOBase, size: int, advance: Callable[[int], object], deadline: Deadline) -> bytes:
    """Read a stream to its end, or until it exceeds the allowed size."""
    data = bytearray()
    # Read what has arrived: a read of a fixed length would block and never check the deadline.
    while len(data) <= size and (chunk := deadline.read(stream, 1 << 16)):
        data += chunk
        advance(len(chunk))
    return bytes(data)
