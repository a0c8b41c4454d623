"""Packing: which structures make a batch, so that the shapes are fixed and little of them is padding.

The sizes of all structures are measured once. An epoch's batches are then decided before it begins, from
only the seed and the epoch: every process knows all of them and builds its own, all epochs have the same
number of batches, and the position within a run is one number.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from nequix.core.errors import DataError, GraphError
from nequix.graphs.memory import refuse_huge_batch
from nequix.graphs.tiling import CHUNK_TILES, TILE

if TYPE_CHECKING:
    from jaxtyping import Int, Int32

WINDOW = 32
"""Batches that are packed together: enough to even out sizes, few enough that chance decides neighbours."""

_ATTEMPTS = 3
_NAMED = 10


@dataclass(frozen=True, eq=False)
class Sizes:
    """How large the graphs of a source are, for one cutoff.

    Attributes:
        n_nodes: Atoms of each structure.
        n_edges: Edges of each structure.
        n_tiles: Tiles that the edges fill (:func:`nequix.graphs.tiling.tiles_needed`).
        cutoff: A.
    """

    n_nodes: Int32[np.ndarray, " n"]
    n_edges: Int32[np.ndarray, " n"]
    n_tiles: Int32[np.ndarray, " n"]
    cutoff: float

    def __len__(self) -> int:
        return len(self.n_nodes)

    @classmethod
    def of(cls, table: Int[np.ndarray, "n 3"], cutoff: float) -> Sizes:
        """Take the columns of a table: atoms, edges and tiles.

        Args:
            table: A row for each structure.
            cutoff: A.
        """
        nodes, edges, tiles = np.asarray(table, np.int32).reshape(-1, 3).T
        return cls(nodes, edges, tiles, cutoff)

    def take(self, indices: Sequence[int] | np.ndarray) -> Sizes:
        """Take some structures' sizes.

        Args:
            indices: Which.
        """
        chosen = np.asarray(indices)
        return Sizes(self.n_nodes[chosen], self.n_edges[chosen], self.n_tiles[chosen], self.cutoff)


@dataclass(frozen=True)
class Budget:
    """The shapes of a batch, padding included.

    Attributes:
        n_nodes: Atoms.
        n_tiles: Tiles of edges.
        n_graphs: Structures, one more than fit: the padding is a structure too.
    """

    n_nodes: int
    n_tiles: int
    n_graphs: int


def choose_budget(sizes: Sizes, batch_size: int) -> Budget:
    """Choose shapes that hold a number of structures on average, and the largest structure in any case.

    Args:
        sizes: Those of the source.
        batch_size: Average number of structures per batch.

    Raises:
        DataError: If there are no structures, the batch size is not positive, or the edges of a batch exceed
            the memory.
    """
    if not len(sizes) or batch_size < 1:
        raise DataError(f"{len(sizes)} structures in batches of {batch_size}, expected at least one of each")
    batch_size = min(batch_size, len(sizes))
    mean_tiles, mean_nodes = max(sizes.n_tiles.mean(), 1.0), sizes.n_nodes.mean()
    n_tiles = max(math.ceil(batch_size * mean_tiles), int(sizes.n_tiles.max()), 1)
    if n_tiles > CHUNK_TILES:
        n_tiles = -(-n_tiles // CHUNK_TILES) * CHUNK_TILES
    refuse_huge_budget(n_tiles, batch_size)
    # As many structures' atoms as their tiles; measured, both are then filled alike.
    n_nodes = max(math.ceil(n_tiles / mean_tiles * mean_nodes), int(sizes.n_nodes.max()))
    return Budget(n_nodes, n_tiles, min(2 * math.ceil(n_tiles / mean_tiles), len(sizes)) + 1)


def refuse_huge_budget(n_tiles: int, n_structures: int) -> None:
    """Reject shapes with more edges than the memory holds.

    Args:
        n_tiles: Tiles of a batch.
        n_structures: Structures of a batch, on average.

    Raises:
        DataError: Saying what the edges would take.
    """
    try:
        refuse_huge_batch(n_tiles * TILE, n_structures)
    except GraphError as error:
        raise DataError(str(error)) from None


def refuse_oversized(sizes: Sizes, budget: Budget, names: Sequence[str]) -> NoReturn:
    """Raise the error for structures that no batch holds.

    Args:
        sizes: Those of the structures.
        budget: The shapes.
        names: The structures' names.

    Raises:
        DataError: Naming them, and the budget that they need.
    """
    shown = ", ".join(
        f"{name} ({nodes} atoms, {tiles} tiles)"
        for name, nodes, tiles in zip(names[:_NAMED], sizes.n_nodes, sizes.n_tiles, strict=False)
    )
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    raise DataError(
        f"{len(names)} structures exceed the budget of {budget.n_nodes} atoms and {budget.n_tiles} tiles: "
        f"{shown}{more}; raise it to {max(budget.n_nodes, sizes.n_nodes.max())} and "
        f"{max(budget.n_tiles, sizes.n_tiles.max())}, or leave these structures out"
    )


class Packing:
    """The batches of every epoch.

    Args:
        sizes: Those of the source; each fits the budget.
        budget: The shapes.
        seed: Seed of the order.
        multiple_of: The number of batches is a multiple of this.
        shuffle: Whether each epoch has an order of its own; otherwise all have the same, whatever the seed.

    Attributes:
        n_batches: Batches of an epoch.
    """

    def __init__(
        self, sizes: Sizes, budget: Budget, seed: int, multiple_of: int = 1, shuffle: bool = True
    ) -> None:
        self._nodes, self._tiles = sizes.n_nodes.tolist(), sizes.n_tiles.tolist()
        fractions = [sizes.n_nodes / budget.n_nodes, sizes.n_tiles / budget.n_tiles]
        self._loads = np.maximum(*fractions)
        self._budget, self._seed, self._shuffle = budget, seed, shuffle
        least = max([*(math.ceil(values.sum() - 1e-9) for values in fractions), 1])
        self.n_batches = -(-least // multiple_of) * multiple_of
        while (packed := self._attempts(0)) is None:
            self.n_batches += -(-self.n_batches // 100 // multiple_of) * multiple_of or multiple_of
        self._first = packed
        self._last: tuple[int, list[Int[np.ndarray, " n"]]] = (-1, [])

    def batches(self, epoch: int) -> list[Int[np.ndarray, " n"]]:
        """List the structures of each batch of an epoch; each structure occurs once.

        Args:
            epoch: Which, from zero.
        """
        if self._last[0] != epoch:
            rng = np.random.default_rng([self._seed, epoch, 0]) if self._shuffle else None
            # Should chance pack an epoch too badly, it takes the batches of the first, in another order.
            packed = self._attempts(epoch if self._shuffle else 0) or self._first
            order = np.arange(len(packed)) if rng is None else rng.permutation(len(packed))
            self._last = (epoch, [np.array(packed[batch], np.int64) for batch in order])
        return self._last[1]

    def _attempts(self, epoch: int) -> list[list[int]] | None:
        """Pack an epoch's order, or another one should that fail; the number of batches is given."""
        for attempt in range(1, 1 + _ATTEMPTS):
            # Drawn without shuffling, too: windows of a source that is sorted by size would be filled badly.
            seed = [self._seed, epoch, attempt] if self._shuffle else [attempt]
            packed = self._pack(np.random.default_rng(seed).permutation(len(self._loads)))
            if packed is not None:
                return packed
        return None

    def _pack(self, order: Int[np.ndarray, " n"]) -> list[list[int]] | None:
        """Cut an order into windows of equal load and spread each evenly over its batches."""
        n_windows = max(1, round(self.n_batches / WINDOW))
        load = np.cumsum(self._loads[order])
        cuts = np.searchsorted(load, load[-1] * np.arange(1, n_windows) / n_windows)
        counts = np.diff(np.round(np.linspace(0, self.n_batches, n_windows + 1)).astype(int))
        packed = []
        for window, count in zip(np.split(order, cuts), counts.tolist(), strict=True):
            if not self._shuffle:
                window.sort()  # structures of equal size keep the source's order
            largest_first = window[np.argsort(-self._loads[window], kind="stable")]
            batches = self._spread(largest_first.tolist(), count)
            if batches is None:
                return None
            packed += batches
        return packed

    def _spread(self, structures: list[int], count: int) -> list[list[int]] | None:
        """Put each structure into the emptiest batch that has room for it."""
        nodes, tiles = [0] * count, [0] * count
        batches: list[list[int]] = [[] for _ in range(count)]
        budget = self._budget
        heap = [(0.0, batch) for batch in range(count)]
        for index in structures:
            full = []
            while heap:
                load, batch = heapq.heappop(heap)
                more_nodes, more_tiles = nodes[batch] + self._nodes[index], tiles[batch] + self._tiles[index]
                room = len(batches[batch]) < budget.n_graphs - 1
                if room and more_nodes <= budget.n_nodes and more_tiles <= budget.n_tiles:
                    break
                full.append((load, batch))
            else:
                return None
            nodes[batch], tiles[batch] = more_nodes, more_tiles
            batches[batch].append(index)
            heapq.heappush(heap, (max(more_nodes / budget.n_nodes, more_tiles / budget.n_tiles), batch))
            for entry in full:
                heapq.heappush(heap, entry)
        return batches

    def fill(self) -> dict[str, float]:
        """Return which part of the atoms, tiles and structures of the shapes is not padding."""
        n = self.n_batches
        return {
            "nodes": sum(self._nodes) / (n * self._budget.n_nodes),
            "tiles": sum(self._tiles) / (n * self._budget.n_tiles),
            "graphs": len(self._loads) / (n * (self._budget.n_graphs - 1)),
        }
