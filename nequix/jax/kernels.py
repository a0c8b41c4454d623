"""Which device and which convolution kernel run the model."""

from __future__ import annotations

import jax

from nequix.core.errors import BackendUnavailable
from nequix.devices import parse_device
from nequix.jax.convolution import PlainKernel
from nequix.jax.e3nn_kernel import E3nnKernel
from nequix.jax.native_kernel import NativeKernel
from nequix.jax.openequivariance_kernel import OpenEquivarianceKernel
from nequix.kernel_table import KernelTable

# Register new kernels here.
TABLE = KernelTable((PlainKernel, NativeKernel, E3nnKernel, OpenEquivarianceKernel))
KERNELS = TABLE.names
select_kernel, available_kernels = TABLE.select, TABLE.available


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
