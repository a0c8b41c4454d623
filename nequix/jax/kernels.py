"""Which device and which convolution kernel run the model."""

from __future__ import annotations

import jax

from nequix.core.errors import BackendUnavailable
from nequix.jax.convolution import Kernel, PlainKernel

KERNELS = ("plain",)


def find_device(name: str | None) -> jax.Device:
    """Find a device by name.

    Args:
        name: ``cpu``, ``gpu``, ``gpu:1``, ...; None for the first that the backend offers.

    Raises:
        BackendUnavailable: If it is not there.
    """
    if name is None:
        return jax.devices()[0]
    platform, _, index = name.partition(":")
    try:
        return jax.devices(platform)[int(index or 0)]
    except (RuntimeError, ValueError, IndexError) as error:
        there = ", ".join(sorted({device.platform for device in jax.devices()} | {"cpu"}))
        raise BackendUnavailable(f"device {name!r} is not there for JAX (there are: {there})") from error


def select_kernel(name: str, platform: str) -> Kernel:
    """Make a convolution kernel.

    Args:
        name: ``auto`` or one of ``KERNELS``.
        platform: Where it shall run, ``cpu`` or ``gpu``.

    Raises:
        BackendUnavailable: If the kernel is not installed or not for this platform.
        ValueError: If there is no kernel of that name.
    """
    return PlainKernel()
