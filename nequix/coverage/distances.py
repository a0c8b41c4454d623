"""The shortest distance between atoms of each pair of elements in a training set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from nequix.coverage.environments import BIN_WIDTH, Events, Z

if TYPE_CHECKING:
    from jaxtyping import Float, Int

Distances = Mapping[tuple[int, int], float]
"""Distances in A by the atomic numbers of a pair, the smaller one first."""

PER_ANGSTROM = 1000
"""Distances are rounded down to this fraction of 1 A, so that no structure of the data is below them."""


def shortest(pairs: Events) -> dict[tuple[int, int], float]:
    """Find the shortest distance of each pair of elements in one structure.

    Args:
        pairs: Distances between its atoms (:class:`nequix.coverage.environments.Environments`).

    Returns:
        Distances in A by atomic numbers, the smaller one first; rounded down to 0.001 A.
    """
    order = np.lexsort((pairs.value, pairs.code))
    codes, first = np.unique(pairs.code[order], return_index=True)
    values = np.floor(pairs.value[order][first] * PER_ANGSTROM) / PER_ANGSTROM
    return {elements(code): value for code, value in zip(codes.tolist(), values.tolist(), strict=True)}


def shorter(some: Distances, others: Distances) -> dict[tuple[int, int], float]:
    """Return the shorter distance of each pair of elements.

    Args:
        some: Distances.
        others: Distances of other structures.
    """
    return {**some, **{pair: min(value, some.get(pair, value)) for pair, value in others.items()}}


def lowest_bins(
    codes: Int[np.ndarray, " k"], counts: Float[np.ndarray, "k n_bins"]
) -> dict[tuple[int, int], float]:
    """Read the shortest distances off a histogram: the lower edge of the first bin that is not empty.

    Args:
        codes: Codes of the pairs.
        counts: Structures with a distance in each bin, by pair.
    """
    first = (counts > 0).argmax(axis=1)
    return {
        elements(code): round(index * BIN_WIDTH, 1)
        for code, index in zip(codes.tolist(), first.tolist(), strict=True)
    }


def elements(code: int) -> tuple[int, int]:
    """Return the atomic numbers of a pair, the smaller one first.

    Args:
        code: Code of the pair (:func:`nequix.coverage.environments.pair_code`).
    """
    return code // Z, code % Z
