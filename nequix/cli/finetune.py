"""The command that fine-tunes a model: ``nequix finetune``."""

from __future__ import annotations

import sys
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nequix.cli.inputs import require_files
from nequix.cli.train import follow
from nequix.core.errors import DataError
from nequix.io.installation import needs_extra

if TYPE_CHECKING:
    from nequix.workflows.fine_tuning import Setup


TEACHER = "teacher"
"""Value of ``--replay`` for structures that the parent itself generates and labels."""

DRAWS = 2
"""Default number of random subsets per size of a learning curve."""


class Mode(StrEnum):
    """What ``--mode`` takes (:data:`nequix.finetune.modes.MODES`)."""

    head = "head"
    last_layer = "last-layer"
    full = "full"


def finetune(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Run directory; created, or resumed if it exists.")
    ],
    parent: Annotated[
        str, typer.Option("--from", help="The parent model: a name or a weight file.")
    ] = "nequix-mp-1",
    mode: Annotated[Mode, typer.Option(help="Which parameters are trained.")] = Mode.last_layer,
    valid: Annotated[
        list[Path] | None, typer.Option(help="Validation structures; by default a part of DATA.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="YAML file of settings that differ from the defaults (configs/finetune.yml)."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Maximum number of epochs.")] = None,
    refit: Annotated[
        bool | None,
        typer.Option(
            "--refit-atom-energies/--keep-atom-energies",
            help="Fit the atom energies to the labels first (default).",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Estimate time and memory, and stop.")] = False,
    data: Annotated[
        list[Path] | None,
        typer.Argument(help="Labelled structures (docs/data.md); optional with --replay."),
    ] = None,
    phonons: Annotated[
        list[Path] | None,
        typer.Option(help="phonopy files or folders: train on force constants (docs/phonon-finetuning.md)."),
    ] = None,
    valid_phonons: Annotated[
        list[Path] | None,
        typer.Option(help="Force constants for validation; by default a part of the materials."),
    ] = None,
    replay: Annotated[
        list[str] | None,
        typer.Option(help="Structures like the parent's training data; 'teacher' generates some."),
    ] = None,
    replay_share: Annotated[
        float | None,
        typer.Option(help="Fraction of replayed structures per batch, above 0 and below 1; by default 0.5."),
    ] = None,
    ensemble: Annotated[
        int | None, typer.Option(min=2, help="Number of members to train and calibrate (docs/ensembles.md).")
    ] = None,
    curve: Annotated[
        str | None,
        typer.Option(help="Fit a learning curve to runs on these numbers of structures, e.g. 10,20,50,100."),
    ] = None,
    draws: Annotated[
        int | None, typer.Option(min=1, help="Random subsets per size of the curve; by default two.")
    ] = None,
    target: Annotated[
        float | None, typer.Option(help="Target force MAE, meV/A; the curve predicts the data it needs.")
    ] = None,
) -> None:
    """Fine-tune a model on other data. Rerun the same command to resume."""
    if curve is not None and ensemble is not None:
        raise DataError(
            "--curve and --ensemble exclude each other; run them one after the other, in separate folders"
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
    with needs_extra("train", "training"):
        from nequix.train.processes import join_processes
    from nequix.workflows.fine_tuning import prepare, train_one

    join_processes()
    setup = prepare(
        data or (),
        output,
        parent,
        mode=mode.value,
        valid=valid or (),
        config=config,
        epochs=epochs,
        refit_atom_energies=refit,
        phonons=phonons or (),
        valid_phonons=valid_phonons or (),
        replay=replay or (),
        replay_share=replay_share,
    )
    if curve is not None:
        _train_curve(setup, curve, draws or DRAWS, target, dry_run)
    elif ensemble is not None:
        _train_ensemble(setup, ensemble, dry_run)
    else:
        train_one(setup, partial(follow, dry_run=dry_run))


def _train_curve(setup: Setup, curve: str, draws: int, target: float | None, dry_run: bool) -> None:
    """Train on every part that is not complete yet, and print the fit of the errors."""
    from nequix.finetune.curve import sentence
    from nequix.finetune.power_law import LEAST_SIZES
    from nequix.workflows.fine_tuning import train_curve

    parts = curve.split(",")
    sizes = sorted({int(part) for part in parts if part.strip().isdigit() and int(part)})
    if len(sizes) != len(parts) or len(sizes) < LEAST_SIZES:
        raise DataError(
            f"--curve {curve}: expected at least {LEAST_SIZES} different numbers, e.g. 10,20,50,100: a power "
            "law with a floor has three parameters"
        )
    fitted = train_curve(setup, sizes, draws, target, partial(follow, dry_run=dry_run), _say_complete)
    print(f"one of {draws * len(sizes)} runs" if fitted is None else sentence(*fitted))


def _train_ensemble(setup: Setup, n: int, dry_run: bool) -> None:
    """Train every member that is not complete yet, and print how they are calibrated."""
    from nequix.workflows.fine_tuning import train_ensemble, why_uncalibrated

    why = why_uncalibrated(setup)
    if why is not None:
        print(f"warning: the ensemble will not be calibrated: {why}", file=sys.stderr)
    tuned = train_ensemble(setup, n, partial(follow, dry_run=dry_run), _say_complete)
    folder, fit = setup.folder, tuned.calibration
    if not tuned.complete:
        print(f"one of {n} runs")
    elif fit is None:
        print(f"{folder}: {n} members, not calibrated: {tuned.reason}, and train in another folder")
    else:
        print(
            f"{folder}: {n} members, calibrated on {fit.data}: spreads of forces times "
            f"{fit.forces_scale:.3g} (miscalibration area {fit.forces_area:.3f}, "
            f"{fit.forces_area_scaled:.3f} with it), of energies times {fit.energy_scale:.3g} "
            f"({fit.energy_area:.3f}, {fit.energy_area_scaled:.3f})"
        )


def _say_complete(folder: Path) -> None:
    print(f"{folder}: complete")
