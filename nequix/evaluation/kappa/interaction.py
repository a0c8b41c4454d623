"""Phonon-phonon interaction strengths by matrix products.

phono3py sums third-order force constants over pairs of supercell atoms for one triplet of phonons after
another, in scalar code; that is most of what a conductivity costs. The same sums are matrix products here,
over all the triplets of a q-point. Everything else stays phono3py's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from phono3py.phonon3.interaction import Interaction

if TYPE_CHECKING:
    from jaxtyping import Complex, Float, Int
    from phono3py import Phono3py

CHUNK = 64
"""Triplets, or grid points, at a time: their intermediates stay in the cache."""


def use_matrix_products(phonons: Phono3py) -> None:
    """Let phono3py's interaction sum by matrix products.

    Force constants and mesh are taken as they are now: create a new interaction after changing either.

    Args:
        phonons: With force constants and the interaction set up, averaged over origins, not symmetrised in q.
    """
    held: Any = phonons.phph_interaction
    held.__class__ = MatrixInteraction
    held._transform = _Transform(held)


class MatrixInteraction(Interaction):
    """phono3py's interaction with its inner sums as matrix products.

    The strengths are those of Togo, Chaput and Tanaka, Phys. Rev. B 91, 094306 (2015), averaged over the
    three choices of the atom in the home cell as phono3py does.
    """

    def _run_rust(self, g_zero: np.ndarray | None) -> None:
        held: Any = self
        firsts = held._triplets_at_q[:, 0]
        for first in np.unique(firsts):  # several on the zone's boundary: a point and its images
            rows = np.flatnonzero(firsts == first)
            fixed = held._transform.fix(first)
            for part in np.array_split(rows, -(-len(rows) // CHUNK)):
                triplets = held._triplets_at_q[part]
                held._interaction_strength[part] = self._strengths(held._transform(fixed, triplets), triplets)
        held._interaction_strength *= held._unit_conversion
        self._g_zero = g_zero

    _run_c = _run_rust

    def _strengths(
        self, coupling: Complex[np.ndarray, "n n_bands n_bands n_bands"], triplets: Int[np.ndarray, "n 3"]
    ) -> Float[np.ndarray, "n n_bands0 n_bands n_bands"]:
        """Project onto modes: ``|Phi e0 e1 e2|^2 / (f0 f1 f2)``, zero at frequencies below the cutoff."""
        phonons: Any = self._phonons
        frequencies = phonons.frequencies[triplets]
        above = frequencies > self._cutoff_frequency
        inverse = np.divide(1, frequencies, where=above, out=np.zeros_like(frequencies))
        masses = np.repeat(self._masses, 3) ** -0.5
        vectors = phonons.eigenvectors[triplets] * masses[:, None]
        first = vectors[0, 0][:, self._band_indices]  # the same in all triplets
        n, size = len(triplets), len(masses)
        amplitudes = first.T @ coupling.reshape(n, size, size * size)
        amplitudes = amplitudes.reshape(n, -1, size, size) @ vectors[:, None, 2]
        amplitudes = vectors[:, None, 1].swapaxes(-1, -2) @ amplitudes
        f0, f1, f2 = inverse[:, 0, self._band_indices], inverse[:, 1], inverse[:, 2]
        return np.abs(amplitudes) ** 2 * (f0[:, :, None, None] * f1[:, None, :, None] * f2[:, None, None])


class _Transform:
    """Third-order force constants in reciprocal space, of triplets that share their first q-point.

    Letters of the contractions: ``i j k`` atoms of the primitive cell at the three q-points; ``l m n`` which
    of their images in the supercell; ``c`` three Cartesian directions, 27.
    """

    def __init__(self, interaction: Any) -> None:
        n_images, n = interaction._multi.shape[:2]
        self.images = np.argsort(np.searchsorted(interaction._p2s, interaction._s2p), kind="stable")
        self.shape = (n, n_images // n)
        self.q_points = interaction._bz_grid.addresses @ interaction._bz_grid.QDinv.T
        self.positions = interaction._primitive.scaled_positions
        self.phases = np.concatenate(
            [
                self._phases(interaction, q)
                for q in np.array_split(self.q_points, -(-len(self.q_points) // CHUNK))
            ]
        )
        fc3 = interaction._fc3
        homes = interaction._p2s if len(fc3) == n_images else np.arange(n)
        pairs = np.ix_(homes, self.images, self.images)
        constants = fc3[pairs].reshape(n, *self.shape, *self.shape, 27)
        pairs = np.ix_(np.arange(n), self.images, self.images)
        agree = interaction._all_shortest[pairs].reshape(n, *self.shape, *self.shape, 1) != 0
        # where the distances are all shortest, the choices of the home cell agree: the first stands for all
        self.from_first = np.where(agree, 3 * constants, constants).reshape(n, *self.shape, -1)
        self.others = np.where(agree, 0, constants)

    def _phases(
        self, interaction: Any, q_points: Float[np.ndarray, "q 3"]
    ) -> Complex[np.ndarray, "q n n n_images"]:
        """Return the phases of images, in groups by atom, seen from each atom of the home cell."""
        counts, starts = interaction._multi[..., 0], interaction._multi[..., 1]
        vectors = np.exp(2j * np.pi * q_points @ interaction._svecs.T)
        means = np.add.reduceat(vectors, starts.ravel(), axis=1).reshape(-1, *counts.shape) / counts
        return means[:, self.images].swapaxes(1, 2).reshape(len(q_points), -1, *self.shape)

    def fix(self, first: int) -> tuple[Complex[np.ndarray, "n n n_images 27*n"], ...]:
        """Sum over images of the first atom, with the second atom in the home cell, and with the third there.

        Args:
            first: The grid point that the triplets share.
        """
        n, phases = self.shape[0], self.phases[first]
        from_second = np.einsum("jilknc,jil->jknic", self.others, phases).reshape(n, *self.shape, -1)
        from_third = np.einsum("kjmilc,kil->kjmic", self.others, phases).reshape(n, *self.shape, -1)
        return from_second, from_third

    def __call__(
        self, fixed: tuple[np.ndarray, ...], triplets: Int[np.ndarray, "t 3"]
    ) -> Complex[np.ndarray, "t n_bands n_bands n_bands"]:
        """Sum over images of the second and third atom, from each choice of the home cell.

        Args:
            fixed: What :meth:`fix` returned for their first grid point.
            triplets: Grid points.
        """
        from_second, from_third = fixed
        t, (n, n_images) = len(triplets), self.shape
        second, third = self.phases[triplets[:, 1]], self.phases[triplets[:, 2]]
        total = np.rint(self.q_points[triplets].sum(axis=1))
        origins = np.exp(2j * np.pi * total @ self.positions.T)
        result = np.zeros((t, n, n, n, 3, 3, 3), complex)
        for a, b in np.ndindex(n, n):
            # real and imaginary parts apart: the force constants are real
            half = _parts(second[:, a, b]).reshape(2 * t, n_images) @ self.from_first[a, b]
            block = _parts(third[:, a]).transpose(1, 2, 0, 3) @ half.reshape(2, t, n, n_images, 27)
            block = block[0, :, :, 0] - block[1, :, :, 1] + 1j * (block[0, :, :, 1] + block[1, :, :, 0])
            result[:, a, b] += _times(origins[:, a], block)
            block = third[:, a, b] @ from_second[a, b]
            result[:, :, a, b] += _times(origins[:, a], block).transpose(0, 1, 3, 2, 4)
            block = second[:, a, b] @ from_third[a, b]
            result[:, :, b, a] += _times(origins[:, a], block).transpose(0, 1, 4, 3, 2)
        return result.transpose(0, 1, 4, 2, 5, 3, 6).reshape(t, 3 * n, 3 * n, 3 * n) / 3


def _parts(numbers: np.ndarray) -> np.ndarray:
    """Return real and imaginary parts, ``2 ...``."""
    return np.stack([np.real(numbers), np.imag(numbers)])


def _times(factors: Complex[np.ndarray, " t"], blocks: Complex[np.ndarray, "t ..."]) -> np.ndarray:
    """Multiply each triplet's block by its factor; ``t n 3 3 3``."""
    return (factors[:, None] * blocks.reshape(len(factors), -1)).reshape(len(factors), -1, 3, 3, 3)
