"""Checkpoints: one safetensors file with the state's arrays, and the rest as JSON in its metadata."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy

from nequix.core.errors import DataError
from nequix.core.files import write_atomic


def leaves_by_name(tree: Any) -> dict[str, Any]:
    """List the arrays of a tree by their places in it.

    Args:
        tree: Any tree of arrays.
    """
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def save_checkpoint(path: Path, state: Any, rest: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: The file to make or replace.
        state: A tree of arrays.
        rest: Anything else that JSON can hold: the loader's position, the best loss, the configuration.

    Raises:
        WeightsError: If it cannot be written; what was there before stays.
    """
    arrays = {name: np.asarray(leaf) for name, leaf in leaves_by_name(state).items()}
    # One key only: the library writes several in random order, and equal states shall make equal files.
    metadata = {"json": json.dumps({"rest": rest, "checksum": _checksum(arrays)})}
    write_atomic(path, [safetensors.numpy.save(arrays, metadata)])


def load_checkpoint(path: Path, like: Any) -> tuple[Any, dict[str, Any]]:
    """Read a checkpoint.

    Args:
        path: The file.
        like: A state of the same configuration, whose tree, shapes and dtypes the arrays must fit.

    Returns:
        The state, as NumPy arrays in the tree of ``like``, and the rest.

    Raises:
        DataError: If it is missing, damaged or of another configuration, naming the array.
    """
    try:
        with safetensors.safe_open(path, "numpy") as handle:
            metadata = json.loads((handle.metadata() or {})["json"])
            arrays = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
        rest, whole = metadata["rest"], metadata["checksum"] == _checksum(arrays)
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise DataError(f"{path}: no checkpoint, or a damaged one ({error!r}); use another one") from None
    if not whole:
        raise DataError(f"{path}: the checksum does not fit the arrays: damaged; use another one")
    expected = leaves_by_name(like)
    if arrays.keys() != expected.keys():
        odd = sorted(arrays.keys() ^ expected.keys())
        raise DataError(
            f"{path}: is of another configuration: {odd[:3]} are not in both; use that of the run"
        )
    for name, leaf in expected.items():
        if arrays[name].shape != leaf.shape or arrays[name].dtype != leaf.dtype:
            raise DataError(
                f"{path}: {name} is {arrays[name].dtype}{list(arrays[name].shape)}, this configuration has "
                f"{leaf.dtype}{list(leaf.shape)}; use that of the run"
            )
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in expected]), rest


def _checksum(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()
