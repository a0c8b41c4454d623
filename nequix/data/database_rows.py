"""Rows of ASE databases, decoded by :mod:`nequix.data.ase_json` instead of ASE's own decoder."""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np

from nequix.core.errors import DataError
from nequix.data.ase_json import decode, decompress_row

_SETTINGS = ("nextid", "deleted_ids", "metadata")


def open_sqlite(path: str) -> Any:
    """Open an SQLite database of ASE; its text is decoded strictly.

    Args:
        path: The ``.db`` file.
    """
    return _sqlite_class()(path, use_lock_file=False)


@functools.cache
def _sqlite_class() -> type:
    from ase.db.core import bytes_to_object
    from ase.db.sqlite import SQLite3Database

    class StrictDatabase(SQLite3Database):
        """An SQLite database that decodes all of a row at once, and nothing but dicts."""

        def decode(self, txt: Any, lazy: bool = False) -> Any:
            values = (
                decode(txt, os.path.basename(str(self.filename)))
                if isinstance(txt, str)
                else bytes_to_object(txt)
            )
            return values if isinstance(values, dict) else {}

    return StrictDatabase


def check_settings(environment: Any, path: str) -> None:
    """Check what an LMDB database says of itself before ASE's reader believes it.

    Args:
        environment: The open LMDB environment.
        path: Its file, for messages.

    Raises:
        DataError: If an entry is damaged, or there are fewer rows than it claims.
    """
    with environment.begin() as transaction:
        stored = {name: transaction.get(name.encode()) for name in _SETTINGS}
    where = os.path.basename(path)
    values = {
        name: decode(decompress_row(bytes(data), where), where)
        for name, data in stored.items()
        if data is not None
    }
    claimed, deleted = values.get("nextid", 1), values.get("deleted_ids", [])
    n_rows = environment.stat()["entries"]
    if type(claimed) is not int or claimed - 1 - np.size(deleted) > n_rows or np.size(deleted) > claimed:
        raise DataError(
            f"{path}: claims {str(claimed)[:40]} rows, but has {n_rows} entries; copy the file again"
        )


def read_row(database: Any, identifier: int, path: str) -> Any:
    """Read a row, without constraints and the parameters of its calculator.

    Args:
        database: ASE's, of SQLite or LMDB.
        identifier: The row's id.
        path: The file, for messages.

    Raises:
        DataError: If the row is damaged or claims more than it has.
        Exception: What the database raises.
    """
    if hasattr(database, "env"):
        return _read_lmdb(database, identifier, path)
    row = database.get(id=identifier)
    row._constraints = []  # decoded by ASE's own decoder, and of no use for labels
    return row


def _read_lmdb(database: Any, identifier: int, path: str) -> Any:
    from ase.calculators.calculator import all_properties
    from ase.db.row import AtomsRow

    where = f"{os.path.basename(path)}: row {identifier}"
    with database.env.begin() as transaction:
        data = transaction.get(str(identifier).encode())
    if data is None:
        raise DataError(f"{where}: missing from the database; copy the file again")
    values = decode(decompress_row(bytes(data), where), where)
    if not isinstance(values, dict):
        raise DataError(f"{where}: not a row of ASE; copy the file again")
    for key in all_properties:
        if isinstance(values.get(key), list):
            values[key] = np.array(values[key])
    for key in ("calculator_parameters", "constraints"):
        values.pop(key, None)
    return AtomsRow({**values, "id": identifier})
