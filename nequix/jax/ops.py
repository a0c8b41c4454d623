"""The dialect: the few array functions that JAX and PyTorch spell differently."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array

concatenate = jnp.concatenate
ones_like = jnp.ones_like
sigmoid = jax.nn.sigmoid
sin = jnp.sin
sqrt = jnp.sqrt
where = jnp.where


def constant(values: np.ndarray, like: Array) -> Array:
    """Place a float64 table beside an array, in that array's precision.

    Args:
        values: The table.
        like: An array whose dtype and device it takes.
    """
    return jnp.asarray(values, like.dtype)


def cast(values: Array, like: Array) -> Array:
    """Convert an array to another's precision.

    Args:
        values: An array.
        like: An array whose dtype it takes.
    """
    return values.astype(like.dtype)


def one_hot(index: Array, size: int, like: Array) -> Array:
    """Return rows with a one at ``index`` and zeros elsewhere.

    Args:
        index: Integers below ``size``.
        size: Length of a row.
        like: An array whose dtype the rows take.
    """
    return jax.nn.one_hot(index, size, dtype=like.dtype)


def split(values: Array, sizes: Sequence[int], axis: int) -> Sequence[Array]:
    """Split an array into pieces; their derivatives are joined in one step.

    Args:
        values: An array.
        sizes: Length of each piece; they add up to the whole.
        axis: Along which to cut.
    """
    return jnp.split(values, np.cumsum(sizes)[:-1], axis)


def take(values: Array, index: Array) -> Array:
    """Take rows by index.

    Args:
        values: Rows.
        index: Which rows.
    """
    return values[index]


def segment_sum(values: Array, segments: Array, n_segments: int) -> Array:
    """Sum rows of equal segment.

    Args:
        values: Rows.
        segments: Segment of each row, ascending.
        n_segments: Number of segments.
    """
    zeros = jnp.zeros((n_segments, *values.shape[1:]), values.dtype)
    return zeros.at[segments].add(values, indices_are_sorted=True)


def scatter_sum(values: Array, index: Array, size: int) -> Array:
    """Sum rows of equal index, in any order.

    Args:
        values: Rows.
        index: Index of each row.
        size: Number of rows of the result.
    """
    return jnp.zeros((size, *values.shape[1:]), values.dtype).at[index].add(values)
