"""Similarity of labelled snapshots and target: whether small errors on the former apply to the latter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nequix.core.errors import GraphError
from nequix.coverage.assess_coverage import Coverage
from nequix.coverage.environments import name_of, pair_code
from nequix.data.batch import graph_of

if TYPE_CHECKING:
    from nequix.core.spec import ModelSpec
    from nequix.data.structure import Structure


def never_labelled(target: Sequence[Structure], labelled: Sequence[Structure], spec: ModelSpec) -> list[str]:
    """Name elements, and pairs within the cutoff, of the target that no labelled snapshot has.

    Pairs with an element that is named itself are left out, and so are structures that the model cannot
    evaluate.

    Args:
        target: Structures that the model is to be used for.
        labelled: Snapshots with measured errors.
        spec: The model's specification: its elements and its cutoff.
    """
    (elements, pairs), (known, met) = (_kinds(structures, spec) for structures in (target, labelled))
    strange = {name_of("crowd", number) for number in elements - known}
    names = [name_of("pairs", code) for code in sorted(pairs - met)]
    return [*sorted(strange), *(name for name in names if not strange & set(name.split("-")))]


def _kinds(structures: Sequence[Structure], spec: ModelSpec) -> tuple[set[int], set[int]]:
    """Return the atomic numbers and the codes of the pairs that occur."""
    elements: set[int] = set()
    pairs: set[int] = set()
    for structure in structures:
        try:
            graph = graph_of(structure, spec)
        except GraphError:
            continue
        numbers = np.asarray(structure.numbers)
        elements.update(numbers.tolist())
        pairs.update(np.unique(pair_code(numbers[graph.senders], numbers[graph.receivers])).tolist())
    return elements, pairs


class Oddity(NamedTuple):
    """A feature that makes a structure unlike the training set.

    Attributes:
        view: One of :data:`nequix.coverage.environments.VIEWS`, or ``features``.
        name: The pair, triple or element.
        low: Lower end.
        high: Upper end.
    """

    view: str
    name: str
    low: float
    high: float

    def meets(self, other: Oddity) -> bool:
        """Return whether both have one view and kind, and overlapping ranges.

        Args:
            other: The gap of another structure.
        """
        same = (self.view, self.name) == (other.view, other.name)
        return same and self.low <= other.high and other.low <= self.high


def shared(target: Coverage, labelled: Coverage) -> tuple[set[int], set[int]]:
    """Find structures outside with a worst gap that labelled structures outside also have.

    Args:
        target: Structures that the model is to be used for.
        labelled: Snapshots with measured errors, against the same reference.

    Returns:
        Indices in the target and in the labelled structures.
    """
    gravest = {structure: oddities[0] for structure, oddities in _oddities(target).items()}
    held = _oddities(labelled)
    alike: dict[Oddity, set[int]] = {
        one: {structure for structure, own in held.items() if any(map(one.meets, own))}
        for one in set(gravest.values())
    }
    found = {structure for structure, one in gravest.items() if alike[one]}
    return found, set().union(*alike.values())


def _oddities(coverage: Coverage) -> dict[int, list[Oddity]]:
    """List the gaps of each structure that is outside, the worst first.

    For a structure without a gap, which is outside only by the model's features, they are represented by the
    element of the most unusual atom.
    """
    from ase.data import chemical_symbols

    outside = [index for index, verdict in enumerate(coverage.verdicts) if verdict == "outside"]
    found: dict[int, list[Oddity]] = {index: [] for index in outside}
    for gap in coverage.gaps:
        for index in gap.structures:
            if index in found:
                found[index].append(Oddity(gap.view, gap.name, gap.low, gap.high))
    scores = np.split(coverage.score, np.cumsum(coverage.n_atoms)[:-1])
    numbers = np.split(coverage.numbers, np.cumsum(coverage.n_atoms)[:-1])
    for index in outside:
        if not found[index]:
            symbol = chemical_symbols[numbers[index][scores[index].argmax()]]
            found[index].append(Oddity("features", symbol, -np.inf, np.inf))
    return found
