"""The compiled library as an operator of the framework: energies and first derivatives of whole models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.autograd import forward_ad

from nequix.native.kernel import BoundKernel
from nequix.native.model import check_precision, find_model
from nequix.torch.convolution import Arrays, Kernel, PlainKernel
from nequix.torch.isolation import check_fork
from nequix.torch.ops import Array

if TYPE_CHECKING:
    from jaxtyping import Float


class NativeKernel(BoundKernel, Kernel):
    """The compiled library as a differentiable operator (docs/native.md); single layers run in plain."""

    _plain_kernel = PlainKernel

    def energies(self, arrays: Arrays) -> Float[Array, " n_nodes"]:
        """Evaluate the energy of every atom, eV, within a program that is differentiated or compiled.

        It can be differentiated once, by the vectors.

        Args:
            arrays: One structure or a batch; its edges need not fill tiles.

        Raises:
            BackendUnavailable: If no model is bound.
            GraphError: For invalid atoms or edges; JAX reports most of them with its own error type.
            NotImplementedError: If it is differentiated forwards, in JAX a TypeError, or by ``torch.func``.
        """
        check_fork("cpu")
        vectors = arrays.vectors
        check_precision(str(vectors.dtype).removeprefix("torch."))
        if forward_ad.unpack_dual(vectors).tangent is not None:
            raise NotImplementedError(
                "the native kernel has no forward derivatives: go backwards, or take kernel='plain'"
            )
        if not torch.compiler.is_compiling() and _is_transformed(vectors):
            raise NotImplementedError(
                "the native kernel has no derivatives by torch.func (grad, vjp, jacrev, hessian): use "
                "torch.autograd.grad, or kernel='plain'"
            )
        ends = arrays.senders, arrays.receivers, arrays.species
        return _energies(vectors, *ends, self._bound().key, self.threads or 0)


def _is_transformed(values: torch.Tensor) -> bool:
    """Return whether ``torch.func`` differentiates by an array; PyTorch's own error is obscure."""
    functorch = getattr(torch._C, "_functorch", None)
    check = getattr(functorch, "is_gradtrackingtensor", None)
    return check is not None and check(values)


@torch.library.custom_op("nequix::native_energies", mutates_args=(), device_types="cpu")
def _energies(
    vectors: torch.Tensor,
    senders: torch.Tensor,
    receivers: torch.Tensor,
    species: torch.Tensor,
    key: int,
    threads: int,
) -> torch.Tensor:
    arrays = (array.detach().numpy() for array in (vectors, senders, receivers, species))
    energies = find_model(key).evaluate(*arrays, gradient=False, threads=threads or None)[0]
    return torch.from_numpy(energies).to(vectors.dtype)


@torch.library.custom_op("nequix::native_gradient", mutates_args=(), device_types="cpu")
def _gradient(
    vectors: torch.Tensor,
    senders: torch.Tensor,
    receivers: torch.Tensor,
    species: torch.Tensor,
    seed: torch.Tensor,
    key: int,
    threads: int,
) -> torch.Tensor:
    arrays = (array.detach().numpy() for array in (vectors, senders, receivers, species, seed))
    gradient = find_model(key).evaluate(*arrays, threads=threads or None)[1]
    return torch.from_numpy(gradient).to(vectors.dtype)


@_energies.register_fake
def _(vectors, senders, receivers, species, key, threads):
    return vectors.new_empty(species.shape[0])


@_gradient.register_fake
def _(vectors, senders, receivers, species, seed, key, threads):
    return vectors.new_empty(vectors.shape)  # in C order, whatever that of the vectors is


def _remember(ctx, inputs, output):
    *arrays, ctx.key, ctx.threads = inputs
    ctx.save_for_backward(*arrays)


def _backward(ctx, seed):
    return _gradient(*ctx.saved_tensors, seed, ctx.key, ctx.threads), None, None, None, None, None


def _refuse(ctx, slope):
    raise NotImplementedError(
        "the native kernel has no second derivatives: take kernel='plain', or Potential.hessian, which does"
    )


_energies.register_autograd(_backward, setup_context=_remember)
_gradient.register_autograd(_refuse)
