"""Histograms of environments: number of training structures with each distance, angle or number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from nequix.coverage.distances import shorter, shortest
from nequix.coverage.environments import VIEWS, Environments, Events, n_bins

if TYPE_CHECKING:
    from jaxtyping import Float, Int

WIDTHS = {"pairs": 1.0, "angles": 0.7, "coordination": 0.7, "crowd": 1.5, "orders": 1.5}
"""Smoothing width in bins: a structure also counts for neighbouring bins, by a Gaussian of height one."""

_BINS = 256  # more than any view has
_PENDING = 2_000_000  # events that are buffered before they are counted


@dataclass(frozen=True, eq=False)
class Histogram:
    """One view of a training set.

    Attributes:
        codes: The kinds that occur, ascending, such as pairs of species.
        counts: Number of structures with at least one such event, by kind and bin.
    """

    codes: Int[np.ndarray, " k"]
    counts: Float[np.ndarray, "k n_bins"]

    def smoothed(self, width: float) -> Histogram:
        """Smooth the counts over neighbouring bins.

        Args:
            width: Width of the Gaussian, in bins.
        """
        bins = np.arange(self.counts.shape[1])
        near = np.exp(-0.5 * ((bins[:, None] - bins) / width) ** 2)
        return Histogram(self.codes, self.counts @ near)

    def row(self, code: int) -> Float[np.ndarray, " n_bins"]:
        """Return the counts of one kind; zeros if it does not occur.

        Args:
            code: The kind.
        """
        found = np.flatnonzero(self.codes == code)
        return self.counts[found[0]] if len(found) else np.zeros(self.counts.shape[1])

    def total(self, events: Events) -> Float[np.ndarray, " n"]:
        """Sum the counts of each event's kind over its bins.

        Args:
            events: Events of the same view.
        """
        sums = Histogram(self.codes, self.counts.sum(axis=1, keepdims=True))
        return sums.of(events._replace(bin=np.zeros_like(events.bin)))

    def of(self, events: Events) -> Float[np.ndarray, " n"]:
        """Look up how many structures have each event; zero for kinds that do not occur.

        Args:
            events: Events of the same view.
        """
        if not len(self.codes):
            return np.zeros(len(events.code))
        place = np.minimum(np.searchsorted(self.codes, events.code), len(self.codes) - 1)
        return np.where(self.codes[place] == events.code, self.counts[place, events.bin], 0.0)


Histograms = Mapping[str, Histogram]
"""A histogram for each of ``VIEWS``."""


@dataclass(eq=False)
class Tally:
    """Histograms that are extended structure by structure.

    Args:
        cutoff: Radius, A.

    Attributes:
        n_structures: Number of counted structures.
        n_atoms: Number of their atoms.
        shortest: Shortest distance of each pair of elements, A (:func:`nequix.coverage.distances.shortest`).
    """

    cutoff: float
    n_structures: int = 0
    n_atoms: int = 0
    shortest: dict[tuple[int, int], float] = field(default_factory=dict)
    _seen: dict[str, dict[int, int]] = field(default_factory=lambda: {view: {} for view in VIEWS})
    _pending: dict[str, list[np.ndarray]] = field(default_factory=lambda: {view: [] for view in VIEWS})
    _n_pending: int = 0

    def add(self, environments: Environments) -> None:
        """Count a structure.

        Args:
            environments: Of its atoms.
        """
        self.n_structures += 1
        self.n_atoms += len(environments.numbers)
        self.shortest = shorter(self.shortest, shortest(environments.pairs))
        for view in VIEWS:
            events: Events = getattr(environments, view)
            keys = np.unique(events.code.astype(np.int64) * _BINS + events.bin)
            self._pending[view].append(keys)
            self._n_pending += len(keys)
        if self._n_pending > _PENDING:
            self._settle()

    def _settle(self) -> None:
        for view in VIEWS:
            seen = self._seen[view]
            keys, counts = np.unique(np.concatenate([*self._pending[view], []]), return_counts=True)
            for key, count in zip(keys.astype(int).tolist(), counts.tolist(), strict=True):
                seen[key] = seen.get(key, 0) + count
            self._pending[view] = []
        self._n_pending = 0

    def histograms(self) -> dict[str, Histogram]:
        """Return the counts so far."""
        self._settle()
        found = {}
        for view in VIEWS:
            keys = np.array(list(self._seen[view]), np.int64)
            codes, place = np.unique(keys // _BINS, return_inverse=True)
            counts = np.zeros((len(codes), n_bins(view, self.cutoff)))
            counts[place, keys % _BINS] = list(self._seen[view].values())
            found[view] = Histogram(codes, counts)
        return found


def added(some: Histograms, others: Histograms) -> dict[str, Histogram]:
    """Add the counts of two sets of structures.

    Args:
        some: Histograms.
        others: Histograms with the same bins.
    """
    sums = {}
    for view in VIEWS:
        a, b = some[view], others[view]
        codes = np.union1d(a.codes, b.codes)
        counts = np.zeros((len(codes), a.counts.shape[1]))
        for one in (a, b):
            counts[np.searchsorted(codes, one.codes)] += one.counts
        sums[view] = Histogram(codes, counts)
    return sums
