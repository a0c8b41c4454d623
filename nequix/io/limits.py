"""Limits for the size of input files: bytes are counted before they are processed.

A file may expand to :data:`FREE_BYTES`, and beyond these to :data:`MAX_RATIO` times the compressed bytes that
have been read. Text and numbers of atomistic data shrink to a third or a tenth; a file built to exhaust
memory shrinks a thousandfold or more. The ratio is checked while reading, so such a file is rejected early.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from nequix.core.errors import DataError

FREE_BYTES = 8 << 20
"""Bytes that any compressed file may expand to."""

MAX_RATIO = 200
"""Expanded bytes per compressed byte beyond :data:`FREE_BYTES`; real data have 3 to 20."""

MAX_DOCUMENT = 512 << 20
"""Bytes of a document that is parsed as a whole (JSON, YAML, tables, phonopy's files)."""

MAX_SETTINGS = 4 << 20
"""Bytes of a file of settings: a configuration, thresholds, the list of an ensemble's members, a run."""

COMPRESSED = (".gz", ".bz2", ".xz", ".lzma")
"""Endings of the compressions that are read."""

DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
"""Exceptions from reading a damaged compressed file."""

_CHUNK = 1 << 16
_PIECE = 1 << 20
_XZ_MEMORY = 80 << 20  # bytes; the largest preset (-9) needs 65 MiB


def check_regular(path: str | os.PathLike[str]) -> int:
    """Require a regular file.

    Args:
        path: The file.

    Returns:
        Its size in bytes.

    Raises:
        DataError: If it is missing, or a folder, a pipe or a device: these may block or never end.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; check the path") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise DataError(f"{path}: cannot be opened ({error}); check the path and its permissions") from None
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
        raise DataError(f"{path}: {kind}, not a file; give the path of one file")
    return status.st_size


def open_bounded(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading, decompressed if its name says that it is compressed.

    Args:
        path: The file, perhaps with one of the endings :data:`COMPRESSED`.

    Raises:
        DataError: If it is not a regular file or cannot be opened; while reading, if it is damaged or expands
            beyond the limits of this module.
    """
    check_regular(path)
    try:
        handle = open(path, "rb")  # noqa: SIM115  the caller closes it
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror}); check its permissions") from None
    return decompress(handle, os.fspath(path))


def decompress(handle: BinaryIO, name: str) -> BinaryIO:
    """Decompress an open file if its name says that it is compressed.

    Args:
        handle: The file, at its start; closed together with what is returned.
        name: Its name, for the ending and for messages.

    Raises:
        DataError: While reading, if it is damaged or expands beyond the limits of this module.
    """
    ending = Path(name).suffix.lower()
    if ending not in COMPRESSED:
        return handle
    source = _Counted(handle)
    if ending == ".gz":
        expanded: Any = gzip.GzipFile(fileobj=source)
    else:
        expanded = _Expanded(source, bz2.BZ2Decompressor if ending == ".bz2" else _xz)
    return io.BufferedReader(_Bounded(expanded, source, name), _CHUNK)  # type: ignore[return-value]


def open_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str) -> BinaryIO:
    """Open a file in an archive, unless it claims to expand beyond the limits.

    No more than it claims is read.

    Args:
        archive: The archive.
        member: One of its files.
        where: Name of the file in messages.

    Raises:
        DataError: If it expands beyond the limits of this module, or is damaged.
    """
    if member.file_size > FREE_BYTES + MAX_RATIO * member.compress_size:
        raise _too_large(where)
    try:
        return archive.open(member)  # type: ignore[return-value]
    except (*DAMAGE, RuntimeError, NotImplementedError) as error:
        raise DataError(f"{where}: cannot be read ({error}); unpack the archive elsewhere") from None


def read_bounded(path: str | os.PathLike[str], limit: int = MAX_DOCUMENT) -> bytes:
    """Read a whole file, decompressed if its name says that it is compressed.

    Args:
        path: The file.
        limit: Maximum size in bytes, decompressed.

    Raises:
        DataError: If it cannot be read, or is larger.
    """
    if check_regular(path) > limit:
        raise DataError(f"{path}: over {limit >> 20} MiB, too large for such a file; is it the right file?")
    with open_bounded(path) as handle:
        try:
            data = read_up_to(handle, limit)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error}); copy the file again") from None
    if data is None:
        raise DataError(f"{path}: over {limit >> 20} MiB, too large for such a file; is it the right file?")
    return data


def read_up_to(handle: BinaryIO, limit: int) -> bytes | None:
    """Read all of a file in pieces, because one large request allocates its full size.

    Args:
        handle: The open file.
        limit: Maximum size in bytes.

    Returns:
        Its bytes; None if there are more.
    """
    data = bytearray()
    while chunk := handle.read(_PIECE):
        data += chunk
        if len(data) > limit:
            return None
    return bytes(data)


def read_text(path: str | os.PathLike[str], limit: int = MAX_DOCUMENT) -> str:
    """Read a whole UTF-8 text, decompressed if its name says that it is compressed.

    Args:
        path: The file.
        limit: Maximum size in bytes, decompressed.

    Raises:
        DataError: If it cannot be read, is larger, or is not UTF-8.
    """
    try:
        return read_bounded(path, limit).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not text (byte {error.start} is not UTF-8); is it the right file?"
        ) from None


def _too_large(where: str) -> DataError:
    return DataError(
        f"{where}: expands to more than {MAX_RATIO} times its compressed size, as no real data do; if you "
        "trust it, decompress it yourself"
    )


def _xz() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(memlimit=_XZ_MEMORY)


class _Counted(io.RawIOBase):
    """A file that counts the bytes read from it."""

    def __init__(self, handle: BinaryIO) -> None:
        self._handle = handle
        self.n_read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._handle.read(len(buffer))
        buffer[: len(data)] = data
        self.n_read += len(data)
        return len(data)

    def close(self) -> None:
        self._handle.close()
        super().close()


class _Expanded:
    """A compressed file (bzip2, xz) of one or more streams, one after the other."""

    def __init__(self, source: _Counted, make: Callable[[], Any]) -> None:
        self._source, self._make = source, make
        self._decompressor = make()
        self._first = True

    def read(self, size: int) -> bytes:
        while True:
            decompressor = self._decompressor
            if decompressor.eof:
                rest = decompressor.unused_data or self._source.read(_CHUNK)
                if not rest or not rest.strip(b"\0"):  # the end, or padding
                    return b""
                self._decompressor, self._first = self._make(), False
                try:
                    data = self._decompressor.decompress(rest, size)
                except (OSError, lzma.LZMAError):  # other trailing data: ignored, as other programs do
                    return b""
            elif decompressor.needs_input:
                chunk = self._source.read(_CHUNK)
                if not chunk:
                    raise EOFError("ended before the end of the compressed data")
                data = decompressor.decompress(chunk, size)
            else:
                data = decompressor.decompress(b"", size)
            if data:
                return data


class _Bounded(io.RawIOBase):
    """Decompressed bytes, limited by the ratio to the compressed bytes."""

    def __init__(self, expanded: Any, source: _Counted, where: str) -> None:
        self._expanded, self._source, self._where = expanded, source, where
        self._n_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._expanded.read(min(len(buffer), _PIECE))
        except DAMAGE as error:
            raise DataError(
                f"{self._where}: cannot be decompressed ({str(error) or type(error).__name__}): truncated or "
                "damaged; copy the file again"
            ) from None
        self._n_bytes += len(data)
        if self._n_bytes > FREE_BYTES + MAX_RATIO * self._source.n_read:
            raise _too_large(self._where)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._source.close()
        super().close()
