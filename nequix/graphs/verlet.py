"""A Verlet neighbour list: built with a skin and rebuilt only when atoms have moved too far."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nequix.core.errors import GraphError
from nequix.graphs.neighbors import TOO_CLOSE, complete_cell, neighbor_list

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int32

    Positions = Float[np.ndarray, "n 3"]
    Cell = Float[np.ndarray, "3 3"]
    Edges = tuple[Int32[np.ndarray, " e"], Int32[np.ndarray, " e"], Int32[np.ndarray, "e 3"]]


class _Search(NamedTuple):
    """Edges and the structure that they belong to."""

    edges: Edges
    positions: Positions
    cell: Cell
    pbc: Bool[np.ndarray, " 3"]
    cutoff: float


class VerletNeighborList:
    """Finds the edges of a structure that moves in small steps; use one instance per structure.

    The edges are those of :func:`nequix.graphs.neighbors.neighbor_list`, sorted by receiver, sender and
    shift, independent of when the list was rebuilt: the skin does not affect results.

    Args:
        skin: A; 0 rebuilds the list every time.

    Attributes:
        searches: Number of rebuilds.
        squares: Squared length of every edge of the last result, A^2.
    """

    def __init__(self, skin: float) -> None:
        self.skin = skin
        self.searches: int = 0
        self.squares: Float[np.ndarray, " e"] = np.empty(0)
        # One value, so that an interrupt or another thread never sees edges with the wrong structure.
        self._last: _Search | None = None

    def __call__(self, positions: Positions, cell: Cell, pbc: Bool[np.ndarray, " 3"], cutoff: float) -> Edges:
        """Find senders, receivers and shifts of all edges, as ``neighbor_list`` does.

        Args:
            positions: Finite positions, A, inside the cell or not.
            cell: Rows are lattice vectors, A.
            pbc: Which of them are periodic; these must be linearly independent.
            cutoff: Radius, A.

        Raises:
            GraphError: As ``neighbor_list``.
        """
        last = self._last
        if last is not None and not self._covers(last, positions, cell, pbc, cutoff):
            last = None  # not kept in memory during the rebuild
        if last is None:
            last = self._search(positions, cell, pbc, cutoff)
        if last is None:  # the search with the skin failed
            edges = _sorted(*neighbor_list(positions, cell, pbc, cutoff))
            self.squares = _squares(edges, positions, cell)
            return edges
        senders, receivers, shifts = last.edges
        squares = _squares(last.edges, positions, cell)
        if squares.min(initial=np.inf) < TOO_CLOSE**2:
            neighbor_list(positions, cell, pbc, cutoff)  # raises with the atoms at fault
        inside = np.flatnonzero(squares < cutoff**2)
        self.squares = squares[inside]
        return senders[inside], receivers[inside], np.take(shifts, inside, axis=0)

    def _search(self, positions: Positions, cell: Cell, pbc: np.ndarray, cutoff: float) -> _Search | None:
        self.searches += 1
        self._last = None
        try:
            edges = _sorted(*neighbor_list(positions, cell, pbc, cutoff + self.skin))
        except GraphError:  # report the cutoff, not the skin
            return None
        self._last = last = _Search(edges, positions.copy(), cell.copy(), pbc.copy(), cutoff)
        return last

    def _covers(
        self, last: _Search, positions: Positions, cell: Cell, pbc: np.ndarray, cutoff: float
    ) -> bool:
        """Return whether all pairs that were beyond cutoff and skin must still be beyond the cutoff.

        With the cell deformed by ``F`` and atoms displaced by ``d`` beyond that, an edge ``r`` has become
        ``r F + d_j - d_i``: no shorter than ``|r|`` times the least singular value, less two longest ``d``.
        """
        if len(positions) != len(last.positions) or (pbc != last.pbc).any() or cutoff != last.cutoff:
            return False
        least, moved = 1.0, positions - last.positions
        if (cell != last.cell).any():
            before, after = complete_cell(last.cell, pbc), complete_cell(cell, pbc)
            deformation = np.linalg.solve(before, after)
            least = float(np.linalg.svd(deformation, compute_uv=False)[-1])
            moved = positions - last.positions @ deformation
        moved = moved - moved.mean(axis=0)  # a common drift changes no edge
        farthest = float(np.sqrt(np.einsum("ac,ac->a", moved, moved).max()))
        # Rounding of positions far from the origin is well below the margin.
        return least * (cutoff + self.skin) - 2 * farthest > cutoff * (1 + 1e-9)


def _squares(edges: Edges, positions: Positions, cell: Cell) -> Float[np.ndarray, " e"]:
    senders, receivers, shifts = edges
    vectors = positions[senders] - positions[receivers] + shifts @ cell
    return np.einsum("ec,ec->e", vectors, vectors)


def _sorted(senders: np.ndarray, receivers: np.ndarray, shifts: np.ndarray) -> Edges:
    order = np.lexsort((*shifts.T[::-1], senders, receivers))
    return senders[order], receivers[order], np.take(shifts, order, axis=0)
