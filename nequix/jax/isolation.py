"""Evaluations do not depend on what the calling program has set up in the framework."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import jax

from nequix.core.errors import BackendUnavailable
from nequix.core.numpy_errors import usual_errors

_SETTINGS = {
    "check_tracer_leaks": False,
    "debug_infs": False,  # padding holds numbers that are never read
    "debug_nans": False,
    "default_matmul_precision": "highest",  # accelerators round factors by default
    "disable_jit": False,
    "enable_x64": True,  # energies and sums over edges are float64
    "numpy_dtype_promotion": "standard",
    "numpy_rank_promotion": "allow",
    "transfer_guard": "allow",
}

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
    if _ran_before_fork:
        raise BackendUnavailable(
            f"JAX ran on {platform!r} before this process was forked and cannot run in it: start processes "
            "with multiprocessing's 'spawn' or 'forkserver', use backend='torch', or fork before the first "
            "calculation; energies and forces of kernel='native' work here, with a potential that was made "
            "before the fork"
        )


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
        for name, value in _SETTINGS.items():
            if _current(name) != value:  # entering one takes microseconds
                stack.enter_context(getattr(jax, name)(value))
        stack.enter_context(usual_errors())
        yield


def _current(name: str) -> Any:
    value = getattr(jax.config, f"jax_{name}")
    if name == "transfer_guard" and value is None:
        return "allow"
    return getattr(value, "value", value)  # some are enumerations


def _is_running() -> bool:
    """Return whether JAX has started its threads; assume so where JAX does not say."""
    bridge = getattr(getattr(jax, "_src", None), "xla_bridge", None)
    initialized = getattr(bridge, "backends_are_initialized", None)
    return True if initialized is None else bool(initialized())


def _remember_running() -> None:
    global _ran_before_fork
    _ran_before_fork = _running


def _look_before_fork() -> None:
    global _running
    _running = _is_running()


_running = False
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_look_before_fork, after_in_child=_remember_running)
