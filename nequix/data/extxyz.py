"""Extended XYZ: single files, compressed or not, and archives of many."""

from __future__ import annotations

import contextlib
import io
import os
import zipfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import IO, Any

import numpy as np

from nequix.core.errors import DataError
from nequix.data.label_keys import LabelKeys
from nequix.data.sources import XYZ, Source
from nequix.data.structure import Structure, from_atoms
from nequix.data.xyz_atoms import parse_atoms
from nequix.io.limits import COMPRESSED, decompress, open_bounded, open_member, read_up_to

_ENCRYPTED = 1  # a bit of a file's flags

_CELL_VECTOR = b"VEC"  # lines that some programs write after the atoms

MAX_IN_MEMORY = 4 * 2**30
"""Bytes up to which a decompressed file is kept in memory; a larger one can only be streamed."""


class XyzSource(Source):
    """A file of extended XYZ frames, compressed (``.gz``, ``.bz2``, ``.xz``) or not.

    The first random access reads it once for the frames' offsets. A compressed file has no random access
    of its own: it is then held in memory, decompressed, by every process.

    Args:
        path: The file.
        keys: Where the labels are.
    """

    def __init__(self, path: str | os.PathLike[str], keys: LabelKeys) -> None:
        self.path: str = os.fspath(path)
        self.keys = keys
        self._offsets: np.ndarray | None = None
        self._held: bytes | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": None}

    def __len__(self) -> int:
        return len(self._frames()) - 1

    def __getitem__(self, index: int) -> Structure:
        index = self._checked(index)
        begin, end = self._frames()[index : index + 2].tolist()
        with reading(self.path), self._random_access() as handle:
            handle.seek(begin)
            text = handle.read(end - begin)
        return parse(text, self._name(index), self.keys)

    def read(self, start: int) -> Iterator[Structure]:
        """Read the structures from an index on, holding one at a time."""
        with reading(self.path), open_bounded(self.path) as handle:
            for index, text in enumerate(frames(handle, self.path)):
                if index >= start:
                    yield parse(text, self._name(index), self.keys)

    def _name(self, index: int) -> str:
        return f"{os.path.basename(self.path)}:{index}"

    def _random_access(self) -> IO[bytes]:
        if not _is_compressed(self.path):
            # Reopened for each structure: a handle shared with a forked process would share its position.
            return open(self.path, "rb")
        if self._held is None:
            self._held = _decompressed(self.path)
        return io.BytesIO(self._held)

    def _frames(self) -> np.ndarray:
        """Return the offset of every frame, and the end."""
        if self._offsets is None:
            with reading(self.path), self._random_access() as handle:
                self._offsets = np.cumsum([0, *(len(text) for text in frames(handle, self.path))])
        return self._offsets


class ZipSource(Source):
    """An archive of extended XYZ files, as MPtrj is published: one file a material.

    The first random access reads the whole archive once to count the frames of each file.

    Args:
        path: The archive.
        keys: Where the labels are.
    """

    def __init__(self, path: str | os.PathLike[str], keys: LabelKeys) -> None:
        self.path: str = os.fspath(path)
        self.keys = keys
        self._starts: np.ndarray | None = None

    def __len__(self) -> int:
        return int(self._counted()[-1])

    def __getitem__(self, index: int) -> Structure:
        index = self._checked(index)
        member = int(np.searchsorted(self._counted(), index, "right")) - 1
        wanted = index - int(self._counted()[member])
        archive, members = self._opened()
        name, text = next(item for i, item in enumerate(self._texts(archive, members[member])) if i == wanted)
        return parse(text, name, self.keys)

    def read(self, start: int) -> Iterator[Structure]:
        """Read the structures from an index on, holding one at a time."""
        index = 0
        archive, members = self._opened()
        for member in members:
            for name, text in self._texts(archive, member):
                if index >= start:
                    yield parse(text, name, self.keys)
                index += 1

    def _opened(self) -> tuple[zipfile.ZipFile, list[str]]:
        with reading(self.path):
            status = os.stat(self.path)
        # Which file the path means now: another one may have been written over it.
        version = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        return _archive(self.path, version, os.getpid())

    def _texts(self, archive: zipfile.ZipFile, member: str) -> Iterator[tuple[str, bytes]]:
        """Read the names and texts of the frames of one file."""
        where = f"{os.path.basename(self.path)}/{member}"
        with reading(where), open_member(archive, archive.getinfo(member), where) as stored:
            for index, text in enumerate(frames(decompress(stored, member), where)):
                yield f"{where}:{index}", text

    def _counted(self) -> np.ndarray:
        """Return the index of every file's first frame, and the number of frames."""
        if self._starts is None:
            archive, members = self._opened()
            counts = [sum(1 for _ in self._texts(archive, member)) for member in members]
            self._starts = np.cumsum([0, *counts])
        return self._starts


