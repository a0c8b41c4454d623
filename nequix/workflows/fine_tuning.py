"""Fine-tuning of a model to other data: one model, an ensemble, or a learning curve."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nequix.core.errors import DataError
from nequix.io.catalogue import load_weights
from nequix.io.ensemble import Calibration
from nequix.io.installation import needs_extra
from nequix.io.weights import Weights

if TYPE_CHECKING:
    from nequix.finetune.config import FinetuneConfig
    from nequix.finetune.power_law import Answer, PowerLaw
    from nequix.train.loop import Run

Mode = Literal["head", "last-layer", "full"]
"""What is trained."""

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]

TEACHER = "teacher"
"""Names, among the files for replay, structures that the parent makes and labels itself."""

OpenRun = Callable[[Callable[[int], None] | None], "Run"]
"""Opens a run, given what counts the structures that are read meanwhile."""

Follow = Callable[[OpenRun], bool]
"""Opens a run, trains it, and returns whether it is complete."""


@dataclass(frozen=True)
class Setup:
    """A fine-tuning before it begins.

    Attributes:
        config: What to do.
        parent: The model to begin with.
        folder: Directory of the run.
    """

    config: FinetuneConfig
    parent: Weights
    folder: Path


@dataclass(frozen=True)
class FineTuned:
    """The outcome of a fine-tuning.

    Attributes:
        path: The weight file or, of an ensemble, its directory: a model for every function and command.
        complete: Whether all steps were taken. If not, a signal stopped the run after a checkpoint, and the
            same call continues.
        calibration: How the spreads of an ensemble relate to its errors; None for one model, or without
            enough structures that were held out.
        reason: Why an ensemble is not calibrated; empty otherwise.
    """

    path: Path
    complete: bool
    calibration: Calibration | None = None
    reason: str = ""


def fine_tune(
    data: Paths,
    output: str | os.PathLike[str],
    model: str | os.PathLike[str] = "nequix-mp-1",
    *,
    mode: Mode = "last-layer",
    valid: Paths = (),
    config: str | os.PathLike[str] | None = None,
    epochs: int | None = None,
    refit_atom_energies: bool | None = None,
    phonons: Paths = (),
    valid_phonons: Paths = (),
    replay: Paths = (),
    replay_share: float | None = None,
    ensemble: int | None = None,
    on_step: Callable[[int, int, dict[str, float]], None] | None = None,
) -> FineTuned:
    """Adapt a model to labelled structures (docs/finetuning.md). It needs the extra ``train``.

    Interrupted, the same call continues.

    Args:
        data: Files of labelled structures (docs/data.md); with ``replay`` there need not be any.
        output: Directory of the run; created, or resumed if it exists.
        model: The model to begin with: a name or the path of a weight file.
        mode: What is trained: ``head``, ``last-layer`` or ``full``.
        valid: Files for validation; by default a part of the data is held out.
        config: A YAML file with other values than the defaults; see ``configs/finetune.yml``.
        epochs: Most passes over the data.
        refit_atom_energies: Whether the atom energies are fitted to the labels first.
        phonons: Files or folders of phonopy whose force constants are labels.
        valid_phonons: Those for validation; by default a part of the materials.
        replay: Files of structures like those of the parent's training, to remember; ``teacher`` makes some.
        replay_share: Their share of every batch, above 0 and below 1.
        ensemble: Number of members to train; by default one model.
        on_step: Called after every step with the step, the number of steps, and the metrics.

    Returns:
        Where the fine-tuned model is, and whether it is complete.

    Raises:
        BackendUnavailable: If a package for training is not installed.
        DataError: If the data or the configuration cannot be used, or the directory holds another run.
        WeightsError: If there is no such model, or it cannot be downloaded or read.
    """
    setup = prepare(
        data,
        output,
        model,
        mode=mode,
        valid=valid,
        config=config,
        epochs=epochs,
        refit_atom_energies=refit_atom_energies,
        phonons=phonons,
        valid_phonons=valid_phonons,
        replay=replay,
        replay_share=replay_share,
    )

    def follow(open_run: OpenRun) -> bool:
        return open_run(None).train(on_step)

    if ensemble is None:
        return train_one(setup, follow)
    if (reason := why_uncalibrated(setup)) is not None:
        warnings.warn(f"the ensemble will not be calibrated: {reason}", RuntimeWarning, stacklevel=2)
    return train_ensemble(setup, ensemble, follow)


def prepare(
    data: Paths,
    output: str | os.PathLike[str],
    model: str | os.PathLike[str] = "nequix-mp-1",
    *,
    mode: str = "last-layer",
    valid: Paths = (),
    config: str | os.PathLike[str] | None = None,
    epochs: int | None = None,
    refit_atom_energies: bool | None = None,
    phonons: Paths = (),
    valid_phonons: Paths = (),
    replay: Paths = (),
    replay_share: float | None = None,
) -> Setup:
    """Load the parent and complete the configuration of a fine-tuning; the arguments of :func:`fine_tune`.

    Structures of a ``teacher`` are made here: what a step costs depends on them.
    """
    with needs_extra("train", "training"):
        from nequix.finetune.config import PhononsConfig, ReplayConfig, configure
        from nequix.finetune.teacher import write_teacher_data

    folder = Path(output)
    parent = load_weights(model)
    replayed = _paths(replay)
    if not _paths(data) and not replayed:
        raise DataError("no data: name labelled structures, or --replay some of the parent's training")
    if TEACHER in replayed:
        made = str(write_teacher_data(parent, folder / "replay.extxyz"))
        replayed = [made if name == TEACHER else name for name in replayed]
    configured = configure(
        parent,
        os.fspath(model),
        mode,
        _paths(data),
        _paths(valid),
        path=config,
        epochs=epochs,
        refit_atom_energies=refit_atom_energies,
        phonons=PhononsConfig(_paths(phonons), _paths(valid_phonons) or None) if _paths(phonons) else None,
        replay=ReplayConfig(replayed) if replayed else None,
        replay_share=replay_share,
    )
    return Setup(configured, parent, folder)


def why_uncalibrated(setup: Setup) -> str | None:
    """Say before any training why an ensemble cannot be calibrated, as far as the labels show it.

    Args:
        setup: The fine-tuning.

    Returns:
        The reason, and what to do; None if there are enough labels.
    """
    from nequix.finetune import ensemble

    return ensemble.why_uncalibrated(setup.config)


def train_one(setup: Setup, follow: Follow) -> FineTuned:
    """Train one model.

    Args:
        setup: The fine-tuning.
        follow: Trains a run.
    """
    from nequix.finetune.opening import open_fine_tuning
    from nequix.train.loop import MODEL

    complete = follow(partial(open_fine_tuning, setup.config, setup.parent, setup.folder))
    return FineTuned(setup.folder / MODEL, complete)


def train_ensemble(
    setup: Setup, n: int, follow: Follow, on_complete: Callable[[Path], None] | None = None
) -> FineTuned:
    """Train every member that is not complete yet, calibrate them, and list them in ``ensemble.json``.

    Args:
        setup: The fine-tuning.
        n: How many members.
        follow: Trains a run.
        on_complete: Called with the directory of each member that is complete already.
    """
    from nequix.finetune.ensemble import conclude, member_configs

    if not _train_all(setup, member_configs(setup.config, n), follow, on_complete):
        return FineTuned(setup.folder, complete=False)
    calibration, reason = conclude(setup.config, setup.folder, n)
    return FineTuned(setup.folder, True, calibration, reason)


def train_curve(
    setup: Setup,
    sizes: Sequence[int],
    draws: int,
    target: float | None,
    follow: Follow,
    on_complete: Callable[[Path], None] | None = None,
) -> tuple[PowerLaw, Answer | None] | None:
    """Train on parts of the data of several sizes, and fit the errors.

    Args:
        setup: The fine-tuning.
        sizes: Numbers of structures.
        draws: How many different parts of each size.
        target: Mean absolute error of force components to reach, meV/A.
        follow: Trains a run.
        on_complete: Called with the directory of each run that is complete already.

    Returns:
        The fit, and its answer if there is a target; None if a run is not complete.

    Raises:
        DataError: If there are too few structures, or no forces are held out.
    """
    from nequix.finetune.curve import check_curve, conclude, curve_configs

    check_curve(setup.config, sizes)
    if not _train_all(setup, curve_configs(setup.config, sizes, draws), follow, on_complete):
        return None
    return conclude(setup.config, setup.folder, sizes, draws, target)


def _train_all(
    setup: Setup,
    configs: dict[str, FinetuneConfig],
    follow: Follow,
    on_complete: Callable[[Path], None] | None,
) -> bool:
    """Train every run that is not complete yet; return whether all are."""
    from nequix.finetune.opening import open_fine_tuning
    from nequix.finetune.run import finished

    for name, config in configs.items():
        folder = setup.folder / name
        if not finished(config, folder):
            if not follow(partial(open_fine_tuning, config, setup.parent, folder)):
                return False
        elif on_complete is not None:
            on_complete(folder)
    return True


def _paths(given: Paths) -> list[str]:
    """List files that are given as one or several."""
    one = isinstance(given, (str, os.PathLike))
    return [os.fspath(given)] if one else [os.fspath(path) for path in given]
