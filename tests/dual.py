"""Dual numbers on NumPy arrays: ``value + tangent * epsilon`` with ``epsilon**2 = 0``.

The tangent is the exact derivative along one direction. Value and tangent may be complex, so that a
complex step through them gives second derivatives, again without a difference that would cancel.
"""

from __future__ import annotations

import numpy as np


class Dual:
    """An array with its derivative along one direction."""

    __array_ufunc__ = None  # NumPy's operators leave mixed expressions to the methods below

    def __init__(self, value, tangent):
        self.value, self.tangent = np.asarray(value), np.asarray(tangent)

    @property
    def real(self):
        return self.value.real

    @property
    def shape(self):
        return self.value.shape

    def __getitem__(self, index):
        return Dual(self.value[index], self.tangent[index])

    def __add__(self, other):
        value, tangent = _parts(other)
        return Dual(self.value + value, self.tangent + tangent)

    def __mul__(self, other):
        value, tangent = _parts(other)
        return Dual(self.value * value, self.tangent * value + self.value * tangent)

    def __pow__(self, power):
        return Dual(self.value**power, power * self.value ** (power - 1) * self.tangent)

    def __neg__(self):
        return self * -1

    def __sub__(self, other):
        return self + other * -1

    def __rsub__(self, other):
        return self * -1 + other

    def __truediv__(self, other):
        return self * (other**-1 if isinstance(other, Dual) else 1 / other)

    def __rtruediv__(self, other):
        return self**-1 * other

    __radd__, __rmul__ = __add__, __mul__


def _parts(x):
    return (x.value, x.tangent) if isinstance(x, Dual) else (x, 0.0)


def sin(x):
    return Dual(np.sin(x.value), np.cos(x.value) * x.tangent) if isinstance(x, Dual) else np.sin(x)


def exp(x):
    if isinstance(x, Dual):
        value = np.exp(x.value)
        return Dual(value, value * x.tangent)
    return np.exp(x)


def sqrt(x):
    if isinstance(x, Dual):
        root = np.sqrt(x.value)
        return Dual(root, x.tangent / (2 * root))
    return np.sqrt(x)


def where(condition, x, otherwise):
    """Choose a number instead of ``x`` where the condition fails."""
    if isinstance(x, Dual):
        return Dual(np.where(condition, x.value, otherwise), np.where(condition, x.tangent, 0.0))
    return np.where(condition, x, otherwise)


def einsum(subscripts, *operands):
    """Contract as ``numpy.einsum`` does; the tangent follows from the product rule."""
    values = [_parts(x)[0] for x in operands]
    value = np.einsum(subscripts, *values)
    tangents = [
        np.einsum(subscripts, *values[:i], x.tangent, *values[i + 1 :])
        for i, x in enumerate(operands)
        if isinstance(x, Dual)
    ]
    return Dual(value, sum(tangents)) if tangents else value


def stack(arrays):
    """Put arrays, all dual or none, side by side in a new last axis."""
    if isinstance(arrays[0], Dual):
        return Dual(np.stack([x.value for x in arrays], -1), np.stack([x.tangent for x in arrays], -1))
    return np.stack(arrays, -1)
