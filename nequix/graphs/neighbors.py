"""The neighbour list: every ordered pair within the cutoff, periodic images included.

vesin searches; this file transforms any structure into a form that vesin handles correctly and fast.
docs/neighbors.md describes the cases and the measurements.
"""

from __future__ import annotations

import builtins
import importlib.util
import math
import sys
from functools import cache
from itertools import combinations, permutations, product
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from nequix.core.errors import GraphError
from nequix.graphs.memory import refuse_huge

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Int32

    Positions = Float[np.ndarray, "n 3"]
    Cell = Float[np.ndarray, "3 3"]

SINGULAR = 1e-10
"""Vectors span no cell if their smallest singular value is below this fraction of the largest."""

TOO_CLOSE = 1e-3
"""Atoms within this distance (A) are duplicates: the direction between them is meaningless.

Bonds are longer than 0.7 A, and structure files round to about this much.
"""

MAX_DENSITY = 5.0
"""Atoms per A^3, averaged over the cutoff sphere, beyond which a structure is rejected.

Diamond has 0.18: a denser structure has a wrong unit or cell, and its edges would exhaust the memory.
Up to ``_MANY`` neighbours are always accepted.
"""

_MANY = 1000

_MAX_IMAGES = 2**29  # shifts are int32, and a difference of two such numbers
_FAR = 1000.0  # cells; vesin stores in int32 how far outside an atom is
_SKEWED = 4.0  # product of the lengths over the volume, above which reducing the basis pays off
_MAX_GRID = 1e5  # cubes of vesin's grid; it divides by zero if a direction gets none


def complete_cell(cell: Cell, pbc: Bool[np.ndarray, " 3"]) -> Cell:
    """Replace the vectors of non-periodic directions by unit vectors orthogonal to all others.

    Args:
        cell: Rows are lattice vectors, A.
        pbc: Which of them are periodic; these must be linearly independent.

    Returns:
        An invertible cell whose periodic rows are those given, A.
    """
    complete = np.where(pbc[:, None], cell, 0.0)
    if not pbc.all():
        # The last right singular vectors span the complement of the periodic rows.
        complete[~pbc] = np.linalg.svd(complete)[2][int(pbc.sum()) :]
    return complete


def neighbor_list(
    positions: Positions,
    cell: Cell,
    pbc: Bool[np.ndarray, " 3"],
    cutoff: float,
) -> tuple[Int32[np.ndarray, " e"], Int32[np.ndarray, " e"], Int32[np.ndarray, "e 3"]]:
    """Find senders, receivers and shifts of all edges (docs/architecture.md, notation).

    ``r_e = x_j - x_i + S_e @ cell`` is shorter than the cutoff, with the positions and the cell as
    given; shifts are zero in non-periodic directions. Each pair appears both ways.

    Args:
        positions: Finite positions, A, inside the cell or not.
        cell: Rows are lattice vectors, A.
        pbc: Which of them are periodic; these must be linearly independent.
        cutoff: Radius, A.

    Returns:
        Senders, receivers and shifts by ascending receiver; the same order for the same input.

    Raises:
        GraphError: For two atoms in one place, an atom too many cells away, or far too many edges.
    """
    box = complete_cell(cell, pbc)
    _refuse_distant(positions, box, pbc)
    basis = None
    if np.linalg.norm(box, axis=1).prod() > _SKEWED * abs(np.linalg.det(box)):
        basis = reduced_basis(box, pbc)
        box = basis @ box
    _refuse_crowding(positions, box, pbc, cutoff)
    senders, receivers, shifts, shortest = _search(*_enclose(positions, box, pbc, cutoff), cutoff)
    if basis is not None:
        shifts = (shifts @ basis).astype(np.int32)
    if shortest < TOO_CLOSE:
        lengths = np.linalg.norm(positions[senders] - positions[receivers] + shifts @ cell, axis=1)
        edge = int(lengths.argmin())
        i, j = int(receivers[edge]), int(senders[edge])
        raise GraphError(
            f"atom {i} and {f'atom {j}' if i != j else 'its own image'} are {lengths[edge]:.2g} A apart "
            f"(shift {shifts[edge].tolist()}), expected at least {TOO_CLOSE} A; remove the duplicate, or "
            "correct the cell"
        )
    return senders, receivers, shifts


