"""Structures kept in memory with their graphs, so that an epoch need not read and build them again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from nequix.core.spec import ModelSpec
from nequix.data.batch import graph_of
from nequix.data.sources import Source
from nequix.data.structure import Structure
from nequix.graphs.graph import Graph

_OBJECTS = 4096  # bytes that a structure and its graph take beside their arrays' values


class GraphCache:
    """A source whose structures come with their graphs; what is asked for first is kept, until it is full.

    It pickles empty: every worker process fills its own.

    Args:
        source: Structures with random access.
        spec: The model's specification: its elements and its cutoff.
        size: Bytes; zero keeps nothing.
    """

    def __init__(self, source: Source, spec: ModelSpec, size: float) -> None:
        self.source: Source = source
        self.spec: ModelSpec = spec
        self.size: float = size
        self._kept: dict[int, tuple[Structure, Graph]] = {}
        self._left = size

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}, "_left": self.size}

    def take(self, indices: Iterable[int]) -> tuple[list[Structure], list[Graph]]:
        """Return some structures and their graphs.

        Args:
            indices: Which.

        Raises:
            DataError: If a structure cannot be read.
            GraphError: For a structure that the model cannot evaluate, naming it.
        """
        pairs = [self._pair(int(index)) for index in indices]
        return [structure for structure, _ in pairs], [graph for _, graph in pairs]

    def _pair(self, index: int) -> tuple[Structure, Graph]:
        if index in self._kept:
            return self._kept[index]
        structure = self.source[index]
        pair = structure, graph_of(structure, self.spec)
        needed = _OBJECTS + sum(map(_bytes, pair))
        if needed <= self._left:
            self._kept[index] = pair
            self._left -= needed
        return pair


def _bytes(item: Any) -> int:
    values = [getattr(item, field.name) for field in fields(item)]
    return sum(
        value.nbytes if isinstance(value, np.ndarray) else _bytes(value) if is_dataclass(value) else 0
        for value in values
    )
