"""The run directory: the identity of the run, and a file with the result of every item."""

from __future__ import annotations

import contextlib
import io
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.lib.npyio import NpzFile

from nequix.core.errors import DataError
from nequix.core.migrations import Format, NewerVersion
from nequix.evaluation.task import ItemResult
from nequix.io import strict_json
from nequix.io.files import TEMPORARY, make_folder, write_atomic
from nequix.io.header import shorten
from nequix.io.limits import read_bounded
from nequix.io.locks import LOCK, Busy, NoLocks, lock
from nequix.io.npz import check_npz

RUN = "run.json"
"""File of the run's identity; it is written first."""

TRAINING = "config.json"
"""File that a training run has (``nequix.train.folder.CONFIG``; importing that would import JAX)."""

ITEMS = "items"
"""Folder of the results: ``ITEM.json``, and ``ITEM.npz`` if there are arrays."""

RUN_FORMAT = Format("evaluation run")
"""Versions of :data:`RUN`: ``task``, ``settings`` and ``engine``; a ``rewrite`` can look at the task."""

ITEM_FORMAT = Format("evaluated item")
"""Versions of an item's JSON; a resumed run may contain items of several versions."""

_DAMAGE = (OSError, ValueError, EOFError, BadZipFile, zlib.error, NotImplementedError)
"""Exceptions from reading arrays in a missing or damaged file."""

_NAME = re.compile(r"[\w+-][\w.+-]*")


class RunDirectory:
    """The results of a run, each written atomically: an item is done if its files can be read.

    Args:
        folder: The folder, which :meth:`begin` creates.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def begin(self, identity: dict[str, Any]) -> Iterator[None]:
        """Create or resume the folder, and keep other processes away within the context.

        Args:
            identity: Everything that the numbers depend on, as JSON values.

        Raises:
            DataError: If the folder cannot be created, contains a training run, another run or a damaged
                ``run.json``, or another process runs there.
        """
        if (self.folder / TRAINING).exists() and not (self.folder / RUN).exists():
            raise DataError(
                f"{self.folder}: contains a training run; its figures would be lost; choose another folder"
            )
        make_folder(self.folder)
        make_folder(self.folder / ITEMS)
        try:
            with lock(self.folder / LOCK):
                self._check(json.loads(json.dumps(identity)))
                for left in (self.folder / ITEMS).glob(TEMPORARY):
                    left.unlink()
                yield
        except Busy:
            raise DataError(
                f"{self.folder}: another process is running there; wait for it, or choose another folder"
            ) from None
        except NoLocks as error:
            raise DataError(f"{self.folder}: cannot be locked ({error}); choose another folder") from None

    def _check(self, identity: dict[str, Any]) -> None:
        path = self.folder / RUN
        if not path.exists():
            write_atomic(path, [_json({"version": RUN_FORMAT.version, **identity})])
            return
        recorded = _read_record(path, RUN_FORMAT)
        if recorded != identity:
            text = differences(recorded, identity)
            raise DataError(f"{self.folder}: contains a run with {text}; choose another folder")

    def path(self, item: str) -> Path:
        """Return the JSON file of an item.

        Args:
            item: Its name.

        Raises:
            DataError: If the name is not a valid file name.
        """
        if not _NAME.fullmatch(item):
            raise DataError(f"item {item!r}: expected a name of letters, digits, '_', '.', '+' and '-'")
        return self.folder / ITEMS / f"{item}.json"

    def done(self, item: str) -> bool:
        """Return whether an item has a readable result, which may be a failure.

        Args:
            item: Its name.
        """
        try:
            with self._open(item):
                return True
        except DataError:
            return False

    def read(self, item: str) -> ItemResult:
        """Read the result of a finished item.

        Args:
            item: Its name.

        Raises:
            DataError: If its files are missing or damaged.
        """
        with self._open(item) as (held, stored):
            arrays = {name: stored[name] for name in stored.files} if stored is not None else {}
            return ItemResult(held["values"], arrays, held["error"])

    @contextlib.contextmanager
    def _open(self, item: str) -> Iterator[tuple[dict[str, Any], NpzFile | None]]:
        """Yield an item's JSON and its arrays, which are read lazily."""
        path = self.path(item)
        held = _read_record(path, ITEM_FORMAT)
        if missing := {"values", "error"} - held.keys():
            raise _damaged(path, f"without {', '.join(sorted(missing))}")
        if not isinstance(held["values"], dict) or not isinstance(held["error"], str | None):
            raise _damaged(path, "values or error of another type")
        path = path.with_suffix(".npz")
        names = held.get("arrays")  # absent in items of version 1
        if names == [] or (names is None and not path.exists()):
            yield held, None
            return
        try:
            with path.open("rb") as handle:
                check_npz(handle, str(path))
                with np.load(handle, allow_pickle=False) as stored:
                    if names is not None and sorted(stored.files) != names:
                        raise ValueError(f"holds {', '.join(stored.files)}")
                    yield held, stored
        except _DAMAGE as error:
            raise _damaged(path, error) from None

    def write(self, item: str, outcome: ItemResult, seconds: float) -> None:
        """Write the result of an item.

        Args:
            item: Its name.
            outcome: The result.
            seconds: Time it took, s.

        Raises:
            FileError: If the disk is full or the folder is write-protected.
        """
        path = self.path(item)
        if outcome.arrays:
            content = io.BytesIO()
            np.savez_compressed(content, allow_pickle=False, **dict(outcome.arrays))
            write_atomic(path.with_suffix(".npz"), [content.getvalue()])
        record = {
            "version": ITEM_FORMAT.version,
            "item": item,
            "error": outcome.error,
            "seconds": seconds,
            "arrays": sorted(outcome.arrays),
            "values": dict(outcome.values),
        }
        write_atomic(path, [_json(record)])

    def forget(self, item: str) -> None:
        """Remove the result of an item, so that it is evaluated again.

        Args:
            item: Its name.
        """
        path = self.path(item)
        path.unlink(missing_ok=True)
        path.with_suffix(".npz").unlink(missing_ok=True)


def _json(values: dict[str, Any]) -> bytes:
    return json.dumps(values, indent=1, allow_nan=False).encode() + b"\n"


def _read_record(path: Path, versions: Format) -> dict[str, Any]:
    """Read a JSON object and upgrade it to the current version.

    Raises:
        DataError: If it is damaged or of a newer version.
    """
    try:
        record = strict_json.parse_object(read_bounded(path))
        return versions.upgrade(record, record.pop("version", 1))
    except NewerVersion as error:
        raise DataError(f"{path}: {error}, or choose another folder") from None
    except ValueError as error:
        raise _damaged(path, shorten(error)) from None


def _damaged(path: Path, why: object) -> DataError:
    return DataError(f"{path}: damaged ({why}); delete it and give the same command again")


def differences(held: dict[str, Any], asked: dict[str, Any]) -> str:
    """List the differences between two runs.

    Args:
        held: Identity of one run.
        asked: Identity of the other.
    """
    changes = []
    for name in sorted(held | asked):
        old, new = held.get(name), asked.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            changes += [differences(old, new)] if old != new else []
        elif old != new:
            changes.append(f"{name} = {old!r} (got {new!r})")
    return ", ".join(changes)
