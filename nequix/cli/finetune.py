"""The command that adapts a model: ``nequix finetune``."""

from __future__ import annotations

import sys
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nequix.cli.inputs import require_files
from nequix.cli.train import follow, training_packages
from nequix.core.errors import DataError

if TYPE_CHECKING:
    from nequix.finetune.config import FinetuneConfig
    from nequix.io.weights import Weights


TEACHER = "teacher"
"""What ``--replay`` takes for structures that the parent makes and labels itself."""

DRAWS = 2
"""Different parts of the data of each size of a curve, unless told."""


class Mode(StrEnum):
    """What ``--mode`` takes (:data:`nequix.finetune.modes.MODES`)."""

    head = "head"
    last_layer = "last-layer"
    full = "full"


def finetune(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The folder of the run, made or gone on with.")
    ],
    parent: Annotated[
        str, typer.Option("--from", help="The model to begin with: a name or a weight file.")
    ] = "nequix-mp-1",
    mode: Annotated[Mode, typer.Option(help="What is trained.")] = Mode.last_layer,
    valid: Annotated[
        list[Path] | None, typer.Option(help="Structures for validation; by default a part of DATA.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A YAML file of values that differ; see configs/finetune.yml.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the data at most.")] = None,
    refit: Annotated[
        bool | None,
        typer.Option(
            "--refit-atom-energies/--keep-atom-energies",
            help="Fit the atom energies to the labels first; the default, for labels of another baseline.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would take, and stop.")] = False,
    data: Annotated[
        list[Path] | None,
        typer.Argument(help="Labelled structures (docs/data.md); with --replay none need be given."),
    ] = None,
    phonons: Annotated[
        list[Path] | None,
        typer.Option(help="phonopy files or folders: train on force constants (docs/phonon-finetuning.md)."),
    ] = None,
    valid_phonons: Annotated[
        list[Path] | None, typer.Option(help="Those for validation; by default a part of the materials.")
    ] = None,
    replay: Annotated[
        list[str] | None,
        typer.Option(help="Structures like those of the parent's training; 'teacher' makes some itself."),
    ] = None,
    replay_share: Annotated[
        float | None, typer.Option(help="Their part of every batch, above 0 and below 1; by default a half.")
    ] = None,
    ensemble: Annotated[
        int | None, typer.Option(min=2, help="Train so many members, calibrated (docs/ensembles.md).")
    ] = None,
    curve: Annotated[
        str | None, typer.Option(help="Train on so many structures, as 10,20,50,100, and fit the errors.")
    ] = None,
    draws: Annotated[
        int | None, typer.Option(min=1, help="Different parts of the data of each size; by default two.")
    ] = None,
    target: Annotated[
        float | None, typer.Option(help="Force MAE (meV/A) of which the curve shall say what it takes.")
    ] = None,
) -> None:
    """Adapt a model to other data; interrupted, the same command goes on where it was."""
    if curve is not None and ensemble is not None:
        raise DataError(
            "--curve and --ensemble exclude each other; run one after the other, in folders of their own"
        )
    for option, value, needed, partner in (
        ("--target", target, "--curve", curve),
        ("--draws", draws, "--curve", curve),
        ("--replay-share", replay_share, "--replay beside DATA", data and replay),
        ("--valid-phonons", valid_phonons, "--phonons", phonons),
    ):
        if value is not None and not partner:
            raise DataError(f"{option} does nothing without {needed}; give that as well, or leave it out")
    labelled = [name for name in replay or () if name != TEACHER]
    require_files(data, valid, phonons, valid_phonons, labelled, config and [config])
    with training_packages():
        from nequix.finetune.config import PhononsConfig, ReplayConfig, configure
        from nequix.finetune.run import FineTuning
        from nequix.train.processes import join_processes
    from nequix.io.catalogue import load_weights

    join_processes()
    weights = load_weights(parent)
    if not data and not replay:
        raise DataError("no data: name labelled structures, or --replay some of the parent's training")
    if replay and TEACHER in replay:
        from nequix.finetune.teacher import write_teacher_data

        # In a dry run, too: what a step takes depends on them, and the run finds them made.
        made = str(write_teacher_data(weights, output / "replay.extxyz"))
        replay = [made if name == TEACHER else name for name in replay]
    named, held = ([str(path) for path in paths or ()] for paths in (phonons, valid_phonons))
    read = configure(
        weights,
        parent,
        mode.value,
        data or (),
        valid or (),
        path=config,
        epochs=epochs,
        refit_atom_energies=refit,
        phonons=PhononsConfig(named, held or None) if named else None,
        replay=ReplayConfig(replay) if replay else None,
        replay_share=replay_share,
    )
    if curve is not None:
        _train_curve(read, weights, output, curve, draws or DRAWS, target, dry_run)
    elif ensemble is None:
        follow(lambda progress: FineTuning(read, weights, output, progress), dry_run)
    else:
        _train_ensemble(read, weights, output, ensemble, dry_run)


def _train_curve(
    config: FinetuneConfig,
    parent: Weights,
    folder: Path,
    curve: str,
    draws: int,
    target: float | None,
    dry_run: bool,
) -> None:
    """Train on every part that is not complete yet, and fit the errors."""
    from nequix.finetune.curve import check_curve, conclude, curve_configs, sentence
    from nequix.finetune.power_law import LEAST_SIZES

    parts = curve.split(",")
    sizes = sorted({int(part) for part in parts if part.strip().isdigit() and int(part)})
    if len(sizes) != len(parts) or len(sizes) < LEAST_SIZES:
        raise DataError(
            f"--curve {curve}: expected {LEAST_SIZES} different numbers at least, as 10,20,50,100: a power "
            "law with a floor has three parameters"
        )
    check_curve(config, sizes)
    if not _train_all(curve_configs(config, sizes, draws), parent, folder, dry_run):
        return
    print(sentence(*conclude(config, folder, sizes, draws, target)))


def _train_all(configs: dict[str, FinetuneConfig], parent: Weights, folder: Path, dry_run: bool) -> bool:
    """Train every run that is not complete yet."""
    from nequix.finetune.run import FineTuning, finished

    for name, config in configs.items():
        if finished(config, folder / name):
            print(f"{folder / name}: complete")
            continue
        follow(partial(FineTuning, config, parent, folder / name), dry_run)
        if dry_run:
            print(f"one of {len(configs)} runs")
            return False
    return True


def _train_ensemble(config: FinetuneConfig, parent: Weights, folder: Path, n: int, dry_run: bool) -> None:
    """Train every member that is not complete yet, and calibrate them."""
    from nequix.finetune.ensemble import conclude, member_configs, why_uncalibrated

    why = why_uncalibrated(config)
    if why is not None:
        print(f"warning: the ensemble will not be calibrated: {why}", file=sys.stderr)
    if not _train_all(member_configs(config, n), parent, folder, dry_run):
        return
    told, why = conclude(config, folder, n)
    if told is None:
        print(f"{folder}: {n} members, not calibrated: {why}, and train in another folder")
        return
    print(
        f"{folder}: {n} members, calibrated on {told.data}: spreads of forces times {told.forces_scale:.3g} "
        f"(miscalibration area {told.forces_area:.3f}, {told.forces_area_scaled:.3f} with it), of energies "
        f"times {told.energy_scale:.3g} ({told.energy_area:.3f}, {told.energy_area_scaled:.3f})"
    )
