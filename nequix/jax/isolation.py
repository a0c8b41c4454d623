"""Evaluations do not depend on what the calling program has set up in the framework."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax

from nequix.core.errors import BackendUnavailable
from nequix.isolation import Isolation

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


class _Isolation(Isolation):
    def _check_fork(self, platform: str) -> None:
        if self.ran_before_fork:
            raise BackendUnavailable(
                f"JAX ran on {platform!r} before this process was forked and cannot run in it: start "
                "processes with multiprocessing's 'spawn' or 'forkserver', use backend='torch', or fork "
                "before the first calculation; energies and forces of kernel='native' work here, with a "
                "potential that was made before the fork"
            )

    def _settings(self, platform: str) -> Iterator[contextlib.AbstractContextManager[Any]]:
        for name, value in _SETTINGS.items():
            if _current(name) != value:  # entering one takes microseconds
                yield getattr(jax, name)(value)

    def _is_running(self) -> bool:
        """Return whether JAX has started its threads; assume so where JAX does not say."""
        bridge = getattr(getattr(jax, "_src", None), "xla_bridge", None)
        initialized = getattr(bridge, "backends_are_initialized", None)
        return True if initialized is None else bool(initialized())


def _current(name: str) -> Any:
    value = getattr(jax.config, f"jax_{name}")
    if name == "transfer_guard" and value is None:
        return "allow"
    return getattr(value, "value", value)  # some are enumerations


isolated: _Isolation = _Isolation()
check_fork: Callable[[str], None] = isolated.check_fork
