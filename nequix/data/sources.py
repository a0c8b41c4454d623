"""Sources: data sets as sequences of structures, whatever they are stored in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

import numpy as np

from nequix.core.errors import DataError
from nequix.data.structure import Structure
from nequix.io.limits import COMPRESSED

XYZ = tuple(f"{ending}{packed}" for packed in ("", *COMPRESSED) for ending in (".xyz", ".extxyz"))
ZIP = (".zip",)
DATABASES = (".db", ".aselmdb")
MPTRJ_JSON = (".json", ".json.gz")


class StreamError(DataError, TypeError):
    """A source that can only be read from beginning to end was asked for its length, or for one structure.

    A TypeError too, since that is what ``list`` takes for having no length.
    """


class Source(ABC):
    """A data set: structures by index, or one after the other.

    It pickles to little more than its path, so that worker processes open it for themselves.

    Attributes:
        path: Where it is.
    """

    path: str

    @abstractmethod
    def __len__(self) -> int:
        """Count the structures.

        Raises:
            StreamError: If the source can only be streamed.
            DataError: If it cannot be read.
        """

    @abstractmethod
    def __getitem__(self, index: int) -> Structure:
        """Read one structure.

        Raises:
            StreamError: If the source can only be streamed.
            DataError: If the structure cannot be read.
            IndexError: If there is no such structure.
        """

    def __iter__(self) -> Iterator[Structure]:
        """Read every structure in order; a source that can only be streamed offers nothing else."""
        return self.read(0)

    def read(self, start: int) -> Iterator[Structure]:
        """Read the structures from an index on.

        Args:
            start: How many to pass over.
        """
        for index in range(start, len(self)):
            yield self[index]

    def part_of(self, index: int) -> int:
        """Return which of several joined paths a structure is from, counted from 0.

        Args:
            index: The structure.
        """
        return 0

    def parts(self) -> list[str]:
        """List the paths that :meth:`part_of` counts."""
        return [self.path]

    def _checked(self, index: int) -> int:
        """Count an index from the end if it is negative."""
        n = len(self)
        if not -n <= index < n:
            raise IndexError(f"{self.path}: index {index}, but there are {n} structures")
        return index % n


class Subset(Source):
    """Some structures of a source, in a given order.

    Args:
        source: The source.
        indices: Which of its structures.
    """

    def __init__(self, source: Source, indices: Sequence[int] | np.ndarray) -> None:
        self.source = source
        self.indices: np.ndarray = np.asarray(indices, np.int64)
        self.path: str = source.path

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Structure:
        return self.source[int(self.indices[self._checked(index)])]

    def part_of(self, index: int) -> int:
        """Return which of several joined paths a structure is from."""
        return self.source.part_of(int(self.indices[self._checked(index)]))

    def parts(self) -> list[str]:
        """List the paths that :meth:`part_of` counts."""
        return self.source.parts()


class Joined(Source):
    """Sources one after the other.

    Args:
        sources: At least one.
        path: What messages call them together.
    """

    def __init__(self, sources: Sequence[Source], path: str) -> None:
        self.sources: tuple[Source, ...] = tuple(sources)
        self.path = path
        self._ends: list[int] | None = None

    def _boundaries(self) -> list[int]:
        if self._ends is None:
            self._ends = list(accumulate(len(source) for source in self.sources))
        return self._ends

    def __len__(self) -> int:
        return self._boundaries()[-1]

    def __getitem__(self, index: int) -> Structure:
        index = self._checked(index)
        which = bisect_right(self._boundaries(), index)
        return self.sources[which][index - (self._boundaries()[which - 1] if which else 0)]

    def part_of(self, index: int) -> int:
        """Return which of the joined sources a structure is from."""
        return bisect_right(self._boundaries(), self._checked(index))

    def parts(self) -> list[str]:
        """List the paths of the joined sources."""
        return [source.path for source in self.sources]

    def read(self, start: int) -> Iterator[Structure]:
        """Read the structures from an index on."""
        for position, source in enumerate(self.sources):
            if start == 0:
                yield from source
                continue
            if position == len(self.sources) - 1:  # never counted, as streams cannot be
                yield from source.read(start)
                return
            try:
                n = len(source)
            except StreamError:
                for structure in source:
                    if start == 0:
                        yield structure
                    start = max(0, start - 1)
                continue
            yield from source.read(min(start, n))
            start = max(0, start - n)


FEW = 5
"""Structures below which what is held out decides by chance which epoch is the best."""


def split(
    source: Source,
    fraction: float,
    seed: int,
    prefer: Callable[[Structure], bool] | None = None,
    least: int = 1,
) -> tuple[Subset, Subset]:
    """Hold out a part of a source at random, the same for the same seed.

    Args:
        source: The source.
        fraction: Part to hold out, from 0 to 1; a fraction above zero holds out one structure at least.
        seed: Seed of the draw.
        prefer: Which structures are held out first if at most :data:`FEW` are, in the order of the draw.
        least: How many to hold out at least, but no more than a quarter (one in any case).

    Returns:
        The larger part, to train on, and the part held out, each in the source's order.

    Raises:
        DataError: If the fraction is not between 0 and 1, or leaves nothing to train on.
    """
    n = len(source)
    if not 0 <= fraction < 1:
        raise DataError(f"fraction = {fraction} to hold out, expected a number from 0 to below 1")
    held = max(round(fraction * n), min(least, max(1, n // 4)) if fraction > 0 else 0)
    if not n:
        raise DataError(f"{source.path}: contains no structure; is it complete?")
    if held >= n:
        raise DataError(
            f"{source.path}: holding out {held} of {n} structures leaves none; add structures, name others "
            "for validation, or hold out none (valid_fraction: 0)"
        )
    order = np.random.default_rng(seed).permutation(n)
    if prefer is not None and 0 < held <= FEW:
        order = np.array(sorted(order.tolist(), key=lambda index: not prefer(source[index])))
    return Subset(source, np.sort(order[held:])), Subset(source, np.sort(order[:held]))
