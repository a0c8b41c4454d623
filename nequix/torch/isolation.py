"""Evaluations do not depend on what the calling program has set up in the framework."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch

from nequix.core.errors import BackendUnavailable
from nequix.core.numpy_errors import usual_errors
from nequix.forks import is_forked

_FULL_PRECISION = ("none", "ieee")

_ran_before_fork = False


def check_fork(platform: str) -> None:
    """Make sure that the framework can run in this process, which may be a forked child.

    A child does not have its parent's threads, and a framework that waits for them hangs. PyTorch gets one
    thread in a child; JAX cannot be restarted once its parent has used it, and neither can a GPU.

    Args:
        platform: Kind of the device, ``cpu``, ``gpu``, ...

    Raises:
        BackendUnavailable: If it cannot run here.
    """
    if not is_forked():
        return
    if platform != "cpu" and _ran_before_fork:
        raise BackendUnavailable(
            f"PyTorch ran on {platform!r} before this process was forked and cannot run on it here: start "
            "processes with multiprocessing's 'spawn' or 'forkserver', choose device='cpu', or fork before "
            "the first calculation"
        )
    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)


@contextlib.contextmanager
def isolated(platform: str) -> Iterator[None]:
    """Run with the framework's settings that the numbers are defined for, and restore the caller's.

    The caller may have chosen a lower precision of matrix products, turned derivatives or compilation off,
    or turned warnings or the checks of a debugging session on.

    Args:
        platform: Kind of the device, ``cpu``, ``gpu``, ...

    Raises:
        BackendUnavailable: If this process is a forked child that cannot run the framework.
    """
    check_fork(platform)
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.autocast(platform, enabled=False))
        stack.enter_context(_full_precision())
        if torch.is_anomaly_enabled():
            stack.enter_context(torch.autograd.set_detect_anomaly(False))
        stack.enter_context(usual_errors())
        yield


def _is_running() -> bool:
    """Return whether PyTorch uses a GPU; its threads for the CPU can be done without."""
    return torch.cuda.is_initialized()


def _remember_running() -> None:
    global _ran_before_fork
    _ran_before_fork = _running


def _look_before_fork() -> None:
    global _running
    _running = _is_running()


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


_running = False
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_look_before_fork, after_in_child=_remember_running)