def _enclose(
    positions: Positions, box: Cell, pbc: Bool[np.ndarray, " 3"], cutoff: float
) -> tuple[Positions, Cell, float]:
    """Transform a structure into the form that vesin handles correctly and fast: periodic in all directions.

    Non-periodic directions get a vacuum that no edge crosses.

    Returns:
        Positions, cell and the radius to search within, at least the cutoff.
    """
    radius = cutoff
    gaps_are_closed = bool(pbc.all())
    while True:
        lengths = np.where(pbc, 1.0, np.ptp(positions @ box.T, axis=0) + 2 * radius)
        enclosed = box * lengths[:, None]
        slices = np.maximum(1 / np.linalg.norm(np.linalg.inv(enclosed), axis=0) / radius, 1.0)
        excess = slices.prod() / _MAX_GRID
        if excess > 1 and not gaps_are_closed:
            for axis in box[~pbc]:
                positions = _close_gaps(positions, axis, 2 * cutoff)
            gaps_are_closed = True
        elif excess > 1 and slices.min() < 2 * excess ** (1 / 3):
            radius *= 1.1
        else:
            return positions, enclosed, radius


def _close_gaps(positions: Positions, axis: Float[np.ndarray, " 3"], width: float) -> Positions:
    """Shorten empty stretches along a unit vector to the width, at least the cutoff: no edge changes."""
    along = positions @ axis
    order = np.argsort(along)
    excess = np.maximum(np.diff(along[order], prepend=along[order[0]]) - width, 0.0)
    moved = np.empty_like(along)
    moved[order] = np.cumsum(excess)
    return positions - moved[:, None] * axis


@cache
def _vesin() -> Any:
    """Load only vesin's ``NeighborList``: its package imports PyTorch and CuPy if they are installed.

    That costs a second and an unwanted framework. Only this private copy skips them; an ordinary import of
    vesin is unaffected.
    """
    package = ModuleType(f"{__name__}._vesin")
    found = importlib.util.find_spec("vesin")
    package.__path__ = list(found.submodule_search_locations or ()) if found else []
    sys.modules[package.__name__] = package
    spec = importlib.util.find_spec(f"{package.__name__}._neighbors")
    if spec is None or spec.loader is None:  # not installed, or another layout than expected
        return importlib.import_module("vesin").NeighborList

    def without_frameworks(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] in ("torch", "cupy"):
            raise ImportError(f"{name} is not wanted here")
        return builtins.__import__(name, *args, **kwargs)

    module = importlib.util.module_from_spec(spec)
    vars(module)["__builtins__"] = {**vars(builtins), "__import__": without_frameworks}
    spec.loader.exec_module(module)
    return module.NeighborList


def _search(
    positions: Positions, box: Cell, radius: float, cutoff: float
) -> tuple[Int32[np.ndarray, " e"], Int32[np.ndarray, " e"], Int32[np.ndarray, "e 3"], float]:
    """Call vesin on a fully periodic cell and sort by receiver; also return the shortest length, A."""
    wraps = np.floor(positions @ np.linalg.inv(box))
    if far := np.abs(wraps).max() > _FAR:
        positions = positions - wraps @ box
    search = _vesin()(cutoff=radius, full_list=True)
    # Not copied: these arrays only live as long as the search object.
    pairs, shifts, distances = search.compute(positions, box, True, "PSd", copy=False)
    receivers = pairs[:, 0].astype(np.int32)
    order = _sorting(receivers)
    if radius > cutoff:
        order = order[distances[order] < cutoff]
    receivers, senders = receivers[order], pairs[:, 1].astype(np.int32)[order]
    shifts = np.take(shifts, order, axis=0)  # several times faster than shifts[order]
    if far:
        shifts += (wraps[receivers] - wraps[senders]).astype(np.int32)
    return senders, receivers, shifts, float(distances.min(initial=radius))


