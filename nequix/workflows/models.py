"""Calculators for the workflows, from whatever names a model."""

from __future__ import annotations

import os
from pathlib import Path

from nequix.backends import import_backend
from nequix.calculator import NequixCalculator
from nequix.distance_guard import Guard
from nequix.ensemble import NequixEnsembleCalculator
from nequix.execution import DEFAULT, Execution
from nequix.io.catalogue import list_models, load_weights
from nequix.io.ensemble import ENSEMBLE
from nequix.io.weights import Weights
from nequix.potential import Potential

Model = str | os.PathLike[str] | Weights | Potential | NequixCalculator
"""What names a model: a name, a file, the folder of an ensemble, or something that was loaded before."""


def open_calculator(
    model: Model = "nequix-mp-1", execution: Execution = DEFAULT, guard: Guard = "warn"
) -> NequixCalculator:
    """Return a calculator for a model; a calculator is returned as it is.

    Args:
        model: A name of :func:`nequix.list_models`, the path of a weight file, the folder of an ensemble,
            weights, a potential, or a calculator.
        execution: How the model is executed; a calculator has its own.
        guard: What happens when atoms are closer than in the model's training data: ``warn``, ``error`` or
            None; a calculator has its own.

    Raises:
        BackendUnavailable: If the backend, the kernel or the device is not available.
        WeightsError: If there is no such model, or it cannot be downloaded or read.
        ValueError: For an unknown backend, kernel or precision, or for a calculator with another execution
            than the default.

    Example:
        >>> from nequix import Execution
        >>> from nequix.workflows.models import open_calculator
        >>> open_calculator("nequix-nano", Execution("native")).backend
        'native'
    """
    if isinstance(model, NequixCalculator):
        if execution != DEFAULT:
            raise ValueError(
                f"{execution} cannot be combined with a calculator, which has its own; leave it out, or give "
                "the model's name instead of the calculator"
            )
        return model
    if isinstance(model, (str, os.PathLike)) and is_ensemble(model):
        return NequixEnsembleCalculator(model, guard=guard, **execution.options())
    return NequixCalculator(model, guard=guard, **execution.options())


def load_for(model: str | os.PathLike[str], execution: Execution) -> Weights:
    """Load a model after its backend has been imported: nothing is downloaded that cannot run.

    Args:
        model: A name of :func:`nequix.list_models`, or the path of a weight file.
        execution: How the model will be executed.

    Raises:
        BackendUnavailable: If the backend's packages are not installed.
        WeightsError: If there is no such model, or it cannot be downloaded or read.
        ValueError: For an unknown backend.
    """
    if execution.backend != "auto":
        import_backend(execution.backend)
    return load_weights(model)


def is_ensemble(model: str | os.PathLike[str]) -> bool:
    """Return whether a model is the folder of an ensemble (not a name, not a weight file).

    Args:
        model: A name or a path.
    """
    path = Path(model)
    return model not in list_models() and (path.name == ENSEMBLE or (path / ENSEMBLE).is_file())
