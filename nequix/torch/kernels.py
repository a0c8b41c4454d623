"""Which device and which convolution kernel run the model."""

from __future__ import annotations

import torch

from nequix.core.errors import BackendUnavailable
from nequix.devices import parse_device
from nequix.kernel_table import KernelTable
from nequix.torch.convolution import PlainKernel
from nequix.torch.e3nn_kernel import E3nnKernel
from nequix.torch.native_kernel import NativeKernel
from nequix.torch.openequivariance_kernel import OpenEquivarianceKernel

# Register new kernels here.
TABLE = KernelTable((PlainKernel, NativeKernel, E3nnKernel, OpenEquivarianceKernel))
KERNELS = TABLE.names
select_kernel, available_kernels = TABLE.select, TABLE.available


def find_device(name: str | None) -> torch.device:
    """Find a device by name.

    Args:
        name: ``cpu``, ``gpu``, ``gpu:1``, ...; None for the first that the backend offers.

    Raises:
        BackendUnavailable: If it is not there.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    platform, index = parse_device(name)
    n_devices = {"cpu": 1, "tpu": 0}.get(platform, torch.cuda.device_count())
    if index >= n_devices:
        there = ", ".join(["cpu", *(f"gpu:{i}" for i in range(torch.cuda.device_count()))])
        raise BackendUnavailable(
            f"device {name!r} is not there for PyTorch (there are: {there}); choose one of them, "
            "or install a PyTorch that runs on it"
        )
    return torch.device("cpu") if platform == "cpu" else torch.device("cuda", index)