def _sorting(receivers: Int32[np.ndarray, " e"]) -> Int[np.ndarray, " e"]:
    """Sort stably, since vesin's own order is reproducible.

    vesin emits runs of one receiver: sorting the runs and expanding them is several times faster.
    """
    n_edges = len(receivers)
    index = np.int32 if n_edges < 2**31 else np.int64
    starts = np.flatnonzero(np.diff(receivers, prepend=np.int32(-1))).astype(index)
    runs = np.argsort(receivers[starts], kind="stable")
    lengths = np.diff(starts, append=index(n_edges))[runs]
    offsets = starts[runs] - (np.cumsum(lengths, dtype=index) - lengths)
    return np.arange(n_edges, dtype=index) + np.repeat(offsets, lengths)


def reduced_basis(box: Cell, pbc: Bool[np.ndarray, " 3"]) -> Int[np.ndarray, "3 3"]:
    """Find short vectors of the same lattice, so that few images need to be searched.

    Args:
        box: An invertible cell, A.
        pbc: Which of its vectors are periodic; the others are kept.

    Returns:
        The integer matrix ``U`` of determinant +1 or -1 for which ``U @ box`` has the short vectors.
    """
    basis = np.eye(3, dtype=np.int64)
    periodic = np.flatnonzero(pbc)
    steps = [(i, (j,)) for i, j in permutations(periodic, 2)]
    steps += [(i, tuple(j for j in periodic if j != i)) for i in periodic if len(periodic) == 3]
    improved = True
    while improved:
        improved = False
        for i, others in steps:
            for signs in product((1, -1), repeat=len(others) - 1):
                change = np.array((1, *signs)) @ basis[list(others)]
                row, step = basis[i] @ box, change @ box
                times = np.rint(row @ step / (step @ step))
                if times and np.linalg.norm(row - times * step) < (1 - 1e-9) * np.linalg.norm(row):
                    basis[i] -= int(times) * change
                    improved = True
    return basis


def _refuse_distant(positions: Positions, box: Cell, pbc: Bool[np.ndarray, " 3"]) -> None:
    """Reject atoms that are too many cells away for a shift to count them."""
    cells = np.abs(positions @ np.linalg.inv(box) * pbc).max(axis=1)
    atom = int(cells.argmax())
    if cells[atom] >= _MAX_IMAGES:
        raise GraphError(
            f"atom {atom} at {positions[atom].tolist()} A lies {cells[atom]:.3g} cells away, expected "
            f"fewer than {_MAX_IMAGES}; wrap the atoms into the cell"
        )


def _refuse_crowding(positions: Positions, box: Cell, pbc: Bool[np.ndarray, " 3"], cutoff: float) -> None:
    """Estimate neighbours before the search; reject more than ``MAX_DENSITY`` or the memory allow."""
    balls = {k: math.pi ** (k / 2) / math.gamma(k / 2 + 1) * cutoff**k for k in (1, 2, 3)}
    limit = max(MAX_DENSITY * balls[3], _MANY)
    # An atom's own images, in every line, plane and space of the lattice.
    rows = box[pbc]
    spans = [rows[list(some)] for k in range(1, len(rows) + 1) for some in combinations(range(len(rows)), k)]
    images = [balls[len(span)] / math.sqrt(np.linalg.det(span @ span.T)) for span in spans]
    # All atoms, if they were spread evenly.
    extents = np.where(pbc, 1.0, np.ptp(positions @ box.T, axis=0) + 2 * cutoff)
    expected = max([*images, len(positions) * balls[3] / abs(np.linalg.det(box) * extents.prod())])
    on_average = expected
    if expected <= limit < len(positions):
        # Crowds within a wide structure: atoms that share a cube are neighbours.
        wrapped = positions - np.floor(positions @ np.linalg.inv(box) * pbc) @ box
        cubes = np.floor((wrapped - wrapped.min(axis=0)) / (cutoff / math.sqrt(3))).astype(np.int64)
        strides = np.cumprod([1, *(cubes.max(axis=0)[:2] + 1)])  # one number per cube: much faster to sort
        counts = np.unique(cubes @ strides, return_counts=True)[1]
        expected = np.square(counts.astype(float)).sum() / len(positions)
    if expected > limit:
        raise GraphError(
            f"an atom would have about {expected:.3g} neighbours within {cutoff} A, expected at most "
            f"{limit:.3g}: the cell is too small, or many atoms are in the same place; give positions and "
            "cell in A"
        )
    refuse_huge(positions, cutoff, on_average, limit)
