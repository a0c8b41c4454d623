"""The task ``errors``: a model's predictions for a data set, block by block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from nequix.calculator import NequixCalculator
from nequix.core.errors import DataError, GraphError
from nequix.data.batch import graph_of
from nequix.data.label_keys import LabelKeys
from nequix.data.label_table import LABELS
from nequix.data.labels import tell_unread
from nequix.data.opening import open_source
from nequix.data.sources import Source
from nequix.data.structure import Structure, refuse_not_finite
from nequix.evaluation.digests import describe_paths
from nequix.evaluation.task import ItemResult
from nequix.graphs.batches import MAX_ATOMS, evaluate_graphs
from nequix.graphs.graph import Graph
from nequix.metrics.predictions import Predictions

BLOCK = 64
"""Structures of an item: what a killed run has to do again at most, for each worker."""


@dataclass(frozen=True)
class Errors:
    """Predictions for labelled structures, to be compared with their labels.

    Attributes:
        paths: What :func:`nequix.data.opening.open_source` opens.
        keys: Where the labels are.
        max_atoms: Atoms evaluated at once; at least one structure is.

    Example:
        >>> from nequix import Errors
        >>> Errors(("labelled.extxyz",)).name
        'errors'
    """

    paths: tuple[str, ...]
    keys: LabelKeys = field(default_factory=LabelKeys)
    max_atoms: int = MAX_ATOMS
    name: str = "errors"

    def settings(self) -> dict[str, Any]:
        """List what the numbers depend on besides the model."""
        keys = {name: getattr(self.keys, name) for name in ("energy", "forces", "stress", "virial")}
        return {"data": describe_paths(self.paths), "label_keys": keys, "block": BLOCK}

    def items(self) -> list[str]:
        """Name the blocks in the data's order.

        Raises:
            DataError: If the data cannot be read, or only streamed.
        """
        _source.cache_clear()  # a new run, for which the files may have been written again
        n = len(_source(self.paths, self.keys))
        if not n:
            raise DataError(f"{', '.join(self.paths)}: contains no structure; is it complete?")
        return [f"structures-{start:08d}" for start in range(0, n, BLOCK)]

    def refuse_unfound(self) -> None:
        """Reject keys of labels that were named, but that no structure has, and data without any label.

        Raises:
            DataError: Naming the key, and what else the first structure has.
        """
        named = self.keys.named()
        source = _source(self.paths, self.keys)
        missing = set(named)
        for index in range(len(source)):
            try:
                structure = source[index]
            except DataError:  # the report lists it, with its reason
                return
            missing = {label for label in missing if getattr(structure, label) is None}
            if not missing and (named or any(getattr(structure, label) is not None for label in LABELS)):
                return
        if not len(source):
            return
        if not named:
            raise DataError(
                f"{', '.join(self.paths)}: none of {len(source)} structures has an energy, forces or a "
                f"stress; {tell_unread(source[0])}; name their keys (--energy-key, --forces-key, "
                "--stress-key, --virial-key)"
            )
        keys = " or ".join(f"{named[label]!r} ({label})" for label in LABELS if label in missing)
        raise DataError(
            f"{', '.join(self.paths)}: none of {len(source)} structures has {keys}; "
            f"{tell_unread(source[0])}; name another key, or leave the option out"
        )

    def evaluate(self, item: str, calculator: NequixCalculator) -> ItemResult:
        """Predict the structures of a block; those that cannot be evaluated are listed with the reason.

        Args:
            item: The block.
            calculator: The model.
        """
        source = _source(self.paths, self.keys)
        start = int(item.rpartition("-")[2])
        failures: list[list[str]] = []
        prepared = list(_prepare(source, range(start, min(start + BLOCK, len(source))), calculator, failures))
        parts, files = [], []
        graphs = [graph for *_, graph in prepared]
        for (file, structure, _), results in zip(
            prepared, evaluate_graphs(calculator.potential, graphs, self.max_atoms), strict=True
        ):
            energy = float(results.energy[0])
            if np.isfinite(energy) and np.isfinite(results.forces).all():
                parts.append(Predictions.of(structure, energy, results.forces, results.stress[0]))
                files.append(file)
            else:
                failures.append([structure.name, f"energy {energy} eV, or forces that are not finite"])
        together = Predictions.join(parts)
        return ItemResult(
            {"names": list(together.names), "files": files, "failures": failures}, together.arrays()
        )


def _prepare(
    source: Source, indices: Iterable[int], calculator: NequixCalculator, failures: list[list[str]]
) -> Iterator[tuple[int, Structure, Graph]]:
    """Read structures and build their graphs, with the index of their file; what fails is noted."""
    for index in indices:
        name = f"structure {index}"
        try:
            structure = source[index]
            name = structure.name
            refuse_not_finite(structure)
            yield source.part_of(index), structure, graph_of(structure, calculator.spec)
        except (DataError, GraphError) as error:
            failures.append([name, str(error)])


@lru_cache(maxsize=1)
def _source(paths: tuple[str, ...], keys: LabelKeys) -> Source:
    """Open the data once a run and process: compressed files are read whole."""
    return open_source(paths, keys)
