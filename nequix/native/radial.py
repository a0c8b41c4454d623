"""Tables of the radial functions: piecewise polynomials in place of the radial MLP.

At given parameters the radial weights of a layer are functions of only the distance. They are analytic, so
that interpolation at Chebyshev nodes converges geometrically; and they are steep at short distances only.
Segments are halved until polynomial and MLP agree in value and slope between the nodes. Everything is
computed in float64, from function values only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nequix.core.errors import SpecError
from nequix.core.spec import ModelSpec

if TYPE_CHECKING:
    from jaxtyping import Float, Int32

    Matrices = Sequence[Float[np.ndarray, "n_in n_out"]]

DEGREES = {"float32": 6, "float64": 11}
"""Degree of the polynomials, by precision; measured, see docs/native.md."""

BOUNDS = {"float32": 1e-7, "float64": 1e-11}
"""Largest error of a table relative to the largest radial weight of the layer in the segment, or to a
thirtieth of the largest of all. Slopes count per half a segment."""

COARSEST = 32
"""Equal parts of ``[0, cutoff]`` that may be halved."""

_MOST_HALVINGS = 10


@dataclass(frozen=True, eq=False)
class Tables:
    """Radial weights of all layers as polynomials of ``t``, -1 to 1 in each segment.

    Attributes:
        cells: Segment of each of the finest equal parts of ``[0, cutoff]``.
        middles: Centres of the segments, A.
        halves: Half widths of the segments, A.
        coefficients: Coefficients of each layer, by ascending power.
        error: The largest error, as in ``BOUNDS``.
    """

    cells: Int32[np.ndarray, " n_cells"]
    middles: Float[np.ndarray, " n_segments"]
    halves: Float[np.ndarray, " n_segments"]
    coefficients: list[Float[np.ndarray, "n_segments n_weights degree+1"]]
    error: float


def radial_mlp(
    matrices: Matrices, distances: Float[np.ndarray, " n"], spec: ModelSpec
) -> tuple[Float[np.ndarray, "n n_weights"], Float[np.ndarray, "n n_weights"]]:
    """Evaluate radial weights of all paths and their slopes, 1/A (docs/architecture.md, edges and layer).

    Args:
        matrices: Matrices of the radial MLP, first to last.
        distances: A; positive, at most the cutoff.
        spec: The model's specification.
    """
    d, p = distances[:, None], spec.radial_polynomial_p
    frequencies = np.arange(1, spec.radial_basis_size + 1) * math.pi / spec.cutoff
    x = d / spec.cutoff
    envelope = 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
    steepness = -p * (p + 1) * (p + 2) / 2 * x ** (p - 1) * (1 - x) ** 2 / spec.cutoff
    bessel = np.sin(frequencies * d) / d
    bend = (frequencies * np.cos(frequencies * d) - bessel) / d
    values = 2 / spec.cutoff * bessel * envelope
    slopes = 2 / spec.cutoff * (bend * envelope + bessel * steepness)
    for index, matrix in enumerate(matrices):
        if index:
            with np.errstate(over="ignore"):  # of 1 / infinity
                sigmoid = 1 / (1 + np.exp(-values))
            slopes = slopes * sigmoid * (1 + values * (1 - sigmoid))
            values = values * sigmoid
        values, slopes = values @ matrix, slopes @ matrix
    return values, slopes


class _Interpolation:
    """Polynomials of one degree through Chebyshev nodes, and the points where their error is checked."""

    def __init__(self, degree: int) -> None:
        self.nodes = np.cos(np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1))
        self.between = 0.999 * np.cos(np.pi * np.arange(degree + 2) / (degree + 1))  # never at distance 0
        chebyshev = np.polynomial.chebyshev
        powers = np.zeros((degree + 1, degree + 1))
        for k in range(degree + 1):
            powers[: k + 1, k] = chebyshev.cheb2poly(np.eye(degree + 1)[k])
        self._to_powers = powers @ np.linalg.inv(chebyshev.chebvander(self.nodes, degree))
        self._values = np.vander(self.between, degree + 1, increasing=True)
        self._slopes = np.zeros_like(self._values)
        self._slopes[:, 1:] = self._values[:, :-1] * np.arange(1, degree + 1)

    def coefficients(self, values: np.ndarray) -> np.ndarray:
        """Convert values at the nodes, (segment, node, weight), to powers, (segment, power, weight)."""
        return np.matmul(self._to_powers, values)

    def errors(self, coefficients: np.ndarray, values: np.ndarray, slopes: np.ndarray) -> np.ndarray:
        """Return the largest difference in each segment from values and slopes between the nodes."""
        off = np.abs(self._values @ coefficients - values).max(axis=(1, 2))
        return np.maximum(off, np.abs(self._slopes @ coefficients - slopes).max(axis=(1, 2)))


def tabulate(layers: Sequence[Matrices], spec: ModelSpec, dtype: str) -> Tables:
    """Tabulate the radial weights of all layers, halving segments until every one is within its bound.

    Args:
        layers: Matrices of each layer's radial MLP, first to last, float64.
        spec: The model's specification; its ``radial_polynomial_p`` must be whole, since other powers are
            not smooth at distance zero.
        dtype: Precision of the table.

    Raises:
        SpecError: If halving does not suffice.
    """
    interpolation = _Interpolation(DEGREES[dtype])
    largest = _largest(layers, spec)
    if not np.isfinite(largest).all():
        raise SpecError("the radial functions are not finite; correct the parameters layers.*.radial.*")
    accepted: list[tuple[int, np.ndarray, list[np.ndarray]]] = []
    pending, worst, half = np.arange(COARSEST), 0.0, 0.0
    for level in range(_MOST_HALVINGS + 1):
        half = spec.cutoff / COARSEST / 2 ** (level + 1)
        made, errors = _fit(interpolation, layers, spec, half * (2 * pending + 1), half, largest)
        good = errors <= BOUNDS[dtype]
        worst = max(worst, float(errors[good].max(initial=0.0)))
        accepted.append((level, pending[good], [array[good] for array in made]))
        pending = (2 * pending[~good][:, None] + [0, 1]).ravel()
        if not len(pending):
            return _join(accepted, spec, worst)
    raise SpecError(
        f"the radial functions near {half * pending[0]:.3g} A are too steep for a table: {len(pending)} "
        f"segments of {half:.1g} A would be off by more than {BOUNDS[dtype]}; use kernel='plain'"
    )


def _largest(layers: Sequence[Matrices], spec: ModelSpec) -> list[float]:
    distances = np.linspace(0, spec.cutoff, 301)[1:]
    return [float(np.abs(radial_mlp(matrices, distances, spec)[0]).max()) for matrices in layers]


def _fit(
    interpolation: _Interpolation,
    layers: Sequence[Matrices],
    spec: ModelSpec,
    middles: np.ndarray,
    half: float,
    largest: list[float],
) -> tuple[list[np.ndarray], np.ndarray]:
    """Interpolate segments; return each layer's coefficients and the segments' errors, over their bounds'."""
    made, errors = [], np.zeros(len(middles))
    for matrices, most in zip(layers, largest, strict=True):

        def evaluate(places: np.ndarray, matrices: Matrices = matrices) -> list[np.ndarray]:
            evaluated = radial_mlp(matrices, (middles[:, None] + half * places).ravel(), spec)
            return [array.reshape(len(middles), len(places), -1) for array in evaluated]

        coefficients = interpolation.coefficients(evaluate(interpolation.nodes)[0])
        values, slopes = evaluate(interpolation.between)
        scale = np.maximum(np.abs(values).max(axis=(1, 2)), most / 30)
        off = interpolation.errors(coefficients, values, half * slopes)
        errors = np.maximum(errors, np.divide(off, scale, out=np.zeros_like(off), where=scale > 0))
        made.append(coefficients.swapaxes(1, 2))
    return made, errors


def _join(accepted: list[tuple[int, np.ndarray, list[np.ndarray]]], spec: ModelSpec, worst: float) -> Tables:
    """Put the segments of all levels in order of distance."""
    finest = accepted[-1][0]
    starts = np.concatenate([places << (finest - level) for level, places, _ in accepted])
    widths = np.concatenate([np.full(len(places), 1 << (finest - level)) for level, places, _ in accepted])
    order = np.argsort(starts)
    unit = spec.cutoff / COARSEST / 2**finest
    n_layers = len(accepted[0][2])
    return Tables(
        np.repeat(np.arange(len(order), dtype=np.int32), widths[order]),
        (starts[order] + widths[order] / 2) * unit,
        widths[order] / 2 * unit,
        [np.concatenate([made[t] for _, _, made in accepted])[order] for t in range(n_layers)],
        worst,
    )
