"""Which device and which convolution kernel run the model."""

from __future__ import annotations

import torch

from nequix.core.errors import BackendUnavailable
from nequix.torch.convolution import Kernel, PlainKernel

KERNELS = ("plain",)


def find_device(name: str | None) -> torch.device:
    """Find a device by name.

    Args:
        name: ``cpu``, ``gpu``, ``gpu:1``, ...; None for the first that the backend offers.

    Raises:
        BackendUnavailable: If it is not there.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    platform, _, index = name.partition(":")
    platform = {"gpu": "cuda"}.get(platform, platform)
    try:
        device = torch.device(platform, int(index or 0))
        torch.empty(0, device=device)
    except (RuntimeError, ValueError, AssertionError, NotImplementedError) as error:
        there = ", ".join(["cpu", *["cuda"] * torch.cuda.is_available()])
        raise BackendUnavailable(f"device {name!r} is not there for PyTorch (there are: {there})") from error
    return device


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
