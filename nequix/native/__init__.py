"""The native backend: whole models in a compiled library for CPUs, without a framework."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nequix.native.potential import KERNELS, EnsemblePotential, Potential

__all__ = ["KERNELS", "EnsemblePotential", "Potential"]


def __getattr__(name: str) -> Any:
    # Engines import the library's modules, and the backend imports what engines share: no cycle on import.
    if name in __all__:
        from nequix.native import potential

        return getattr(potential, name)
    raise AttributeError(f"module 'nequix.native' has no attribute {name!r}")
