"""Evaluations do not depend on what the calling program has set up in the framework."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

from nequix.core.errors import BackendUnavailable
from nequix.forks import is_forked
from nequix.isolation import Isolation

_FULL_PRECISION = ("none", "ieee")


class _Isolation(Isolation):
    def _check_fork(self, platform: str) -> None:
        if not is_forked():
            return
        if platform != "cpu" and self.ran_before_fork:
            raise BackendUnavailable(
                f"PyTorch ran on {platform!r} before this process was forked and cannot run on it here: "
                "start processes with multiprocessing's 'spawn' or 'forkserver', choose device='cpu', or "
                "fork before the first calculation"
            )
        if torch.get_num_threads() > 1:
            torch.set_num_threads(1)

    def _settings(self, platform: str) -> Iterator[contextlib.AbstractContextManager[Any]]:
        yield torch.inference_mode(False)
        yield torch.autocast(platform, enabled=False)
        yield _full_precision()
        if torch.is_anomaly_enabled():
            yield torch.autograd.set_detect_anomaly(False)

    def _is_running(self) -> bool:
        """Return whether PyTorch uses a GPU; its threads for the CPU can be done without."""
        return torch.cuda.is_initialized()


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    """Multiply float32 matrices in float32: TF32 and bfloat16 would round their elements."""
    backends = [module.matmul for module in (torch.backends.cuda, torch.backends.mkldnn)]
    if not all(hasattr(backend, "fp32_precision") for backend in backends):  # PyTorch before 2.9
        wanted = torch.get_float32_matmul_precision()
        if wanted == "highest":
            yield
            return
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(wanted)
        return
    changed = [(b, b.fp32_precision) for b in backends if b.fp32_precision not in _FULL_PRECISION]
    for backend, _ in changed:
        backend.fp32_precision = "ieee"
    try:
        yield
    finally:
        for backend, wanted in changed:
            backend.fp32_precision = wanted


isolated: _Isolation = _Isolation()
check_fork: Callable[[str], None] = isolated.check_fork
