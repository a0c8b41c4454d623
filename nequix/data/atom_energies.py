"""Energies of atoms by least squares, accurate even for a mix of large cells and isolated atoms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Int

SINGULAR = 1e-12
"""Singular values below this fraction of the largest, for columns of equal norm, count as zero.

Determined ones are above 1e-7 (an atom beside a million cells of thousands). Rounding leaves 1e-15."""

_BLOCK = 8192  # rows per reduction


def least_squares(rows: Float[np.ndarray, "m n"], values: Float[np.ndarray, " m"]) -> Float[np.ndarray, " n"]:
    """Solve ``min |rows @ x - values|``; return the solution of least norm.

    The rows are reduced by orthogonal transformations and the columns scaled to equal norms. The normal
    equations, with the square of its condition number, are never formed. One step of refinement makes the
    rows of small
    numbers as exact as those of large ones.

    Args:
        rows: Matrix, e.g. compositions.
        values: Right-hand side, e.g. energies.

    Example:
        >>> least_squares(np.array([[2.0, 1.0], [1.0, 0.0]]), np.array([7.0, 2.0])).round(12).tolist()
        [2.0, 3.0]
    """
    x = np.zeros(rows.shape[1])
    for _ in range(2):
        x = _shortest(rows, x + _solve(rows, values - rows @ x))
    return x


def _solve(rows: Float[np.ndarray, "m n"], values: Float[np.ndarray, " m"]) -> Float[np.ndarray, " n"]:
    reduced = _reduce(np.column_stack([rows, values]))
    norms, u, sizes, directions = _decompose(reduced[:, :-1])
    n_determined = int((sizes > SINGULAR * sizes.max(initial=0.0)).sum())
    scaled = (u.T @ reduced[:, -1])[:n_determined] / sizes[:n_determined]
    return directions[:n_determined].T @ scaled / norms


def _shortest(rows: Float[np.ndarray, "m n"], x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Remove the part of a solution that the rows do not determine."""
    norms, _, sizes, directions = _decompose(_reduce(rows))
    n_determined = int((sizes > SINGULAR * sizes.max(initial=0.0)).sum())
    if n_determined == len(x):
        return x
    basis = np.linalg.qr((directions[n_determined:] / norms).T)[0]
    return x - basis @ (basis.T @ x)


def _reduce(table: Float[np.ndarray, "m n"]) -> Float[np.ndarray, "k n"]:
    """Reduce rows to at most the number of columns, with the same products of columns."""
    reduced = np.zeros((0, table.shape[1]))
    for start in range(0, len(table), _BLOCK):
        reduced = np.asarray(np.linalg.qr(np.vstack([reduced, table[start : start + _BLOCK]]), mode="r"))
    return reduced


def _decompose(
    rows: Float[np.ndarray, "k n"],
) -> tuple[
    Float[np.ndarray, " n"], Float[np.ndarray, "k k"], Float[np.ndarray, " s"], Float[np.ndarray, "n n"]
]:
    """Return the norms of the columns, and the singular vectors and values of the columns divided by them."""
    norms = np.linalg.norm(rows, axis=0)
    norms[norms == 0] = 1.0
    u, sizes, directions = np.linalg.svd(rows / norms)
    return norms, u, sizes, directions


class CompositionEnergies:
    """Energies of structures, summed over those of the same composition."""

    def __init__(self) -> None:
        self._sums: dict[bytes, tuple[int, float]] = {}

    def include(self, numbers: Int[np.ndarray, " n"], energy: float) -> None:
        """Add a structure.

        Args:
            numbers: Its atomic numbers.
            energy: eV.
        """
        pairs = np.stack(np.unique(numbers, return_counts=True)).astype(np.int32)
        self._add(pairs.tobytes(), 1, energy)

    def __iadd__(self, other: CompositionEnergies) -> Self:
        """Add the sums of other structures."""
        for composition, (n, total) in other._sums.items():
            self._add(composition, n, total)
        return self

    def _add(self, composition: bytes, n: int, energy: float) -> None:
        before = self._sums.get(composition, (0, 0.0))
        self._sums[composition] = (before[0] + n, before[1] + energy)

    def fit(self, elements: Sequence[int]) -> dict[int, float]:
        """Fit the energies of atoms to the total energies of all structures.

        Structures of one composition are replaced by their mean energy, weighted by their number, which has
        the same solution. If the energies do not determine it, the smallest solution is returned.

        Args:
            elements: Possible atomic numbers.

        Returns:
            eV by atomic number; zero for elements that no structure has.
        """
        column = {number: index for index, number in enumerate(elements)}
        counts, values = np.zeros((len(self._sums), len(column))), np.zeros(len(self._sums))
        for row, (composition, (n, total)) in enumerate(self._sums.items()):
            numbers, atoms = np.frombuffer(composition, np.int32).reshape(2, -1)
            counts[row, [column[number] for number in numbers.tolist()]] = np.sqrt(n) * atoms
            values[row] = total / np.sqrt(n)
        fitted = least_squares(counts, values)
        return {number: float(fitted[index]) for number, index in column.items()}
