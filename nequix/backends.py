"""Models on a backend: which backends there are, and how a model is put on one of them."""

from __future__ import annotations

import importlib
import importlib.util
import os
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

from nequix.core.errors import BackendUnavailable
from nequix.core.suggest import did_you_mean
from nequix.io.catalogue import load_weights
from nequix.io.installation import install_command
from nequix.io.weights import Weights

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

    from nequix.core.spec import ModelSpec
    from nequix.graphs.graph import Graph
    from nequix.graphs.results import Results

BACKENDS = {"jax": ("jax", "equinox"), "torch": ("torch",)}
"""Every backend, and the packages that it needs."""


class Kernel(Protocol):
    """The convolution kernel of a potential: its name, what it computes, and how often it ran."""

    name: str
    whole: bool
    calls: int


class Potential(Protocol):
    """What every backend's ``Potential`` is (see :class:`nequix.jax.Potential`)."""

    backend: str
    spec: ModelSpec
    kernel: Kernel
    dtype: str
    device: object

    def evaluate(self, graph: Graph) -> Results:
        """Evaluate energies, forces and stress."""
        ...

    def features(self, graph: Graph) -> Float[np.ndarray, "n_nodes n_features"]:
        """Evaluate the scalars of every atom after every layer."""
        ...

    def hessian(self, graph: Graph) -> Float[np.ndarray, "n_nodes 3 n_nodes 3"]:
        """Evaluate the Hessian, eV/A^2."""
        ...

    def hessian_vector_product(
        self, graph: Graph, direction: Float[np.ndarray, "n_nodes 3"]
    ) -> Float[np.ndarray, "n_nodes 3"]:
        """Multiply the Hessian with a direction, eV/A^2 times the direction's unit."""
        ...


def installed_backends() -> list[str]:
    """List the backends whose packages are installed; none of them is imported."""
    return [
        name
        for name, packages in BACKENDS.items()
        if all(importlib.util.find_spec(package) is not None for package in packages)
    ]


def choose_backend(backend: str = "auto") -> str:
    """Return the backend to use; ``auto`` is the first that is installed, JAX before PyTorch.

    Args:
        backend: ``auto``, or the name of a backend, which is returned as it is.

    Raises:
        BackendUnavailable: If it is ``auto`` and no backend is installed.
    """
    if backend != "auto":
        return backend
    installed = installed_backends()
    if not installed:
        raise BackendUnavailable(
            f"no backend is installed: {install_command('jax')}, or with [torch] instead of [jax]"
        )
    return installed[0]


def import_backend(name: str) -> ModuleType:
    """Import one backend, and never another.

    Args:
        name: ``jax`` or ``torch``.

    Returns:
        The module ``nequix.jax`` or ``nequix.torch``; both have the same names.

    Raises:
        BackendUnavailable: If its packages are not installed or cannot be imported.
        ValueError: If there is no backend of that name.
    """
    if name not in BACKENDS:
        names = ", ".join(map(repr, BACKENDS))
        hint = did_you_mean(name, ("auto", *BACKENDS))
        raise ValueError(f"backend = {name!r}, expected 'auto' or one of {names}{hint}")
    try:
        return importlib.import_module(f"nequix.{name}")
    except BackendUnavailable:
        raise
    except ImportError as error:
        raise BackendUnavailable(
            f"backend {name!r} cannot be imported ({error}); install it: {install_command(name)}"
        ) from error


def load_model(
    model: str | os.PathLike[str] | Weights = "nequix-mp-1",
    backend: str = "auto",
    *,
    kernel: str = "auto",
    dtype: str = "float32",
    device: str | None = None,
    threads: int | None = None,
) -> Potential:
    """Load a model and put it on a backend.

    Args:
        model: A name of :func:`nequix.list_models`, the path of a ``.safetensors`` or ``.nqx`` file, or
            weights that were loaded before.
        backend: ``auto`` (see :func:`choose_backend`), ``jax`` or ``torch``.
        kernel: ``auto`` or the name of a convolution kernel.
        dtype: Precision of the layers, ``float32`` or ``float64``.
        device: ``cpu``, ``gpu``, ``gpu:1``, ...; by default the first that the backend offers.
        threads: Of the native kernel; by default ``OMP_NUM_THREADS`` or all processors, fewer for small
            systems.

    Raises:
        BackendUnavailable: If the backend, the kernel or the device is not there.
        WeightsError: If there is no such model, or it cannot be downloaded or read.
        ValueError: For another backend, kernel or precision than there are, or threads that the kernel
            cannot take.
    """
    engine = import_backend(choose_backend(backend))
    weights = model if isinstance(model, Weights) else load_weights(model)
    return engine.Potential(weights, kernel=kernel, dtype=dtype, device=device, threads=threads)
