"""Sizes of all graphs of a source: measured once in worker processes, and kept in a file."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from nequix.core.errors import DataError, GraphError
from nequix.data.packing import Sizes
from nequix.data.sources import Source
from nequix.data.structure import Structure
from nequix.data.workers import ordered_map
from nequix.graphs.graph import refuse_singular
from nequix.graphs.neighbors import neighbor_list
from nequix.graphs.tiling import TILE
from nequix.io.files import write_atomic
from nequix.io.npz import check_npz

CHUNK = 64
"""Structures that a worker measures at a time."""


def size_of(structure: Structure, cutoff: float) -> tuple[int, int, int]:
    """Count the atoms, edges and tiles of a structure's graph.

    Args:
        structure: The structure.
        cutoff: Radius of the neighbourhood, A.

    Raises:
        GraphError: For a structure that has no graph, naming it.
    """
    arguments = (structure.positions, structure.cell, structure.pbc, cutoff)
    try:
        if not len(structure.numbers):
            raise GraphError("no atoms; leave this structure out")
        if not (np.isfinite(structure.positions).all() and np.isfinite(structure.cell).all()):
            raise GraphError("positions or cell are not finite; correct the source")
        refuse_singular(structure.cell, structure.pbc)
        receivers = neighbor_list(*arguments)[1]
    except (GraphError, np.linalg.LinAlgError) as error:
        raise GraphError(f"{structure.name}: {error}") from None
    counts = np.bincount(receivers, minlength=len(structure.numbers))
    return len(structure.numbers), len(receivers), int((-(-counts // TILE)).sum())


def measure(
    source: Source,
    cutoff: float,
    n_workers: int = 0,
    cache: str | os.PathLike[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Sizes:
    """Measure every structure of a source.

    Args:
        source: The source.
        cutoff: Radius of the neighbourhood, A.
        n_workers: Worker processes.
        cache: A file that keeps the sizes; read if it holds those of as many structures and this cutoff,
            written otherwise.
        progress: Called with the number of structures that were measured since.

    Raises:
        GraphError: For a structure that has no graph, naming it.
    """
    n = len(source)
    if cache is not None and (kept := _read(Path(cache), source, cutoff)) is not None:
        return kept
    rows = []
    chunks = ordered_map(partial(_measure_chunk, source, cutoff), 0, -(-n // CHUNK), n_workers)
    for chunk in chunks:
        rows.append(chunk)
        if progress is not None:
            progress(len(chunk))
    table = np.concatenate([*rows, np.zeros((0, 3), np.int32)])
    if cache is not None:
        buffer = io.BytesIO()
        np.savez(buffer, sizes=table, cutoff=cutoff, source=_fingerprint(source))
        Path(cache).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(cache, [buffer.getvalue()])
    return Sizes.of(table, cutoff)


def _measure_chunk(source: Source, cutoff: float, chunk: int) -> np.ndarray:
    indices = range(chunk * CHUNK, min((chunk + 1) * CHUNK, len(source)))
    return np.array([size_of(source[index], cutoff) for index in indices], np.int32)


def _read(cache: Path, source: Source, cutoff: float) -> Sizes | None:
    if not cache.is_file():
        return None
    try:
        # Opened here, since NumPy leaves a file open that is not an archive.
        with open(cache, "rb") as handle:
            check_npz(handle, str(cache))
            with np.load(handle, allow_pickle=False) as kept:
                table = kept["sizes"]
                if float(kept["cutoff"]) != cutoff or str(kept["source"]) != _fingerprint(source):
                    return None
    except Exception as error:  # a damaged archive raises whatever its parsing met
        raise DataError(f"{cache}: sizes cannot be read ({error}); delete the file") from error
    return Sizes.of(table, cutoff)


def _fingerprint(source: Source) -> str:
    """Identify a source by its length and a few of its structures."""
    n = len(source)
    digest = hashlib.sha256(str(n).encode())
    for index in np.unique(np.linspace(0, n - 1, min(n, 16)).astype(int)).tolist():
        structure = source[index]
        digest.update(structure.numbers.astype(np.int64).tobytes() + structure.positions.tobytes())
        digest.update(structure.cell.tobytes() + structure.pbc.tobytes())
    return digest.hexdigest()
