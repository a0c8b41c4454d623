"""Derivatives by central differences of fourth order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nequix.graphs.graph import Graph
from tests.tolerances import DIFFERENCE_STEP

_STENCIL = {-2: 1 / 12, -1: -8 / 12, 1: 8 / 12, 2: -1 / 12}


def difference(function: Callable[[float], np.ndarray], step: float = DIFFERENCE_STEP) -> np.ndarray:
    """Differentiate at zero: the error is ``step^4 / 30`` of the fifth derivative, and rounding.

    Args:
        function: Of the displacement.
        step: Displacement of the nearest points.
    """
    return sum(factor * function(n * step) for n, factor in _STENCIL.items()) / step


def refuse_crossings(graph: Graph, reach: float) -> None:
    """Reject a structure with a pair that crosses the cutoff in between: third derivatives jump there.

    Args:
        graph: Built with a cutoff a little larger than the model's, so that pairs outside are seen too.
        reach: How far from the cutoff every pair must be, A.
    """
    lengths = np.linalg.norm(graph.vectors, axis=1)
    nearest = np.abs(lengths - graph.cutoff + reach).min()
    assert nearest > reach, f"a pair is {nearest:.1e} A from the cutoff; choose another structure"
