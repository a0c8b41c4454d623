"""Fixtures of the kernel tests."""

from collections.abc import Iterator

import pytest
import torch

from tests.kernels import openequivariance_double


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Run PyTorch in one thread: the arrays are small, and the tests run side by side."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def double(monkeypatch) -> openequivariance_double.Log:
    """Put the double where OpenEquivariance would be, and return its notes."""
    return openequivariance_double.install(monkeypatch)
