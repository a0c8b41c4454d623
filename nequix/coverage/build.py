"""References from training sets."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from math import gcd
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nequix.core.errors import DataError, GraphError
from nequix.coverage.distances import shorter
from nequix.coverage.environments import Environments, environments_of
from nequix.coverage.features import FeatureSums, last_features
from nequix.coverage.histograms import Tally, added
from nequix.coverage.reference import Calibration, Reference
from nequix.data.batch import graph_of
from nequix.data.structure import Structure
from nequix.graphs.graph import Graph
from nequix.io.provenance import describe_model
from nequix.io.weights import Weights

if TYPE_CHECKING:
    from nequix.potential import Potential

HELD_OUT = 10
"""One composition in this many is held out to find out what is usual, and included afterwards."""

MOST_HELD_OUT = 1500
"""Number of held-out structures that are evaluated."""

BLOCK = 256
"""Number of structures per evaluation of features."""


def build_reference(
    structures: Iterable[Structure],
    weights: Weights,
    potential: Potential | None,
    data: str,
    progress: Callable[[int], None] | None = None,
    *,
    source: str = "",
    caveat: str = "",
) -> Reference:
    """Compute the reference of a training set.

    Args:
        structures: The set, which may be read twice; labels are ignored.
        weights: The model that was trained on it.
        potential: The same model on a backend; without one the reference has no features.
        data: Description of the set.
        progress: Called with the number of structures that are done since.
        source: Origin of the data: URL, digest, licence.
        caveat: Caveat about the data for readers of reports.

    Raises:
        DataError: If there are too few structures.
        GraphError: For a structure that the model cannot have been trained on, naming it.
    """
    description = describe_model(weights)
    counts = _count(structures, weights, potential, _by_composition, progress)
    if not (counts.held and counts.main.n_structures):  # few compositions: structures themselves are held out
        counts = _count(structures, weights, potential, _by_number, progress)
    if not (counts.held and counts.main.n_structures):
        n = counts.main.n_structures + counts.rest.n_structures
        raise DataError(
            f"{data}: too few structures ({n}), expected {HELD_OUT} or more; give the whole training set"
        )
    main, rest, sums, rest_sums, held = counts

    def reference(
        some: Tally, histograms: dict, features: FeatureSums, calibration: Calibration
    ) -> Reference:
        known = features.reference() if potential is not None else None
        names = (weights.provenance.name, description["checksum"], weights.digest or "unknown")
        counts = (some.n_structures, some.n_atoms)
        return Reference(
            *names,
            weights.spec.cutoff,
            data,
            *counts,
            histograms,
            known,
            calibration,
            shorter(main.shortest, rest.shortest),
            source,
            caveat,
        )

    counted = main.histograms()
    trial = reference(main, counted, sums, Calibration({}, {}, {}))
    calibration = Calibration.of([trial.values(*pair) for pair in held])
    main.n_structures += rest.n_structures
    main.n_atoms += rest.n_atoms
    if rest_sums.n:
        sums.n += rest_sums.n
        sums.first, sums.second = sums.first + rest_sums.first, sums.second + rest_sums.second
    return reference(main, added(counted, rest.histograms()), sums, calibration)


class _Counts(NamedTuple):
    """Counts of two parts of a training set, and environments and features of some of the second."""

    main: Tally
    rest: Tally
    sums: FeatureSums
    rest_sums: FeatureSums
    held: list[tuple[Environments, np.ndarray | None]]


def _count(
    structures: Iterable[Structure],
    weights: Weights,
    potential: Potential | None,
    held_out: Callable[[Structure, int], bool],
    progress: Callable[[int], None] | None,
) -> _Counts:
    cutoff = weights.spec.cutoff
    main, rest, sums, rest_sums = Tally(cutoff), Tally(cutoff), FeatureSums(), FeatureSums()
    held: list[tuple[Environments, np.ndarray | None]] = []
    rng = np.random.default_rng(0)
    for index, (structure, environments, features) in enumerate(_look(structures, weights, potential)):
        aside = held_out(structure, index)
        (rest if aside else main).add(environments)
        if features is not None:
            (rest_sums if aside else sums).add(features)
        if aside:  # a fair sample of the held-out structures
            place = int(rng.integers(rest.n_structures))
            if len(held) < MOST_HELD_OUT:
                held.append((environments, features))
            elif place < MOST_HELD_OUT:
                held[place] = environments, features
        if progress is not None:
            progress(1)
    return _Counts(main, rest, sums, rest_sums, held)


def _look(
    structures: Iterable[Structure], weights: Weights, potential: Potential | None
) -> Iterator[tuple[Structure, Environments, np.ndarray | None]]:
    stream = iter(structures)
    while block := list(islice(stream, BLOCK)):
        graphs: list[Graph] = [graph_of(structure, weights.spec) for structure in block]
        features = last_features(potential, graphs) if potential is not None else [None] * len(block)
        for structure, known in zip(block, features, strict=True):
            yield structure, environments_of(structure, weights.spec.cutoff), known


def _by_composition(structure: Structure, index: int) -> bool:
    """Choose compositions (ratios of elements) by a hash, so that similar structures stay together."""
    numbers, counts = np.unique(structure.numbers, return_counts=True)
    ratios = (counts // gcd(*counts.tolist())).tolist()
    text = repr(list(zip(numbers.tolist(), ratios, strict=True)))
    return hashlib.sha256(text.encode()).digest()[0] % HELD_OUT == 0


def _by_number(structure: Structure, index: int) -> bool:
    return index % HELD_OUT == HELD_OUT - 1


def tally(structures: Iterable[Structure], cutoff: float) -> Tally:
    """Count structures that are known in addition to a training set.

    Args:
        structures: The structures.
        cutoff: Radius, A.

    Raises:
        GraphError: For an invalid structure, naming it.
    """
    counted = Tally(cutoff)
    for structure in structures:
        counted.add(environments_of(structure, cutoff))
    if not counted.n_structures:
        raise GraphError("there is no structure to be counted as known")
    return counted
