"""What a run is made of: its data, its compiled functions, and how far it is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import Mesh

from nequix.core.spec import ModelSpec
from nequix.data.loader import Loader
from nequix.data.stats import Statistics
from nequix.jax.convolution import Kernel
from nequix.train.config import TrainConfig
from nequix.train.evaluation import Evaluation
from nequix.train.step import State
from nequix.train.streams import Other


@dataclass(frozen=True)
class RunData:
    """The data of a run, measured and checked, and the model that is trained on them.

    Attributes:
        spec: The model that is trained.
        statistics: Of the training data.
        digests: Of the structures and labels of each part of the data, by its name.
        loader: Of the training data.
        others: More training data of every step, taken in step with ``loader``.
        valid: Of the validation data, if there are any.
        valid_hessians: Of validation data with products of the Hessian, if there are any.
        validation: The validation data in words.
        n_steps: Number of steps of the whole run.
    """

    spec: ModelSpec
    statistics: Statistics
    digests: dict[str, str]
    loader: Loader
    others: list[Other]
    valid: Loader | None
    valid_hessians: Loader | None
    validation: str
    n_steps: int


@dataclass(frozen=True)
class Program:
    """The functions that run on the devices.

    Attributes:
        mesh: The devices of all processes.
        kernel: Computes the messages.
        rate: The learning rate of a step.
        step: Takes a step (:func:`nequix.train.step.make_step`).
        evaluation: Evaluates the model on validation data.
    """

    mesh: Mesh
    kernel: Kernel
    rate: Callable[[int], Any]
    step: Callable[..., tuple[State, dict[str, Any]]]
    evaluation: Evaluation


@dataclass(frozen=True)
class Progress:
    """How far a run is; the step is that of its loader.

    Attributes:
        state: What a step changes.
        best: The smallest loss of a validation so far.
        waited: Validations since then.
    """

    state: State
    best: float
    waited: int


def precision(config: TrainConfig) -> contextlib.AbstractContextManager[Any]:
    """Allow float64 within, if a run is in float64; nothing global.

    Args:
        config: The run.
    """
    return jax.enable_x64(config.run.dtype == "float64")
