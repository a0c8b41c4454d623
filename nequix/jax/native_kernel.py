"""The compiled library as an operator of the framework: energies and first derivatives of whole models."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from nequix.core.errors import GraphError
from nequix.jax.convolution import Arrays, Kernel, PlainKernel
from nequix.jax.isolation import check_fork
from nequix.jax.ops import Array
from nequix.native import library
from nequix.native.kernel import BoundKernel
from nequix.native.model import check_precision
from nequix.native.thread_counts import choose_threads

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
        check_precision(str(arrays.vectors.dtype))
        ends = map(_index, (arrays.senders, arrays.receivers, arrays.species))
        threads = choose_threads(self.threads, len(arrays.senders))  # a compiled program keeps them
        return _energies((self._bound().key, threads), arrays.vectors, *ends)


def _index(array: Array) -> Array:
    """Return 32-bit integers, with -1 for values out of range, which the library rejects."""
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise GraphError(f"an array of atoms or species holds {array.dtype}, expected whole numbers")
    if jnp.iinfo(array.dtype).bits < 32:
        return array.astype(jnp.int32)
    fits = (array >= 0) & (array <= np.iinfo(np.int32).max)
    return jnp.where(fits, array, -1).astype(jnp.int32)


@cache
def _register() -> None:
    """Make the library's functions known to XLA."""
    for name in ("energies", "gradient"):
        handler = jax.ffi.pycapsule(getattr(library.load(), f"nequix_ffi_{name}"))
        jax.ffi.register_ffi_target(f"nequix_{name}", handler, platform="cpu")


def _call(target: str, shape: jax.ShapeDtypeStruct, model: tuple[int, int], *arrays: Array) -> Array:
    _register()
    # One structure after another where a program is mapped over replicas: each is parallel in itself.
    call = jax.ffi.ffi_call(target, shape, vmap_method="sequential")
    return call(*arrays, model=np.int64(model[0]), threads=np.int64(model[1]))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _energies(
    model: tuple[int, int], vectors: Array, senders: Array, receivers: Array, species: Array
) -> Array:
    shape = jax.ShapeDtypeStruct(species.shape, vectors.dtype)
    return _call("nequix_energies", shape, model, vectors, senders, receivers, species)


def _forward(model: tuple[int, int], *arrays: Array) -> tuple[Array, tuple[Array, ...]]:
    return _energies(model, *arrays), arrays


def _backward(model: tuple[int, int], arrays: tuple[Array, ...], seed: Array) -> tuple[Array | None, ...]:
    return _gradient(model, *arrays, seed), None, None, None


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _gradient(
    model: tuple[int, int], vectors: Array, senders: Array, receivers: Array, species: Array, seed: Array
) -> Array:
    shape = jax.ShapeDtypeStruct(vectors.shape, vectors.dtype)
    return _call("nequix_gradient", shape, model, vectors, senders, receivers, species, seed)


@_gradient.defjvp
def _refuse(model: tuple[int, int], primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    raise NotImplementedError(
        "the native kernel has no second derivatives: take kernel='plain', or Potential.hessian, which does"
    )


_energies.defvjp(_forward, _backward)
