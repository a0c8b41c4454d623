"""Which device and which convolution kernel run the model."""

from __future__ import annotations

from collections.abc import Callable

import torch

from nequix.core.errors import BackendUnavailable
from nequix.devices import parse_device
from nequix.kernel_table import KernelTable
from nequix.torch.convolution import Kernel, PlainKernel
from nequix.torch.e3nn_kernel import E3nnKernel
from nequix.torch.isolation import check_fork
from nequix.torch.native_kernel import NativeKernel
from nequix.torch.openequivariance_kernel import OpenEquivarianceKernel

# Register new kernels here.
TABLE = KernelTable((PlainKernel, NativeKernel, E3nnKernel, OpenEquivarianceKernel))
KERNELS: tuple[str, ...] = TABLE.names
select_kernel: Callable[..., Kernel] = TABLE.select
available_kernels: Callable[[str], tuple[str, ...]] = TABLE.available


def find_device(name: str | None) -> torch.device:
    """Find a device by name.

    Args:
        name: ``cpu``, ``gpu``, ``gpu:1``, ...; None for the first that the backend offers.

    Raises:
        BackendUnavailable: If it is not there.
    """
    there = _list_devices()
    if name is None:
        device = there[0] if len(there) == 1 else torch.device("cuda")  # the current one
        check_fork(device.type)
        return device
    platform, index = parse_device(name)
    check_fork(platform)
    matching = [device for device in there if (device.type == "cpu") == (platform == "cpu")]
    if index >= len(matching) or platform == "tpu":
        names = ", ".join("cpu" if device.type == "cpu" else f"gpu:{device.index}" for device in there)
        raise BackendUnavailable(
            f"device {name!r} is not there for PyTorch (there are: {names}); choose one of them, "
            "or install a PyTorch that runs on it"
        )
    return matching[index]


def _list_devices() -> list[torch.device]:
    """List the devices of the default platform; fail where PyTorch cannot start.

    Raises:
        BackendUnavailable: With PyTorch's reason.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [torch.device("cpu"), *(torch.device("cuda", index) for index in range(gpus))]
