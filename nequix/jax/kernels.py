"""Which device and which convolution kernel run the model."""

from __future__ import annotations

from collections.abc import Callable

import jax

from nequix.core.errors import BackendUnavailable
from nequix.devices import parse_device
from nequix.jax.convolution import Kernel, PlainKernel
from nequix.jax.e3nn_kernel import E3nnKernel
from nequix.jax.isolation import check_fork
from nequix.jax.native_kernel import NativeKernel
from nequix.jax.openequivariance_kernel import OpenEquivarianceKernel
from nequix.kernel_table import KernelTable

# Register new kernels here.
TABLE = KernelTable((PlainKernel, NativeKernel, E3nnKernel, OpenEquivarianceKernel))
KERNELS: tuple[str, ...] = TABLE.names
select_kernel: Callable[..., Kernel] = TABLE.select
available_kernels: Callable[[str], tuple[str, ...]] = TABLE.available


def find_device(name: str | None) -> jax.Device:  # pyright: ignore[reportInvalidTypeForm]
    """Find a device by name.

    Args:
        name: ``cpu``, ``gpu``, ``gpu:1``, ...; None for the first that the backend offers.

    Raises:
        BackendUnavailable: If it is not there.
    """
    platform, index = parse_device(name) if name is not None else (None, 0)
    check_fork(platform or "cpu")
    there = _list_devices()
    try:
        return there[0] if name is None else jax.devices(platform)[index]
    except (RuntimeError, IndexError, AssertionError) as error:
        platforms = ", ".join(sorted({device.platform for device in there}))
        raise BackendUnavailable(
            f"device {name!r} is not there for JAX (there are: {platforms}); choose one of them, "
            "or install a JAX that runs on it"
        ) from error


def _list_devices() -> list[jax.Device]:  # pyright: ignore[reportInvalidTypeForm]
    """List the devices of the default platform; fail where JAX cannot start.

    Raises:
        BackendUnavailable: With JAX's reason, such as a platform in ``JAX_PLATFORMS`` that is not there.
    """
    try:
        return jax.devices()
    except Exception as error:  # JAX raises RuntimeError, AssertionError and others
        reason = str(error) or type(error).__name__
        wanted = jax.config.jax_platforms  # pyright: ignore[reportAttributeAccessIssue]
        advice = (
            f"JAX may use {wanted!r} only (JAX_PLATFORMS or jax_platforms): unset it, or set it to 'cpu'"
            if wanted
            else "repair the installation of JAX"
        )
        raise BackendUnavailable(
            f"JAX cannot start ({reason.splitlines()[0]}); {advice}, or choose backend='torch'"
        ) from error
