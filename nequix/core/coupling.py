"""Real 3j tensors and spherical harmonics in float64, using only NumPy.

Basis and signs are e3nn's: for ``l = 1`` the components are ``(x, y, z)``; a rotation acts on every
degree by the real Wigner matrices of that basis. e3nn itself judges these tables in the tests.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

_factorial = math.factorial


def _clebsch_gordan(l1: int, m1: int, l2: int, m2: int, l3: int, m3: int) -> float:
    """Evaluate ``<l1 m1 l2 m2 | l3 m3>`` by Racah's formula in exact fractions."""
    if m1 + m2 != m3 or not abs(l1 - l2) <= l3 <= l1 + l2:
        return 0.0
    triangle = Fraction(
        (2 * l3 + 1) * _factorial(l3 + l1 - l2) * _factorial(l3 - l1 + l2) * _factorial(l1 + l2 - l3),
        _factorial(l1 + l2 + l3 + 1),
    )
    projections = math.prod(_factorial(n) for l, m in ((l1, m1), (l2, m2), (l3, m3)) for n in (l + m, l - m))
    total = Fraction(0)
    for k in range(max(0, l2 - l3 - m1, l1 - l3 + m2), min(l1 + l2 - l3, l1 - m1, l2 + m2) + 1):
        terms = (k, l1 + l2 - l3 - k, l1 - m1 - k, l2 + m2 - k, l3 - l2 + m1 + k, l3 - l1 - m2 + k)
        total += Fraction((-1) ** k, math.prod(map(_factorial, terms)))
    square = triangle * projections * total**2
    return math.copysign(math.sqrt(square), total)


def _real_basis(degree: int) -> np.ndarray:
    """Return the unitary matrix whose rows are e3nn's real basis in the complex one, ``m = -l..l``."""
    basis = np.zeros((2 * degree + 1, 2 * degree + 1), complex)
    basis[degree, degree] = 1
    for m in range(1, degree + 1):
        sign = (-1) ** m
        basis[degree - m, [degree + m, degree - m]] = np.array([1, -1j]) / math.sqrt(2)
        basis[degree + m, [degree + m, degree - m]] = np.array([sign, 1j * sign]) / math.sqrt(2)
    return (-1j) ** degree * basis


@cache
def coupling(l1: int, l2: int, l3: int) -> Float[np.ndarray, "2*l1+1 2*l2+1 2*l3+1"]:
    """Return ``C[l1,l2,l3] = sqrt(2 l3 + 1) * w3j(l1,l2,l3)`` (docs/architecture.md, couplings).

    Args:
        l1: Degree of the sender's feature.
        l2: Degree of the edge's spherical harmonic.
        l3: Degree of the message; ``|l1-l2| <= l3 <= l1+l2`` and ``l1+l2+l3`` even.

    Returns:
        A read-only float64 tensor of Frobenius norm ``sqrt(2 l3 + 1)``.

    Raises:
        ValueError: If the degrees cannot couple.
    """
    if not abs(l1 - l2) <= l3 <= l1 + l2:
        raise ValueError(f"degrees {l1}, {l2}, {l3} break the triangle rule |l1-l2| <= l3 <= l1+l2")
    complex_form = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1))
    for m1 in range(-l1, l1 + 1):
        for m2 in range(max(-l2, -l3 - m1), min(l2, l3 - m1) + 1):
            value = _clebsch_gordan(l1, m1, l2, m2, l3, m1 + m2)
            complex_form[l1 + m1, l2 + m2, l3 + m1 + m2] = value
    q1, q2, q3 = _real_basis(l1), _real_basis(l2), _real_basis(l3)
    # e3nn contracts the first index of its basis matrices: transposed rows, conjugate for the output.
    tensor = np.einsum("ij,kl,mn,ikn->jlm", q1, q2, np.conj(q3.T), complex_form, optimize=True)
    real = np.ascontiguousarray(tensor.real)
    real *= math.sqrt(2 * l3 + 1) / np.linalg.norm(real)
    real[np.abs(real) < 1e-14] = 0.0
    real.setflags(write=False)
    return real


@cache
def harmonic_step(degree: int) -> Float[np.ndarray, "2*degree-1 3 2*degree+1"]:
    """Return the tensor that lifts ``Y_{l-1}`` and ``Y_1`` to ``Y_l`` (docs/architecture.md, harmonics).

    ``Y_l[k] = sum_ij step[i, j, k] Y_{l-1}[i] Y_1[j]``, in component normalisation: on the unit
    sphere ``sum_m Y_l[m]^2 = 2 l + 1``. Backends evaluate the harmonics by this recursion.

    Args:
        degree: The degree ``l >= 1``.
    """
    tensor = coupling(degree - 1, 1, degree)
    pole = np.array([0.0, 1.0, 0.0])  # e3nn's polar axis is y, where only m = 0 survives
    lower = spherical_harmonics(pole, degree - 1)[(degree - 1) ** 2 :]
    value = np.einsum("ijk,i,j->k", tensor, lower, math.sqrt(3) * pole)
    step = tensor * (math.sqrt(2 * degree + 1) / value[degree])
    step.setflags(write=False)
    return step


def spherical_harmonics(
    unit: Float[np.ndarray, "*batch 3"], lmax: int
) -> Float[np.ndarray, "*batch (lmax+1)**2"]:
    """Evaluate ``Y_0 ... Y_lmax`` of unit vectors, degrees side by side, component normalisation.

    Args:
        unit: Unit vectors.
        lmax: Highest degree.
    """
    unit = np.asarray(unit, np.float64)
    first = math.sqrt(3) * unit
    blocks = [np.ones((*unit.shape[:-1], 1))]
    for degree in range(1, lmax + 1):
        blocks.append(np.einsum("ijk,...i,...j->...k", harmonic_step(degree), blocks[-1], first))
    return np.concatenate(blocks, axis=-1)
