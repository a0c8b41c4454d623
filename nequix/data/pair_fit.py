"""A pair potential fitted to a data set's own forces: a reference for the checks that needs no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nequix.core.errors import GraphError
from nequix.data.structure import Structure
from nequix.graphs.neighbors import neighbor_list
from nequix.graphs.results import Results

if TYPE_CHECKING:
    from jaxtyping import Float, Int

MAX_PAIRS = 15
"""Pairs of elements up to which a data set has enough forces for a function of each."""

LEAST = 5
"""Structures with forces that a fit needs."""

CUTOFF = 6.0
"""Largest distance of a pair, A."""

_CENTRES = np.linspace(0.35, 2.1, 14)
_WIDTH = float(_CENTRES[1] - _CENTRES[0])
_ITERATIONS = 6
_HUBER = 1.345
_RIDGE = 1e-6
_FLOOR = 0.1  # of the median force, below which forces count as noise


class _Edges(NamedTuple):
    """The pairs of a structure: atom that is acted on, kind, direction, length, values of the basis."""

    atoms: Int[np.ndarray, " e"]
    kinds: Int[np.ndarray, " e"]
    directions: Float[np.ndarray, "e 3"]
    lengths: Float[np.ndarray, " e"]
    radii: Float[np.ndarray, " e"]
    basis: Float[np.ndarray, "e k"]


@dataclass(frozen=True, eq=False)
class PairFit:
    """Pair forces as Gaussians of the distance over the sum of the covalent radii.

    Forces of metals, semiconductors and oxides follow such a fit to a cosine of 0.9 to 1.0 (docs/data.md),
    and forces of another structure do not. Its energies leave out everything that depends on the volume only.

    Attributes:
        kinds: Index of every pair of atomic numbers.
        coefficients: eV/A, of each pair and Gaussian.
    """

    kinds: dict[tuple[int, int], int]
    coefficients: Float[np.ndarray, "pairs k"]

    @classmethod
    def fit(cls, structures: Sequence[Structure]) -> PairFit | None:
        """Fit the forces of some structures, robustly: each has the same weight, misfits have less.

        Args:
            structures: With forces and without labels that are not finite.

        Returns:
            The fit; None with too few forces or too many pairs of elements.
        """
        elements = sorted({int(z) for s in structures for z in np.unique(s.numbers)})
        pairs = [(a, b) for i, a in enumerate(elements) for b in elements[i:]]
        if len(structures) < LEAST or len(pairs) > MAX_PAIRS:
            return None
        fitted = cls({pair: index for index, pair in enumerate(pairs)}, np.zeros((len(pairs), len(_CENTRES))))
        labels = [s.forces.ravel() for s in structures if s.forces is not None]
        designs = [fitted._design(structure) for structure in structures]
        sizes = np.array([np.sqrt((label**2).mean()) for label in labels])
        if not (sizes > 0).any():
            return None
        scales = np.hypot(sizes, _FLOOR * np.median(sizes[sizes > 0]))
        products = [(d.T @ d, d.T @ y) for d, y in zip(designs, labels, strict=True)]
        base = 1 / (scales**2 * np.array([len(label) for label in labels]))
        weights, solution = base, np.zeros(fitted.coefficients.size)
        for _ in range(_ITERATIONS):
            matrix = sum(w * dd for w, (dd, _) in zip(weights, products, strict=True))
            vector = sum(w * dy for w, (_, dy) in zip(weights, products, strict=True))
            ridge = _RIDGE * np.trace(matrix) / len(solution) + 1e-300
            solution = np.linalg.solve(matrix + ridge * np.eye(len(solution)), vector)
            misfits = np.array(
                [
                    np.sqrt(((d @ solution - y) ** 2).mean()) / scale
                    for d, y, scale in zip(designs, labels, scales, strict=True)
                ]
            )
            weights = base / np.maximum(1, misfits / (_HUBER * max(float(np.median(misfits)), 1e-12)))
        return cls(fitted.kinds, solution.reshape(fitted.coefficients.shape))

    def evaluate(self, structure: Structure) -> Results:
        """Compute energy, forces and stress; of the stress only the shear is meaningful.

        Args:
            structure: Of the elements that were fitted.

        Raises:
            GraphError: If it has no neighbour list, or another element.
        """
        from scipy.special import erfc

        edges, n = self._edges(structure), len(structure.numbers)
        coefficients = self.coefficients[edges.kinds]
        sizes = (edges.basis * coefficients).sum(axis=1)
        forces = np.zeros((n, 3))
        np.add.at(forces, edges.atoms, sizes[:, None] * edges.directions)
        ratios = (edges.lengths / edges.radii)[:, None]
        integrals = erfc((ratios - _CENTRES) / (_WIDTH * np.sqrt(2))) * coefficients
        energies = np.sqrt(np.pi / 2) * _WIDTH * edges.radii * integrals.sum(axis=1) / 2
        stress = np.full((1, 3, 3), np.nan)
        if structure.volume > 0:
            outer = edges.directions[:, :, None] * edges.directions[:, None, :]
            stress[0] = -((sizes * edges.lengths)[:, None, None] * outer).sum(axis=0) / (2 * structure.volume)
        atoms = np.bincount(edges.atoms, energies, n)
        return Results(np.array([atoms.sum()]), atoms, forces, stress)

    def _design(self, structure: Structure) -> Float[np.ndarray, "n3 m"]:
        """Return the forces of every unit coefficient: one row for each component, one column for each."""
        edges, n = self._edges(structure), len(structure.numbers)
        n_kinds, k = self.coefficients.shape
        slots = edges.atoms.astype(int) * n_kinds + edges.kinds
        order = np.argsort(slots, kind="stable")
        filled, starts = np.unique(slots[order], return_index=True)
        design = np.zeros((3, n * n_kinds, k))
        for axis in range(3) if len(order) else ():
            values = edges.basis[order] * edges.directions[order, axis, None]
            design[axis, filled] = np.add.reduceat(values, starts, axis=0)
        return design.reshape(3, n, n_kinds * k).transpose(1, 0, 2).reshape(3 * n, n_kinds * k)

    def _edges(self, structure: Structure) -> _Edges:
        from ase.data import covalent_radii

        numbers, positions = structure.numbers, structure.positions
        reach = min(CUTOFF, float(_CENTRES[-1] + _WIDTH) * 2 * covalent_radii[numbers].max())
        one, other, shifts = neighbor_list(positions, structure.cell, structure.pbc, reach)
        vectors = positions[one] - positions[other] + shifts @ structure.cell
        lengths = np.linalg.norm(vectors, axis=1)
        if not lengths.all():
            raise GraphError(f"{structure.name}: two atoms in one place")
        radii = covalent_radii[numbers[one]] + covalent_radii[numbers[other]]
        table = np.full((119, 119), -1)
        for (a, b), index in self.kinds.items():
            table[a, b] = table[b, a] = index
        kinds = table[numbers[one], numbers[other]]
        if (kinds < 0).any():
            raise GraphError(f"{structure.name}: has an element that was not fitted")
        basis = np.exp(-0.5 * ((lengths / radii)[:, None] - _CENTRES) ** 2 / _WIDTH**2)
        return _Edges(one, kinds, vectors / np.maximum(lengths, 1e-300)[:, None], lengths, radii, basis)
