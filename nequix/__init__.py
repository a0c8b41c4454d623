"""Run, train and adapt the Nequix foundation potential with JAX or PyTorch.

Importing this package loads neither framework, nor ASE or NumPy: every name below is loaded when it is
first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nequix.backends import installed_backends, load_model
    from nequix.calculator import NequixCalculator
    from nequix.core.errors import (
        BackendUnavailable,
        DataError,
        GraphError,
        NequixError,
        ResourceError,
        SpecError,
        WeightsError,
    )
    from nequix.core.spec import ModelSpec
    from nequix.ensemble import NequixEnsembleCalculator, SpreadGuard
    from nequix.execution import Execution
    from nequix.io.catalogue import list_models, load_weights
    from nequix.workflows.prediction import predict
    from nequix.workflows.relaxation import Relaxation, RelaxationStep, relax

__version__ = "0.1.0"

__all__ = [
    "BackendUnavailable",
    "DataError",
    "Execution",
    "GraphError",
    "ModelSpec",
    "NequixCalculator",
    "NequixEnsembleCalculator",
    "NequixError",
    "Relaxation",
    "RelaxationStep",
    "ResourceError",
    "SpecError",
    "SpreadGuard",
    "WeightsError",
    "__version__",
    "installed_backends",
    "list_models",
    "load_model",
    "load_weights",
    "predict",
    "relax",
]

_HOMES = {
    "nequix.calculator": ("NequixCalculator",),
    "nequix.core.errors": (
        "BackendUnavailable",
        "DataError",
        "GraphError",
        "NequixError",
        "ResourceError",
        "SpecError",
        "WeightsError",
    ),
    "nequix.io.catalogue": ("list_models", "load_weights"),
    "nequix.core.spec": ("ModelSpec",),
    "nequix.ensemble": ("NequixEnsembleCalculator", "SpreadGuard"),
    "nequix.execution": ("Execution",),
    "nequix.workflows.prediction": ("predict",),
    "nequix.workflows.relaxation": ("Relaxation", "RelaxationStep", "relax"),
    "nequix.backends": ("installed_backends", "load_model"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'nequix' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value  # from now on without this function
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
