"""ASE databases: SQLite (``.db``) and LMDB (``.aselmdb``)."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from nequix.core.errors import BackendUnavailable, DataError, reason
from nequix.data.database_rows import check_settings, open_sqlite, read_row
from nequix.data.label_keys import LabelKeys
from nequix.data.sources import Source
from nequix.data.structure import Structure, from_atoms
from nequix.io.installation import install_command

_UNWRITTEN = 8
_MOST = 1024  # databases that are kept open

# By path and process: which file the path meant, its database, the ids of its rows, its size.
_handles: OrderedDict[tuple[str, int], tuple[tuple[int, int], Any, list[int], int]] = OrderedDict()


class DatabaseSource(Source):
    """The rows of an ASE database, by ascending id.

    Args:
        path: A ``.db`` or ``.aselmdb`` file.
        keys: Where the labels are: among the results, the key-value pairs and the data of a row.
    """

    def __init__(self, path: str | os.PathLike[str], keys: LabelKeys) -> None:
        self.path: str = os.fspath(path)
        self.keys = keys

    def __len__(self) -> int:
        return len(self._opened()[1])

    def __getitem__(self, index: int) -> Structure:
        index = self._checked(index)
        database, ids = self._opened()
        name = f"{os.path.basename(self.path)}:{index}"
        try:
            row = _row(database, ids[index], self.path)
            atoms = row.toatoms()
            extra = {**row.key_value_pairs, **row.data}
        except Exception as error:  # a damaged row raises whatever its decoding met
            message = f"{name}: cannot be read ({reason(error)}); copy or convert the file again"
            raise DataError(message) from error
        return from_atoms(atoms, name, self.keys, extra)

    def atoms(self) -> Iterator[Any]:
        """Read the rows as ``ase.Atoms``, in order."""
        database, ids = self._opened()
        for index, identifier in enumerate(ids):
            try:
                yield _row(database, identifier, self.path).toatoms()
            except Exception as error:  # a damaged row raises whatever its decoding met
                message = f"{self.path}: row {index} cannot be read ({reason(error)}); copy the file again"
                raise DataError(message) from error

    def _opened(self) -> tuple[Any, list[int]]:
        try:
            status = os.stat(self.path)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be opened ({error.strerror}); check the path") from None
        path = os.path.realpath(self.path)
        # An LMDB file that was touched or appended to keeps its handle, and that keeps its inode from others.
        # SQLite files are opened for every reading: there the time has to tell.
        return _held(path, (status.st_ino, status.st_mtime_ns if _is_sqlite(path) else 0), status.st_size)


def read_rows(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Read the rows of a database as ``ase.Atoms``, by ascending id.

    Args:
        path: A ``.db`` or ``.aselmdb`` file.

    Raises:
        DataError: If it is not such a database, or a row cannot be read.
    """
    return DatabaseSource(path, LabelKeys()).atoms()


def _held(path: str, version: tuple[int, int], size: int) -> tuple[Any, list[int]]:
    """Open a database once in a process: LMDB allows no more, and no handle survives a fork."""
    key = (path, os.getpid())
    held = _handles.get(key)
    if held is not None and (held[0] != version or size < held[3]):  # a smaller file was written over it
        del _handles[key]
        if not _is_sqlite(path):
            held[1].close()  # LMDB takes a file that shares its lock file for the one that was replaced
        held = None
    if held is None:
        held = _handles[key] = (version, *_open(path), size)
        if len(_handles) > _MOST:
            _handles.popitem(last=False)
    _handles.move_to_end(key)
    return held[1:3]


def _open(path: str) -> tuple[Any, list[int]]:
    database = connect(path, readonly=True)
    try:
        ids = database.ids if hasattr(database, "ids") else _list_ids(database)
    except Exception as error:  # SQLite's and LMDB's errors have no common base
        raise DataError(f"{path}: cannot be read ({reason(error)}); is it an ASE database?") from error
    return database, list(ids)


def _row(database: Any, identifier: int, path: str) -> Any:
    """Read a row, of an LMDB file that has outgrown what is mapped of it, too."""
    try:
        return read_row(database, identifier, path)
    except Exception as error:
        if type(error).__name__ != "MapResizedError":
            raise
        database.env.set_mapsize(os.path.getsize(path))
        return read_row(database, identifier, path)


def _is_sqlite(path: str) -> bool:
    return path.lower().endswith(".db")


def _list_ids(database: Any) -> list[int]:
    return [row.id for row in database.select(columns=["id"], include_data=False)]


def connect(path: str | os.PathLike[str], readonly: bool) -> Any:
    """Open an ASE database.

    Args:
        path: A ``.db`` or ``.aselmdb`` file.
        readonly: Whether an LMDB file is opened only for reading.

    Raises:
        BackendUnavailable: If the package for ``.aselmdb`` files is not installed.
        DataError: If the file is not such a database.
    """
    try:
        if _is_sqlite(os.fspath(path)):
            return open_sqlite(os.fspath(path))
        from ase_db_backends.aselmdb import LMDBDatabase

        if readonly:
            _check_lmdb(os.fspath(path))
        return LMDBDatabase(os.fspath(path), use_lock_file=False, readonly=readonly)
    except ImportError as error:
        raise BackendUnavailable(
            f".aselmdb files need another package ({error}); install it: {install_command('train')}"
        ) from error
    except DataError:
        raise
    except Exception as error:  # LMDB's errors have no common base with SQLite's
        raise DataError(f"{path}: cannot be opened ({reason(error)}); is it an ASE database?") from error


def _check_lmdb(path: str) -> None:
    """Reject an LMDB file that lacks its end, where reading would kill the process (SIGBUS), or rows."""
    import lmdb

    size = os.path.getsize(path)
    with lmdb.open(path, subdir=False, readonly=True, lock=False) as environment:
        statistics, last = environment.stat(), environment.info()["last_pgno"]
        used = 2 + statistics["branch_pages"] + statistics["leaf_pages"] + statistics["overflow_pages"]
        # A whole file may lack a last page or so, allotted and given up within one transaction.
        expected = max(used, last + 1 - _UNWRITTEN) * statistics["psize"]
        if size < expected:
            raise DataError(f"{path}: has {size} of {expected} bytes; copy or convert it again")
        check_settings(environment, path)
