"""Optimisers, with groups from the parameter manifest (docs/architecture.md, training)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import optax
from optax.contrib import MuonDimensionNumbers, muon

from nequix.core.parameters import manifest
from nequix.core.spec import ModelSpec
from nequix.train.config_types import NotNegative, Positive

FINAL_RATE = 1e-6
"""Learning rate that the cosine ends at."""

NEWTON_SCHULZ = 5 * ((3.4445, -4.7750, 2.0315),)
"""Coefficients of Muon's five iterations, from optax. Given one by one they are compiled as a loop, which
gives the same numbers as the unrolled iterations and compiles faster."""


@dataclass(frozen=True)
class OptimizerConfig:
    """How parameters are updated.

    Attributes:
        name: ``muon`` (matrices by Muon, the rest by Adam, both with Nesterov's momentum) or ``adamw``.
        learning_rate: Learning rate after the warm-up.
        warmup_epochs: Length of the linear warm-up, in epochs.
        warmup_factor: The learning rate starts at this fraction of its value.
        weight_decay: Decoupled, times the learning rate; on matrices only.
        gradient_clip: Largest global norm of the gradient.
    """

    name: Literal["muon", "adamw"]
    learning_rate: Positive
    warmup_epochs: NotNegative
    warmup_factor: NotNegative
    weight_decay: NotNegative
    gradient_clip: Positive


def schedule(config: OptimizerConfig, n_steps: int, steps_per_epoch: int) -> optax.Schedule:
    """Return the learning rate of every step: linear warm-up, then a cosine to almost nothing.

    Args:
        config: How parameters are updated.
        n_steps: Steps of the whole run.
        steps_per_epoch: Steps per epoch, the unit of the warm-up.
    """
    warmup = min(round(config.warmup_epochs * steps_per_epoch), n_steps - 1)
    return optax.warmup_cosine_decay_schedule(
        init_value=config.warmup_factor * config.learning_rate if warmup else config.learning_rate,
        peak_value=config.learning_rate,
        warmup_steps=warmup,
        decay_steps=max(n_steps, 1),
        end_value=min(FINAL_RATE, config.learning_rate),
    )


def make_optimizer(
    config: OptimizerConfig, spec: ModelSpec, names: Iterable[str], rate: optax.Schedule
) -> optax.GradientTransformation:
    """Make the transformation of gradients to updates, over ``{name: array}``.

    Args:
        config: How parameters are updated.
        spec: The model's specification; its manifest says which parameters are matrices and which decay.
        names: The parameters that are trained.
        rate: Learning rate as a function of the step.
    """
    trained = {parameter.name: parameter for parameter in manifest(spec)}
    trained = {name: trained[name] for name in names}
    decays = {name: parameter.decay for name, parameter in trained.items()}
    if config.name == "adamw":
        update = optax.adamw(rate, weight_decay=config.weight_decay, mask=decays)
    else:
        matrices = {name: MuonDimensionNumbers() if p.muon else None for name, p in trained.items()}
        update = muon(
            rate,
            ns_coeffs=NEWTON_SCHULZ,
            weight_decay=config.weight_decay,
            weight_decay_mask=decays,
            muon_weight_dimension_numbers=matrices,  # pyright: ignore[reportArgumentType]
        )
    return optax.chain(optax.clip_by_global_norm(config.gradient_clip), update)
