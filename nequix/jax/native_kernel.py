"""The compiled library as an operator of the framework: energies and first derivatives of whole models."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from nequix.core.errors import BackendUnavailable, GraphError
from nequix.core.paths import LayerPlan
from nequix.io.weights import Weights
from nequix.jax.convolution import Arrays, Edges, Features, Kernel, PlainKernel
from nequix.jax.isolation import check_fork
from nequix.jax.ops import Array
from nequix.native import library
from nequix.native.model import NativeModel, check_precision, check_threads, choose_threads, shared_model

if TYPE_CHECKING:
    from jaxtyping import Float


class NativeKernel(Kernel):
    """The compiled library as a differentiable operator (docs/native.md); single layers run in plain.

    Args:
        threads: Number of threads; by default as many as there are, if the system is large.

    Attributes:
        model: The compiled model; None until it is bound.

    Raises:
        BackendUnavailable: If the library was not built.
        ValueError: If the number of threads is impossible.
    """

    name = "native"
    platforms: tuple[str, ...] = ("cpu",)

    def __init__(self, threads: int | None = None) -> None:
        super().__init__()
        library.load()
        self.threads = None if threads is None else check_threads(threads)
        self.model: NativeModel | None = None
        self._plain = PlainKernel()

    def bind(self, weights: Weights, dtype: str) -> None:
        """Load a model into the library and tabulate its radial functions.

        Args:
            weights: The model.
            dtype: Precision of the layers.

        Raises:
            SpecError: If the specification has no compiled kernels.
        """
        self.model = shared_model(weights, dtype)

    def use_threads(self, threads: int) -> None:
        """Use a number of threads from now on, for small systems, too.

        Args:
            threads: How many; no system gets more than it has atoms.

        Raises:
            ValueError: If the number is impossible.
        """
        self.threads = check_threads(threads)

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

    def convolve(
        self, plan: LayerPlan, features: Features, weights: Array, edges: Edges, n_nodes: int
    ) -> Features:
        """Use the plain kernel for single layers, which need derivatives of any order.

        Args:
            plan: The layer's tables.
            features: Mixed features of the senders, by degree.
            weights: Radial weights, paths side by side.
            edges: The edges, tile by tile.
            n_nodes: Number of atoms that receive.
        """
        return self._plain.convolve(plan, features, weights, edges, n_nodes)

    def _bound(self) -> NativeModel:
        if self.model is None:
            raise BackendUnavailable(
                "the native kernel has no model: give kernel='native' to Potential, or call bind()"
            )
        return self.model


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
