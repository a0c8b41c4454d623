"""Run, train and adapt the Nequix foundation potential with JAX or PyTorch.

Importing this package does not load a framework, ASE or NumPy: every name below is loaded when it is
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
        FetchError,
        FileError,
        GraphError,
        NequixError,
        ResourceError,
        SpecError,
        WeightsError,
    )
    from nequix.core.spec import ModelSpec
    from nequix.distance_guard import DistanceError, DistanceWarning
    from nequix.ensemble import NequixEnsembleCalculator, SpreadExceeded, SpreadGuard
    from nequix.evaluation.discovery.task import Discovery
    from nequix.evaluation.errors.task import Errors
    from nequix.evaluation.kappa.task import Kappa
    from nequix.evaluation.phonons.task import Phonons
    from nequix.evaluation.physics.task import Physics
    from nequix.evaluation.task import ItemResult, Task
    from nequix.execution import Execution
    from nequix.graphs.graph import Graph, batch, graph_from_atoms
    from nequix.graphs.results import EnsembleResults, Results
    from nequix.io.catalogue import list_models, load_weights
    from nequix.io.weights import Provenance, Weights, read_weights, write_weights
    from nequix.potential import EnsemblePotential, Potential
    from nequix.workflows.evaluation import Evaluation, evaluate
    from nequix.workflows.fine_tuning import FineTuned, fine_tune
    from nequix.workflows.prediction import predict
    from nequix.workflows.relaxation import Relaxation, RelaxationStep, relax

__version__ = "0.1.0"

__all__ = [
    "BackendUnavailable",
    "DataError",
    "Discovery",
    "DistanceError",
    "DistanceWarning",
    "EnsemblePotential",
    "EnsembleResults",
    "Errors",
    "Evaluation",
    "Execution",
    "FetchError",
    "FileError",
    "FineTuned",
    "Graph",
    "GraphError",
    "ItemResult",
    "Kappa",
    "ModelSpec",
    "NequixCalculator",
    "NequixEnsembleCalculator",
    "NequixError",
    "Phonons",
    "Physics",
    "Potential",
    "Provenance",
    "Relaxation",
    "RelaxationStep",
    "ResourceError",
    "Results",
    "SpecError",
    "SpreadExceeded",
    "SpreadGuard",
    "Task",
    "Weights",
    "WeightsError",
    "__version__",
    "batch",
    "evaluate",
    "fine_tune",
    "graph_from_atoms",
    "installed_backends",
    "list_models",
    "load_model",
    "load_weights",
    "predict",
    "read_weights",
    "relax",
    "write_weights",
]

_HOMES = {
    "nequix.backends": ("installed_backends", "load_model"),
    "nequix.calculator": ("NequixCalculator",),
    "nequix.core.errors": (
        "BackendUnavailable",
        "DataError",
        "FetchError",
        "FileError",
        "GraphError",
        "NequixError",
        "ResourceError",
        "SpecError",
        "WeightsError",
    ),
    "nequix.core.spec": ("ModelSpec",),
    "nequix.distance_guard": ("DistanceError", "DistanceWarning"),
    "nequix.ensemble": ("NequixEnsembleCalculator", "SpreadExceeded", "SpreadGuard"),
    "nequix.evaluation.discovery.task": ("Discovery",),
    "nequix.evaluation.errors.task": ("Errors",),
    "nequix.evaluation.kappa.task": ("Kappa",),
    "nequix.evaluation.phonons.task": ("Phonons",),
    "nequix.evaluation.physics.task": ("Physics",),
    "nequix.evaluation.task": ("ItemResult", "Task"),
    "nequix.execution": ("Execution",),
    "nequix.graphs.graph": ("Graph", "batch", "graph_from_atoms"),
    "nequix.graphs.results": ("EnsembleResults", "Results"),
    "nequix.io.catalogue": ("list_models", "load_weights"),
    "nequix.io.weights": ("Provenance", "Weights", "read_weights", "write_weights"),
    "nequix.potential": ("EnsemblePotential", "Potential"),
    "nequix.workflows.evaluation": ("Evaluation", "evaluate"),
    "nequix.workflows.fine_tuning": ("FineTuned", "fine_tune"),
    "nequix.workflows.prediction": ("predict",),
    "nequix.workflows.relaxation": ("Relaxation", "RelaxationStep", "relax"),
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
