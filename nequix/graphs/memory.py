"""Estimate of the number of edges of a structure before the search, and of how many fit in memory."""

from __future__ import annotations

import contextlib
import math
import os
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nequix.core.errors import GraphError

if TYPE_CHECKING:
    from jaxtyping import Float

EDGE_BYTES = 120
"""Memory per edge at the peak of the search and of a calculator's lists (docs/neighbors.md)."""

MAX_EDGES = 2**31 - 1
"""Edges are counted in int32."""


def refuse_huge(
    positions: Float[np.ndarray, "n 3"], cutoff: float, n_neighbors: float, most_neighbors: float
) -> None:
    """Reject a structure with more edges than fit in memory.

    Args:
        positions: A; of periodic structures within the cell.
        cutoff: Radius, A.
        n_neighbors: Average number of neighbours per atom if atoms were spread evenly.
        most_neighbors: Upper bound of the neighbours of any atom.

    Raises:
        GraphError: With the estimated number of edges and their memory.
    """
    limit = max_edges()
    if len(positions) * most_neighbors <= limit:  # almost always; no estimate needed
        return
    n_edges = max(len(positions) * n_neighbors, _count_clustered(positions, cutoff))
    if n_edges > limit:
        raise GraphError(
            f"{len(positions)} atoms would have about {n_edges:.3g} edges within {cutoff:g} A, which need "
            f"{n_edges * EDGE_BYTES / 2**30:.3g} GiB; {limit:.3g} fit in memory: give a smaller "
            "structure, or use a model with a smaller cutoff"
        )


def refuse_huge_batch(n_edges: int, n_structures: int) -> None:
    """Reject a batch with more edges than fit in memory, before allocating anything of its size.

    Args:
        n_edges: Edges of all structures, including padding.
        n_structures: Number of structures.

    Raises:
        GraphError: With the number of edges and their memory.
    """
    limit = max_edges()
    if n_edges > limit:
        raise GraphError(
            f"a batch of {n_structures} structures would have {n_edges:.3g} edges, which need "
            f"{n_edges * EDGE_BYTES / 2**30:.3g} GiB; {limit:.3g} fit in memory: make batches "
            "smaller, or leave the largest structures out"
        )


@cache
def max_edges() -> float:
    """Return how many edges fit in the memory that this process may use."""
    return min(MAX_EDGES, _memory() / EDGE_BYTES)


def _memory() -> float:
    """Return the bytes of the machine's memory, or of the container's if that is less; inf if unknown."""
    limits = [math.inf]
    with contextlib.suppress(AttributeError, OSError, ValueError):  # not on every platform
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for place in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(place).read_text()))
        except (OSError, ValueError):  # "max": no limit
            continue
    return min(limit for limit in limits if limit > 0)


def _count_clustered(positions: Float[np.ndarray, "n 3"], cutoff: float) -> float:
    """Estimate the edges of unevenly spread atoms: pairs in neighbouring cubes, times a ball's share."""
    cubes = np.floor((positions - positions.min(axis=0)) / cutoff).astype(np.int64) + 1
    strides = np.cumprod([1, *(cubes.max(axis=0)[:2] + 2)])
    keys, counts = np.unique(cubes @ strides, return_counts=True)
    n_pairs = 0.0
    for step in product((-1, 0, 1), repeat=3):
        near = keys + np.array(step) @ strides
        place = np.minimum(np.searchsorted(keys, near), len(keys) - 1)
        n_pairs += float(counts[keys[place] == near] @ counts[place[keys[place] == near]].astype(float))
    return n_pairs * (4 / 3 * math.pi) / 27
