"""Whether labelled snapshots are like the target: what small errors on them say of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nequix.core.errors import GraphError
from nequix.coverage.environments import name_of, pair_code
from nequix.data.batch import graph_of

if TYPE_CHECKING:
    from nequix.core.spec import ModelSpec
    from nequix.data.structure import Structure


def never_labelled(target: Sequence[Structure], labelled: Sequence[Structure], spec: ModelSpec) -> list[str]:
    """Name what the target has and no labelled snapshot: elements, and pairs that meet within the cutoff.

    Pairs with an element that is named itself are left out, and so are structures that the model cannot
    evaluate.

    Args:
        target: What the model shall be used for.
        labelled: Snapshots whose errors were measured.
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
