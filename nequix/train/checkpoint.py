"""Checkpoints: one safetensors file with the state's arrays, and the rest as JSON in its metadata."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy

from nequix.core.errors import DataError
from nequix.core.migrations import Change, Format, NewerVersion
from nequix.io import checked, strict_json
from nequix.io.files import write_atomic
from nequix.io.limits import check_regular

FORMAT = Format("checkpoint", (Change({"rest.data": {}}),))
"""Versions of checkpoints: a record of the ``arrays`` by their position in the state, and the ``rest``.

Version 1 has no digests of the data.
"""

# AttributeError: an array of a dtype that NumPy lacks, such as float8
_DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, safetensors.SafetensorError)


class DamagedCheckpoint(DataError):
    """A checkpoint that differs from what was written."""


def leaves_by_name(tree: Any) -> dict[str, Any]:
    """Return the arrays of a tree by their position in it.

    Args:
        tree: Any tree of arrays.
    """
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def save_checkpoint(path: Path, state: Any, rest: dict[str, Any]) -> None:
    """Write a checkpoint atomically.

    Args:
        path: The file to create or replace.
        state: A tree of arrays.
        rest: Anything else that JSON can store: the loader's position, the best loss, the configuration.

    Raises:
        WeightsError: If it cannot be written; an existing file is kept.
    """
    arrays = {name: np.asarray(leaf) for name, leaf in leaves_by_name(state).items()}
    # One key only: the library writes several in random order, but equal states must give equal files.
    record = {"version": FORMAT.version, "rest": rest, "checksum": _checksum(arrays, rest)}
    metadata = {"json": json.dumps(record, allow_nan=False)}
    write_atomic(path, [safetensors.numpy.save(arrays, metadata)])


def load_checkpoint(path: Path, like: Any) -> tuple[Any, dict[str, Any]]:
    """Read a checkpoint.

    Args:
        path: The file.
        like: A state of the same configuration; the arrays must match its tree, shapes and dtypes.

    Returns:
        The state, as NumPy arrays in the tree of ``like``, and the rest.

    Raises:
        DamagedCheckpoint: If it is missing or differs from what was written.
        DataError: If it belongs to another configuration, naming the array, or has a newer version.
    """
    try:
        check_regular(path)
        with safetensors.safe_open(path, "numpy") as handle:
            record = strict_json.parse_object((handle.metadata() or {})["json"])
            arrays = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
        rest = checked.section(record, "rest")
        whole = record.get("checksum") == _checksum(arrays, rest)
        record = FORMAT.upgrade({"rest": rest, "arrays": arrays}, record.get("version"))
    except NewerVersion as error:
        raise DataError(f"{path}: {error}, or choose another folder") from None
    except _DAMAGE as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DamagedCheckpoint(f"{path}: not a checkpoint, or damaged ({reason}); use another one") from None
    if not whole:
        raise DamagedCheckpoint(f"{path}: damaged: the checksum does not match the content; use another one")
    rest, arrays = record["rest"], record["arrays"]
    expected = leaves_by_name(like)
    if arrays.keys() != expected.keys():
        odd = sorted(arrays.keys() ^ expected.keys())
        raise DataError(
            f"{path}: belongs to another configuration: {odd[:3]} are not in both; use that of the run"
        )
    for name, leaf in expected.items():
        if arrays[name].shape != leaf.shape or arrays[name].dtype != leaf.dtype:
            raise DataError(
                f"{path}: {name} is {arrays[name].dtype}{list(arrays[name].shape)}, this configuration has "
                f"{leaf.dtype}{list(leaf.shape)}; use that of the run"
            )
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in expected]), rest


def load_newest(paths: Sequence[Path], like: Any) -> tuple[Any, dict[str, Any]] | None:
    """Read the newest intact checkpoint, with a warning that names damaged ones.

    Args:
        paths: Checkpoints, the newest last.
        like: A state of the same configuration.

    Returns:
        What :func:`load_checkpoint` returns; None where there are no paths.

    Raises:
        DamagedCheckpoint: If none is intact.
        DataError: If one belongs to another configuration.
    """
    damaged: DamagedCheckpoint | None = None
    for path in reversed(paths):
        try:
            loaded = load_checkpoint(path, like)
        except DamagedCheckpoint as error:
            damaged = error
            continue
        if damaged is not None:
            warnings.warn(f"{damaged}; resuming from {path}", RuntimeWarning, stacklevel=2)
        return loaded
    if damaged is not None:
        raise DamagedCheckpoint(
            f"{damaged} of {len(paths)}, but none is intact; delete {paths[0].parent} to begin again"
        )
    return None


def _checksum(arrays: dict[str, np.ndarray], rest: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()
