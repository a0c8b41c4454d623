"""Backends: choose one and load a model on it."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType

from nequix import engines
from nequix.core.errors import BackendUnavailable, SpecError
from nequix.core.spec import ModelSpec
from nequix.core.suggest import did_you_mean
from nequix.io.catalogue import load_weights
from nequix.io.installation import install_command
from nequix.io.weights import Weights
from nequix.native import library
from nequix.native.model import check_supported
from nequix.potential import Potential

BACKENDS = ("native", *engines.ENGINES)
"""Every backend, in the order in which ``auto`` tries them."""

_GPU_FILES = ("/dev/nvidiactl", "/dev/kfd")


def installed_backends() -> list[str]:
    """List the backends that can be used here; no framework is imported.

    Example:
        >>> from nequix import installed_backends
        >>> set(installed_backends()) <= {"native", "jax", "torch"}
        True
    """
    return [*(["native"] if library.path().is_file() else []), *engines.installed_engines()]


def choose_backend(
    backend: str = "auto",
    spec: ModelSpec | None = None,
    *,
    kernel: str = "auto",
    device: str | None = None,
) -> str:
    """Return the backend to use.

    ``auto`` is the native library if it is built, can run the model, and no GPU and no other kernel is
    requested; otherwise the first installed engine that works, JAX before PyTorch. On a machine with a GPU it
    is an engine, if one is installed.

    Args:
        backend: ``auto``, or the name of a backend, which is returned as it is.
        spec: The model's specification, if known.
        kernel: ``auto`` or the name of a convolution kernel.
        device: Requested device; None for any device.

    Raises:
        BackendUnavailable: If it is ``auto`` and no backend can be used.
    """
    if backend != "auto":
        return backend
    installed, built = engines.installed_engines(), library.path().is_file()
    on_cpu = device in ("cpu", "cpu:0") or (device is None and not (installed and _has_gpu()))
    if on_cpu and kernel in ("auto", "native") and built and (spec is None or native_supports(spec)):
        return "native"
    if installed:
        return engines.first_working(installed, device)
    reason = (
        "the native library does not support the request" if built else "the native library was not built"
    )
    raise BackendUnavailable(
        f"no backend can be used: {reason}, and no engine is installed: {install_command('jax')}, or with "
        "[torch] instead of [jax]"
    )


def native_supports(spec: ModelSpec) -> bool:
    """Check whether the native library can run a model.

    Args:
        spec: The model's specification.
    """
    try:
        check_supported(spec)
    except SpecError:
        return False
    return True


def import_backend(name: str) -> ModuleType:
    """Import one backend, and no other.

    Args:
        name: ``native``, ``jax`` or ``torch``.

    Returns:
        The module ``nequix.native``, ``nequix.jax`` or ``nequix.torch``; all have ``Potential``,
        ``EnsemblePotential`` and ``KERNELS``.

    Raises:
        BackendUnavailable: If its packages are not installed or cannot be imported.
        ValueError: For an unknown name.
    """
    if name not in BACKENDS:
        names = ", ".join(map(repr, BACKENDS))
        hint = did_you_mean(name, ("auto", *BACKENDS))
        raise ValueError(f"backend = {name!r}, expected 'auto' or one of {names}{hint}")
    return engines.import_engine(name)


def load_model(
    model: str | os.PathLike[str] | Weights = "nequix-mp-1",
    backend: str = "auto",
    *,
    kernel: str = "auto",
    dtype: str = "float32",
    device: str | None = None,
    threads: int | None = None,
) -> Potential:
    """Load a model on a backend.

    Args:
        model: A name of :func:`nequix.list_models`, the path of a ``.safetensors`` or ``.nqx`` file, or
            weights that were loaded before.
        backend: ``auto`` (see :func:`choose_backend`), ``native``, ``jax`` or ``torch``.
        kernel: ``auto`` or the name of a convolution kernel.
        dtype: Precision of the layers, ``float32`` or ``float64``.
        device: ``cpu``, ``gpu``, ``gpu:1``, ...; by default the first that the backend offers.
        threads: Threads of the native library; by default ``OMP_NUM_THREADS`` or all processors, fewer for
            small systems.

    Raises:
        BackendUnavailable: If the backend, the kernel or the device is not available.
        WeightsError: If the model does not exist or cannot be downloaded or read.
        ValueError: For an unknown backend, kernel or precision, or a number of threads that the kernel
            cannot use.

    Example:
        >>> import nequix
        >>> potential = nequix.load_model("nequix-nano")
        >>> potential.spec.cutoff
        5.0
    """
    if backend != "auto":
        import_backend(backend)  # before the download of a model that could not be used
    weights = model if isinstance(model, Weights) else load_weights(model)
    engine = import_backend(choose_backend(backend, weights.spec, kernel=kernel, device=device))
    return engine.Potential(weights, kernel=kernel, dtype=dtype, device=device, threads=threads)


def _has_gpu() -> bool:
    """Return whether a GPU driver is loaded, without importing a framework, which takes seconds."""
    return any(Path(file).exists() for file in _GPU_FILES)
