"""The loader: batches of fixed shapes, built in worker processes, from any position on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from nequix.core.errors import DataError
from nequix.core.spec import ModelSpec
from nequix.data.batch import Batch, collate
from nequix.data.graph_cache import GraphCache
from nequix.data.packing import Budget, Packing, Sizes, choose_budget, refuse_huge_budget, refuse_oversized
from nequix.data.sizes import measure
from nequix.data.sources import Source, Subset
from nequix.data.workers import ordered_map


class Loader:
    """Batches of a source, epoch after epoch (docs/data.md, loader).

    Each step yields a list of batches: one for each of ``mine``, which are those of the ``shards`` parts
    of a step that this process computes. The same arguments give the same batches, whatever the number of
    workers; processes that differ only in ``mine`` divide the same steps among themselves.

    Args:
        source: Structures with random access.
        spec: The model's specification: its elements and its cutoff.
        batch_size: Structures of a batch on average, from which the budget is chosen.
        budget: The shapes of a batch, instead of ``batch_size``.
        sizes: Those of the source, if they are known; measured otherwise.
        seed: Seed of the order.
        epochs: How many there are; None for no end.
        shuffle: Whether each epoch has an order of its own.
        shards: Batches of a step, of all processes together.
        mine: Which of them this process builds.
        n_workers: Worker processes; 0 builds in this one.
        memory: GiB for structures and their graphs, which are then built once. Workers share it, but not what
            they keep: one makes the most of it.
        cache: A file that keeps the sizes (:func:`nequix.data.sizes.measure`).
        skip_oversized: Leave out what exceeds the budget, and list it in ``skipped``, instead of raising.
        progress: Called with the number of structures that were measured since.

    Attributes:
        budget: The shapes.
        sizes: Of the structures that are loaded.
        skipped: Names of structures that were left out.
        steps_per_epoch: The same for every epoch.
        position: Steps taken since the beginning, of all epochs.

    Raises:
        DataError: If structures exceed the budget, naming them, if the budget exceeds the memory, or if the
            arguments contradict each other.
        GraphError: For a structure that has no graph, naming it.
    """

    def __init__(
        self,
        source: Source,
        spec: ModelSpec,
        *,
        batch_size: int | None = None,
        budget: Budget | None = None,
        sizes: Sizes | None = None,
        seed: int = 0,
        epochs: int | None = None,
        shuffle: bool = True,
        shards: int = 1,
        mine: Sequence[int] = (0,),
        n_workers: int = 0,
        memory: float = 0.0,
        cache: str | os.PathLike[str] | None = None,
        skip_oversized: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        if (batch_size is None) == (budget is None):
            raise DataError("give either batch_size or budget")
        if not set(mine) <= set(range(shards)) or not mine:
            raise DataError(f"mine = {list(mine)}, expected some of the {shards} shards, 0 to {shards - 1}")
        sizes = measure(source, spec.cutoff, n_workers, cache, progress) if sizes is None else sizes
        if len(sizes) != len(source) or sizes.cutoff != spec.cutoff:
            raise DataError(
                f"sizes of {len(sizes)} structures at {sizes.cutoff} A, expected {len(source)} at "
                f"{spec.cutoff} A"
            )
        self.budget: Budget = budget or choose_budget(sizes, batch_size or 0)
        refuse_huge_budget(self.budget.n_tiles, self.budget.n_graphs - 1)
        self.skipped: list[str] = []
        self.source: Source
        self.sizes: Sizes
        self.source, self.sizes = self._fitting(source, sizes, skip_oversized)
        self.spec: ModelSpec = spec
        self.epochs: int | None = epochs
        self._n_workers = n_workers
        self._packing = Packing(self.sizes, self.budget, seed, shards, shuffle)
        kept = GraphCache(self.source, spec, memory * 2**30 / max(1, n_workers))
        self._build = partial(_build_step, self._packing, kept, self.budget, shards, tuple(mine))
        self.steps_per_epoch: int = self._packing.n_batches // shards
        self._identity = {
            "seed": seed, "shards": shards, "shuffle": shuffle, "n_structures": len(self.source),
            "budget": [self.budget.n_nodes, self.budget.n_tiles, self.budget.n_graphs],
        }  # fmt: skip
        self.position: int = 0
        self._steps: Iterator[list[Batch]] | None = None

    def _fitting(self, source: Source, sizes: Sizes, skip: bool) -> tuple[Source, Sizes]:
        fits = (sizes.n_nodes <= self.budget.n_nodes) & (sizes.n_tiles <= self.budget.n_tiles)
        if fits.all():
            return source, sizes
        oversized = np.flatnonzero(~fits)
        names = [source[int(index)].name for index in oversized]
        if not skip or not fits.any():
            refuse_oversized(sizes.take(oversized), self.budget, names)
        self.skipped = names
        kept = np.flatnonzero(fits)
        return Subset(source, kept), sizes.take(kept)

    @property
    def fill(self) -> dict[str, float]:
        """Which part of the ``nodes``, ``tiles`` and ``graphs`` of the shapes is not padding."""
        return self._packing.fill()

    @property
    def epoch(self) -> int:
        """The epoch of the next step."""
        return self.position // self.steps_per_epoch

    def __iter__(self) -> Iterator[list[Batch]]:
        return self

    def __next__(self) -> list[Batch]:
        if self._steps is None:
            stop = (self.epochs if self.epochs is not None else 2**31) * self.steps_per_epoch
            self._steps = ordered_map(self._build, self.position, stop, self._n_workers)
        batches = next(self._steps)
        self.position += 1
        return batches

    def state(self) -> dict[str, Any]:
        """Return the position, as JSON can hold it, for :meth:`restore`."""
        return {"position": self.position, **self._identity}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go to a position: the next step is the one that would have followed :meth:`state`.

        The number of workers and ``mine`` may have changed since.

        Args:
            state: What :meth:`state` returned.

        Raises:
            DataError: If it is of another data set, seed or budget.
        """
        changed = [key for key, value in self._identity.items() if state.get(key) != value]
        if changed:
            changes = ", ".join(f"{key} {state.get(key)!r}, now {self._identity[key]!r}" for key in changed)
            raise DataError(
                f"the saved position is of other data ({changes}); resume with what it began with"
            )
        position = state.get("position")
        if type(position) is not int or position < 0:
            raise DataError(f"the saved position is {position!r:.40}, expected a step; use another one")
        self.close()
        self.position = position

    def close(self) -> None:
        """End the worker processes; the next step begins them again."""
        if self._steps is not None:
            self._steps.close()  # type: ignore[attr-defined]
            self._steps = None

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _build_step(
    packing: Packing,
    kept: GraphCache,
    budget: Budget,
    shards: int,
    mine: tuple[int, ...],
    step: int,
) -> list[Batch]:
    """Build this process's batches of a step."""
    epoch, within = divmod(step, packing.n_batches // shards)
    batches = packing.batches(epoch)[within * shards : (within + 1) * shards]
    taken = (kept.take(batches[shard]) for shard in mine)
    return [collate(structures, kept.spec, budget, graphs) for structures, graphs in taken]
