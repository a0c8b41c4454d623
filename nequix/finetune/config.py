"""The configuration of a fine-tuning run; all values have defaults."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import ClassVar

from nequix.core.errors import DataError
from nequix.core.suggest import did_you_mean
from nequix.finetune.modes import MODES
from nequix.io.weights import Weights
from nequix.train.config import (
    DataConfig,
    ModelConfig,
    ProvenanceConfig,
    RunConfig,
    TrainConfig,
    overlay,
)
from nequix.train.config_types import Count, Index, Share
from nequix.train.loss import LossConfig
from nequix.train.optimizer import OptimizerConfig

# configs/finetune.yml gives the reasons; a test compares it with these values.
RATES = {"head": 0.03, "last-layer": 0.03, "full": 0.01}
"""Learning rate of each mode, as measured (docs/finetuning.md)."""

_RUN = RunConfig(
    epochs=60,
    seed=0,
    dtype="float32",
    kernel="auto",
    ema_decay=0.99,
    packs=1,
    checkpoint_every=100,
    keep=2,
    validate_every=1,
    patience=20,
)


HESSIAN = 20.0
"""Weight of the Hessian term."""


@dataclass(frozen=True)
class PhononsConfig:
    """Phonon calculations with force constants as labels (docs/phonon-finetuning.md).

    Attributes:
        train: phonopy files, or folders.
        valid: Files or folders for validation; by default ``data.valid_fraction`` of the materials.
        batch_size: Average number of columns of the Hessian per step.
    """

    train: list[str]
    valid: list[str] | None = None
    batch_size: Count = 2


@dataclass(frozen=True)
class ReplayConfig:
    """Structures of the parent's training, or similar ones, in every batch (docs/finetuning.md, replay).

    Attributes:
        train: Sources of structures, labelled with the standard keys; their energies count from the parent's
            baseline.
        share: Fraction of a batch's structures.

    Raises:
        DataError: If the share is not between 0 and 1.
    """

    train: list[str]
    share: Share = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise DataError(f"replay.share = {self.share:g}, expected above 0 and below 1")


@dataclass(frozen=True)
class FinetuneConfig(TrainConfig):
    """A fine-tuning run; ``model`` is that of the parent.

    Attributes:
        parent: The model that it starts from: a name or a path.
        parent_digest: SHA-256 of its file.
        mode: Which parameters are trained (:data:`nequix.finetune.modes.MODES`).
        refit_atom_energies: Whether the atom energies are fitted to the labels before the first step.
        phonons: Phonon calculations that are trained on as well.
        replay: Structures that keep the model from forgetting.
        member: Index of the ensemble member, which draws its training structures with replacement.
        n_train: Number of training structures to use; by default all.
        draw: Index of the random subset; subsets of one draw are nested.
    """

    forces_first: ClassVar[bool] = True
    parent: str
    parent_digest: str
    mode: str
    refit_atom_energies: bool
    phonons: PhononsConfig | None = None
    replay: ReplayConfig | None = None
    member: Index | None = None
    n_train: Count | None = None
    draw: Index | None = None


def configure(
    parent: Weights,
    source: str,
    mode: str,
    train: Sequence[str | os.PathLike[str]],
    valid: Sequence[str | os.PathLike[str]] = (),
    *,
    path: str | os.PathLike[str] | None = None,
    epochs: int | None = None,
    refit_atom_energies: bool | None = None,
    phonons: PhononsConfig | None = None,
    replay: ReplayConfig | None = None,
    replay_share: float | None = None,
) -> FinetuneConfig:
    """Complete a configuration.

    Args:
        parent: The model to start from.
        source: The name or path that it was loaded from.
        mode: ``head``, ``last-layer`` or ``full``.
        train: Sources of labelled structures.
        valid: Sources for validation; by default a part of ``train`` is held out.
        path: A YAML file with values that differ from the defaults; see ``configs/finetune.yml``.
        epochs: Maximum number of epochs; by default that of the file.
        refit_atom_energies: Whether they are fitted to the labels; by default as in the file.
        phonons: Phonon calculations that are trained on as well; without ``train`` together with ``replay``.
        replay: Structures that keep the model from forgetting; without ``train`` they are the data.
        replay_share: Their fraction of a batch; by default as in the file.

    Raises:
        DataError: If the file cannot be read or used, or the mode is unknown.
    """
    if mode not in MODES:
        raise DataError(f"mode = {mode!r}, expected one of {', '.join(MODES)}{did_you_mean(mode, MODES)}")
    if not train and replay is not None:
        # The parent's own baseline is kept: there are no other labels to fit it to.
        if refit_atom_energies:
            raise DataError("atom energies are refitted to new labels, and there are none; give structures")
        train, replay, refit_atom_energies = replay.train, None, False
    usual = _usual(parent, source, mode, [os.fspath(name) for name in train])
    hessian = None if phonons is None else HESSIAN
    usual = replace(usual, phonons=phonons, replay=replay, loss=replace(usual.loss, hessian=hessian))
    usual = replace(usual, data=replace(usual.data, valid=[os.fspath(name) for name in valid] or None))
    config = usual if path is None else overlay(usual, path)
    for given in ("model", "parent", "parent_digest", "mode", "member", "n_train", "draw"):
        if getattr(config, given) != getattr(usual, given):
            raise DataError(f"{path}: {given} follows from the command line; remove it from the file")
    for part in ("phonons", "replay"):
        ours, theirs = getattr(usual, part), getattr(config, part)
        if (ours and ours.train) != (theirs and theirs.train):
            raise DataError(f"{path}: {part}.train is named on the command line (--{part}); remove it")
    if config.phonons is not None and config.phonons.valid and not _holds_out(config):
        raise DataError(
            "phonons are validated together with structures; give some with --valid, or hold some out"
        )
    if config.loss.hessian is not None and config.phonons is None:
        raise DataError(f"{path}: loss.hessian needs phonons; give some with --phonons, or remove it")
    if (config.data.train, config.data.valid) != (usual.data.train, usual.data.valid):
        raise DataError(f"{path}: data.train and data.valid are named on the command line; remove them")
    if epochs is not None:
        config = replace(config, run=replace(config.run, epochs=epochs))
    if refit_atom_energies is not None:
        config = replace(config, refit_atom_energies=refit_atom_energies)
    if replay_share is not None and config.replay is not None:
        config = replace(config, replay=replace(config.replay, share=replay_share))
    return config


def _holds_out(config: TrainConfig) -> bool:
    return config.data.valid is not None or config.data.valid_fraction > 0


def _usual(parent: Weights, source: str, mode: str, train: list[str]) -> FinetuneConfig:
    origin, names = parent.provenance, ", ".join(Path(name).name for name in train)
    return FinetuneConfig(
        model=_model(parent),
        data=DataConfig(train=train, batch_size=5, workers=0, valid_fraction=0.1),
        loss=LossConfig(energy=20, forces=20, stress=50),
        optimizer=OptimizerConfig(
            name="muon",
            learning_rate=RATES[mode],
            warmup_epochs=1,
            warmup_factor=0.1,
            weight_decay=0,
            gradient_clip=100,
        ),
        run=_RUN,
        provenance=ProvenanceConfig(
            name=f"{origin.name}-{mode}",
            training_data=f"{origin.training_data}, then {names}",
            theory=f"{origin.theory}, then that of {names}",
            licence=origin.licence,
            citation=origin.citation,
        ),
        parent=source,
        parent_digest=parent.digest or "unknown",
        mode=mode,
        refit_atom_energies=True,
    )


def _model(parent: Weights) -> ModelConfig:
    own = {f.name: getattr(parent.spec, f.name) for f in fields(ModelConfig) if hasattr(parent.spec, f.name)}
    return ModelConfig(**{**own, "atomic_numbers": list(parent.spec.atomic_numbers)})