def frames(handle: IO[bytes], where: str) -> Iterator[bytes]:
    """Cut an extended XYZ file into its frames' texts, without looking into them.

    Args:
        handle: An open file.
        where: Its name, for messages.

    Raises:
        DataError: If a frame has no atom count, or the file ends within one.
    """
    index, blank = 0, b""
    first = handle.readline()
    while first:
        if not first.strip():
            blank += first  # a part of the next frame, so that the texts' lengths add up
            first = handle.readline()
            continue
        word = first.strip()
        if not word.isdigit() or len(word) > 18:
            raise DataError(
                f"{where}: frame {index} begins with {first[:40]!r}, expected its number of atoms; is the "
                "file extended XYZ, and whole?"
            )
        count, text = int(word), bytearray(blank + first)
        for _ in range(count + 1):
            line = handle.readline()
            if not line:
                raise DataError(
                    f"{where}: ends within frame {index}, expected {count} atoms; copy the file again"
                )
            text += line
        first = handle.readline()
        while first.lstrip().startswith(_CELL_VECTOR):
            text += first
            first = handle.readline()
        yield bytes(text)
        index, blank = index + 1, b""


def parse(text: bytes, name: str, keys: LabelKeys) -> Structure:
    """Read one frame.

    Args:
        text: Its lines.
        name: What messages call it.
        keys: Where the labels are.

    Raises:
        DataError: If it is not extended XYZ, or a label is wrong.
    """
    return from_atoms(parse_atoms(text, name), name, keys)


@contextlib.contextmanager
def reading(where: str) -> Iterator[None]:
    """Turn what a missing or damaged file raises into a :class:`DataError`.

    Args:
        where: The file's name.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{where}: no such file; check the path") from error
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"{where}: cannot be read ({error}); copy the file again") from error
    except NotImplementedError as error:  # a compression that Python does not have
        raise DataError(f"{where}: cannot be read ({error}); unpack the archive elsewhere") from error


def _is_compressed(path: str) -> bool:
    return path.lower().endswith(COMPRESSED)


def _decompressed(path: str) -> bytes:
    with open_bounded(path) as handle:
        data = read_up_to(handle, MAX_IN_MEMORY)
    if data is None:
        raise DataError(
            f"{path}: over {MAX_IN_MEMORY / 2**30:g} GB decompressed, too much for the memory; convert it: "
            f"nequix data convert {path} -o FOLDER"
        )
    return data


@lru_cache(maxsize=4)
def _archive(path: str, version: tuple[int, ...], process: int) -> tuple[zipfile.ZipFile, list[str]]:
    """Open an archive once for a process: MPtrj's directory of 146 thousand files takes its time."""
    del version, process  # parts of the key: an inherited handle would share its position with the parent's
    with reading(path):
        archive = zipfile.ZipFile(path)
    # What a desktop adds to the archives that it packs is not data.
    members = [member for member in archive.infolist() if member.filename.lower().endswith(XYZ)]
    members = [member for member in members if not member.filename.startswith("__MACOSX/")]
    if not members:
        raise DataError(f"{path}: an archive without .extxyz files; give another file")
    if locked := [member.filename for member in members if member.flag_bits & _ENCRYPTED]:
        raise DataError(f"{path}: {locked[0]} has a password; unpack the archive, and give the folder")
    return archive, [member.filename for member in members]
