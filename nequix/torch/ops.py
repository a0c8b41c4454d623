"""The dialect: the few array functions that JAX and PyTorch spell differently."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

Array = torch.Tensor

concatenate = torch.concatenate
ones_like = torch.ones_like
sigmoid = torch.sigmoid
sin = torch.sin
sqrt = torch.sqrt
where = torch.where


def constant(values: np.ndarray, like: Array) -> Array:
    """Place a float64 table beside an array, in that array's precision.

    Args:
        values: The table.
        like: An array whose dtype and device it takes.
    """
    return torch.tensor(values, dtype=like.dtype, device=like.device)


def cast(values: Array, like: Array) -> Array:
    """Convert an array to another's precision.

    Args:
        values: An array.
        like: An array whose dtype it takes.
    """
    return values.to(like.dtype)


def one_hot(index: Array, size: int, like: Array) -> Array:
    """Return rows with a one at ``index`` and zeros elsewhere.

    Args:
        index: Integers below ``size``.
        size: Length of a row.
        like: An array whose dtype the rows take.
    """
    return torch.nn.functional.one_hot(index.long(), size).to(like.dtype)


def split(values: Array, sizes: Sequence[int], axis: int) -> Sequence[Array]:
    """Split an array into pieces; their derivatives are joined in one step.

    Args:
        values: An array.
        sizes: Length of each piece; they add up to the whole.
        axis: Along which to cut.
    """
    return torch.split(values, list(sizes), axis)


def take(values: Array, index: Array) -> Array:
    """Take rows by index.

    Args:
        values: Rows.
        index: Which rows.
    """
    return values.index_select(0, index)  # its derivative is quicker than that of values[index]


def segment_sum(values: Array, segments: Array, n_segments: int) -> Array:
    """Sum rows of equal segment.

    Args:
        values: Rows.
        segments: Segment of each row, ascending.
        n_segments: Number of segments.
    """
    return scatter_sum(values, segments, n_segments)


def scatter_sum(values: Array, index: Array, size: int) -> Array:
    """Sum rows of equal index, in any order.

    Args:
        values: Rows.
        index: Index of each row.
        size: Number of rows of the result.
    """
    return values.new_zeros(size, *values.shape[1:]).index_add(0, index, values)


class _Rematerialised(torch.autograd.Function):
    """Keep only the inputs; derivatives of any order run the function again, themselves so treated."""

    @staticmethod
    def forward(ctx, function, *inputs):
        ctx.function = function
        ctx.save_for_backward(*inputs)
        return function(*inputs)

    @staticmethod
    def backward(ctx, *cotangents):
        inputs, function = ctx.saved_tensors, ctx.function
        wanted = [index for index, needed in enumerate(ctx.needs_input_grad[1:]) if needed]
        n_inputs = len(inputs)

        def pullback(*arrays):
            differentiable = torch.is_grad_enabled()
            with torch.enable_grad():
                given = list(arrays[:n_inputs])
                if not differentiable:
                    given = [x.detach() for x in given]
                for index in wanted:
                    if not given[index].requires_grad:
                        given[index] = given[index].detach().requires_grad_()
                outputs = function(*given)
                return torch.autograd.grad(
                    outputs,
                    [given[index] for index in wanted],
                    arrays[n_inputs:],
                    create_graph=differentiable,
                    materialize_grads=True,
                )

        gradients = iter(rematerialise(pullback, *inputs, *cotangents))
        return None, *(next(gradients) if index in wanted else None for index in range(n_inputs))


def rematerialise(function: Callable[..., tuple[Array, ...]], *inputs: Array) -> tuple[Array, ...]:
    """Call a function so that its derivatives, of any order, recompute instead of storing.

    Args:
        function: Maps tensors to a tuple of tensors; what it closes over is not differentiated.
        inputs: Its arguments.
    """
    if not torch.is_grad_enabled() or not any(x.requires_grad for x in inputs):
        return function(*inputs)
    return _Rematerialised.apply(function, *inputs)
