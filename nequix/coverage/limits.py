"""Distances below which a model leaves its training data, for each pair of elements."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import numpy as np

from nequix.coverage.environments import BIN_WIDTH, BOND, pair_code

if TYPE_CHECKING:
    from nequix.coverage.reference import Reference

MARGINS = ((20, 0.95), (10, 0.9))
"""Structures in which a pair is bonded, and what part of its shortest distance is the limit then.

The fewer structures have a pair, the less their shortest distance says of the data that a sample stands for.
"""

OVERLAP = 0.65
"""Limit of pairs bonded in fewer structures, as a fraction of the sum of the covalent radii.

Of 1,000 random structures of MPtrj 4 have a shorter distance.
"""


def distance_limits(reference: Reference, atomic_numbers: Iterable[int]) -> dict[tuple[int, int], float]:
    """Return, for each pair of elements, the distance below which a model leaves its training data.

    The limit is a part of the shortest distance in the data: 0.95 if 20 structures or more have the pair
    bonded, 0.9 from 10 on. For other pairs it is 0.65 times the sum of the covalent radii, or 0.9 times the
    shortest distance if that is less. docs/coverage.md says how often structures like the data are below.

    Args:
        reference: The reference of a model.
        atomic_numbers: The elements of the pairs, such as those of the model.

    Returns:
        Limits in A by atomic numbers, the smaller one first.
    """
    from ase.data import covalent_radii

    pairs = reference.histograms["pairs"]
    limits = {}
    for a, b in combinations_with_replacement(sorted(set(atomic_numbers)), 2):
        radii = covalent_radii[a] + covalent_radii[b]
        row = pairs.row(int(pair_code(np.array([a]), np.array([b]))[0]))
        n_bonded = row[: int(BOND * radii / BIN_WIDTH)].max(initial=0.0)
        shortest = reference.shortest.get((a, b), np.inf)
        part = next((part for least, part in MARGINS if n_bonded >= least), None)
        limit = min(OVERLAP * radii, MARGINS[-1][1] * shortest) if part is None else part * shortest
        limits[a, b] = float(limit)
    return limits
