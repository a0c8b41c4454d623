"""Convolution kernels by name: which of them run on a platform, and which one ``auto`` chooses."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from typing import Generic, TypeVar

from nequix.core.errors import BackendUnavailable, SpecError
from nequix.core.spec import ModelSpec
from nequix.core.suggest import did_you_mean
from nequix.io.installation import install_command
from nequix.io.weights import Weights
from nequix.kernel import Kernel
from nequix.native import library
from nequix.native.model import check_supported

GPUS = ("gpu", "cuda", "rocm")
"""Platforms that count as a GPU."""


K = TypeVar("K", bound=Kernel)


class _NotInstalled(BackendUnavailable):
    """Distinguishes a missing package from a broken one, about which ``auto`` warns."""


class KernelTable(Generic[K]):
    """The kernels of an engine.

    Args:
        classes: The kernels; the first is the one that always works.

    Attributes:
        names: Their names.
    """

    def __init__(self, classes: Sequence[type[K]]) -> None:
        self._classes = {kernel.name: kernel for kernel in classes}
        self.names: tuple[str, ...] = tuple(self._classes)

    def select(self, name: str, platform: str, spec: ModelSpec | None = None) -> K:
        """Make a convolution kernel.

        Args:
            name: ``auto`` or one of the names; ``auto`` is OpenEquivariance on a GPU and native on a CPU
                where they are installed, otherwise plain.
            platform: Where it is to run, ``cpu`` or ``gpu``.
            spec: The model that it is for, unless the model is trained; without it ``auto`` is never native.

        Raises:
            BackendUnavailable: If the kernel is not installed, does not work or does not run on the platform.
            ValueError: If the name is unknown.
        """
        if name == "auto":
            return self._select_automatically(platform, spec)
        if name not in self._classes:
            known = ("auto", *self.names)
            hint = did_you_mean(name, known)
            raise ValueError(f"kernel = {name!r}, but the kernels are {known}{hint}")
        kernel = self._classes[name]
        if ("gpu" if platform in GPUS else platform) not in kernel.platforms:
            needs = "runs on a CPU" if "cpu" in kernel.platforms else "needs a GPU"
            device = "cpu" if "cpu" in kernel.platforms else "gpu"
            raise BackendUnavailable(
                f"kernel {name!r} {needs}, but the model is on {platform!r}: choose device={device!r}, or "
                "kernel='plain'"
            )
        try:
            return kernel()
        except BackendUnavailable:
            raise
        except Exception as error:  # a third party's import or compiler: the user needs its reason
            raise _explain(kernel, error) from error

    def bound(self, name: str, platform: str, weights: Weights, dtype: str, threads: int | None = None) -> K:
        """Make a convolution kernel for a model; ``auto`` takes plain for a model that native cannot run.

        Args:
            name: ``auto`` or one of the names.
            platform: Where it is to run, ``cpu`` or ``gpu``.
            weights: The model.
            dtype: Precision of the layers.
            threads: Threads of the native library.

        Raises:
            BackendUnavailable: As :meth:`select`.
            SpecError: If the kernel of this name cannot run the model.
            ValueError: If the name is unknown, or the kernel cannot use this number of threads.
        """
        kernel = self.select(name, platform, weights.spec)
        try:
            kernel.bind(weights, dtype)
        except SpecError as error:
            if name != "auto":
                raise
            warnings.warn(f"kernel='auto' takes 'plain': {error}", RuntimeWarning, stacklevel=3)
            kernel = self.select("plain", platform)
        if threads is not None:
            kernel.use_threads(threads)
        return kernel

    def available(self, platform: str) -> tuple[str, ...]:
        """List the names of the kernels that can run.

        Args:
            platform: Where they are to run, ``cpu`` or ``gpu``.
        """
        names = []
        for name in self.names:
            with contextlib.suppress(BackendUnavailable):
                names.append(self.select(name, platform).name)
        return tuple(names)

    def _select_automatically(self, platform: str, spec: ModelSpec | None) -> K:
        try:
            if platform in GPUS:
                return self.select("openequivariance", platform)
            if platform == "cpu" and spec is not None:
                check_supported(spec)
                if library.path().is_file():
                    return self.select("native", platform)
                library.tell_missing()
        except _NotInstalled:
            pass
        except (BackendUnavailable, SpecError) as error:
            warnings.warn(f"kernel='auto' takes 'plain': {error}", RuntimeWarning, stacklevel=5)
        return self.select("plain", platform)


def _explain(kernel: type[Kernel], error: Exception) -> BackendUnavailable:
    """Turn the failure of a kernel's constructor into an error that says how to proceed."""
    install = install_command(kernel.extra or "all") + (f" and then {kernel.then}" if kernel.then else "")
    missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
    if missing in kernel.packages:
        return _NotInstalled(
            f"kernel {kernel.name!r} is not installed ({missing} is missing): {install}, or choose "
            "kernel='plain'"
        )
    return BackendUnavailable(
        f"kernel {kernel.name!r} is installed but does not work ({type(error).__name__}: {error}): repair "
        f"it, reinstall it with {install}, or choose kernel='plain'"
    )
