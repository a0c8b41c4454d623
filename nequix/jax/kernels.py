"""Which device and which convolution kernel run the model."""

from __future__ import annotations

import contextlib
import warnings

import jax

from nequix.core.errors import BackendUnavailable, SpecError
from nequix.core.spec import ModelSpec
from nequix.core.suggest import did_you_mean
from nequix.devices import parse_device
from nequix.io.installation import install_command
from nequix.jax.convolution import Kernel, PlainKernel
from nequix.jax.e3nn_kernel import E3nnKernel
from nequix.jax.native_kernel import NativeKernel
from nequix.jax.openequivariance_kernel import OpenEquivarianceKernel
from nequix.native import library
from nequix.native.model import check_supported

# A kernel more is a class more here.
_CLASSES: dict[str, type[Kernel]] = {
    kernel.name: kernel for kernel in (PlainKernel, NativeKernel, E3nnKernel, OpenEquivarianceKernel)
}
_PACKAGES = {"e3nn": ("e3nn_jax",), "openequivariance": ("openequivariance", "openequivariance_extjax")}
_EXTRAS = {"e3nn": "e3nn-jax", "openequivariance": "openequivariance"}
_THEN = {"openequivariance": " and then pip install openequivariance_extjax --no-build-isolation"}
_CPU_ONLY = ("native",)
_GPU_ONLY = ("openequivariance",)
_GPUS = ("gpu", "cuda", "rocm")

KERNELS = tuple(_CLASSES)


class _NotInstalled(BackendUnavailable):
    """Told apart from an install that does not work, of which ``auto`` warns."""


def find_device(name: str | None) -> jax.Device:  # pyright: ignore[reportInvalidTypeForm]
    """Find a device by name.

    Args:
        name: ``cpu``, ``gpu``, ``gpu:1``, ...; None for the first that the backend offers.

    Raises:
        BackendUnavailable: If it is not there.
    """
    if name is None:
        return jax.devices()[0]
    platform, index = parse_device(name)
    try:
        return jax.devices(platform)[index]
    except (RuntimeError, IndexError) as error:
        there = ", ".join(sorted({device.platform for device in jax.devices()} | {"cpu"}))
        raise BackendUnavailable(
            f"device {name!r} is not there for JAX (there are: {there}); choose one of them, "
            "or install a JAX that runs on it"
        ) from error


def select_kernel(name: str, platform: str, spec: ModelSpec | None = None) -> Kernel:
    """Make a convolution kernel.

    Args:
        name: ``auto`` or one of ``KERNELS``; ``auto`` is OpenEquivariance on a GPU and native on a CPU where
            it is installed, otherwise plain.
        platform: Where it shall run, ``cpu`` or ``gpu``.
        spec: The model that it is for, if it need not be trained; without it ``auto`` is never native.

    Raises:
        BackendUnavailable: If the kernel is not installed, does not work or is not for this platform.
        ValueError: If there is no kernel of that name.
    """
    if name == "auto":
        return _select_automatically(platform, spec)
    if name not in _CLASSES:
        hint = did_you_mean(name, ("auto", *KERNELS))
        raise ValueError(f"kernel = {name!r}, but the kernels are {('auto', *KERNELS)}{hint}")
    if name in _GPU_ONLY and platform not in _GPUS:
        raise BackendUnavailable(
            f"kernel {name!r} needs a GPU, but the model is on {platform!r}: choose a GPU by device='gpu', "
            "or kernel='plain'"
        )
    if name in _CPU_ONLY and platform != "cpu":
        raise BackendUnavailable(
            f"kernel {name!r} runs on a CPU, but the model is on {platform!r}: choose device='cpu', or "
            "kernel='plain'"
        )
    try:
        return _CLASSES[name]()
    except BackendUnavailable:
        raise
    except (
        Exception
    ) as error:  # whatever a third party's import or compiler raises, the user needs the reason
        missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
        if missing in _PACKAGES.get(name, ()):
            raise _NotInstalled(
                f"kernel {name!r} is not installed ({missing} is missing): {_how_to_install(name)}, or "
                "choose kernel='plain'"
            ) from error
        raise BackendUnavailable(
            f"kernel {name!r} is installed but does not work ({type(error).__name__}: {error}): repair it, "
            f"or reinstall with {_how_to_install(name)}, or choose kernel='plain'"
        ) from error


def _how_to_install(name: str) -> str:
    """Return the commands that install what a kernel needs."""
    if name not in _EXTRAS:
        return install_command("jax")
    return install_command(_EXTRAS[name]) + _THEN.get(name, "")


def available_kernels(platform: str) -> tuple[str, ...]:
    """List the kernels that can run, in the order of ``KERNELS``.

    Args:
        platform: Where they shall run, ``cpu`` or ``gpu``.
    """
    names = []
    for name in KERNELS:
        with contextlib.suppress(BackendUnavailable):
            names.append(select_kernel(name, platform).name)
    return tuple(names)


def _select_automatically(platform: str, spec: ModelSpec | None) -> Kernel:
    try:
        if platform in _GPUS:
            return select_kernel("openequivariance", platform)
        if platform == "cpu" and spec is not None:
            check_supported(spec)
            if library.path().is_file():
                return select_kernel("native", platform)
            library.tell_missing()
    except _NotInstalled:
        pass
    except (BackendUnavailable, SpecError) as error:
        warnings.warn(f"kernel='auto' takes 'plain': {error}", RuntimeWarning, stacklevel=4)
    return PlainKernel()
