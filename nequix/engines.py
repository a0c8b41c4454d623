"""The engines: backends that need a framework, which of them are installed, and how one is imported."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

from nequix.core.errors import BackendUnavailable
from nequix.io.installation import install_command
from nequix.io.weights import Weights

if TYPE_CHECKING:
    from nequix.potential import Potential

ENGINES: dict[str, tuple[str, ...]] = {"jax": ("jax", "equinox"), "torch": ("torch",)}
"""Every engine, in the order of preference, and the packages that it imports."""


def installed_engines() -> list[str]:
    """List the engines whose packages are installed; none of them is imported."""
    return [
        name
        for name, packages in ENGINES.items()
        if all(importlib.util.find_spec(package) is not None for package in packages)
    ]


def load_engine(weights: Weights, *, kernel: str, dtype: str, device: str) -> Potential:
    """Put a model on an installed engine, for what the native backend leaves to engines.

    Args:
        weights: The model.
        kernel: The convolution kernel.
        dtype: Precision of the layers.
        device: Where it runs.

    Raises:
        BackendUnavailable: If no engine is installed, or none of them works.
    """
    names = installed_engines()
    if not names:
        raise BackendUnavailable(
            f"second derivatives need an engine, and none is installed: {install_command('jax')}, or with "
            "[torch] instead of [jax]"
        )
    engine = import_engine(first_working(names, device))
    return engine.Potential(weights, kernel=kernel, dtype=dtype, device=device)


def first_working(backends: Sequence[str], device: str | None = None) -> str:
    """Return the first backend that can be imported and starts on a device.

    Args:
        backends: Names of backends, the preferred one first.
        device: Name of the device; by default the first that a backend offers.

    Raises:
        BackendUnavailable: If none of them works, with the reason of each.
    """
    reasons = []
    for name in backends:
        try:
            import_engine(name).find_device(device)
        except BackendUnavailable as error:
            reasons.append(f"{name}: {error}")
        else:
            return name
    raise BackendUnavailable("no installed backend works. " + ". ".join(reasons))


def import_engine(name: str) -> ModuleType:
    """Import one backend, and never another.

    Args:
        name: Name of the backend.

    Raises:
        BackendUnavailable: If its packages are not installed or cannot be imported.
    """
    try:
        return importlib.import_module(f"nequix.{name}")
    except BackendUnavailable:
        raise
    except Exception as error:  # a broken installation raises anything
        what = str(error) if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
        raise BackendUnavailable(
            f"backend {name!r} cannot be imported ({what}); install it: {install_command(name)}"
        ) from error
