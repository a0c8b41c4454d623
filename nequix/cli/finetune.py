"""The command that adapts a model: ``nequix finetune``."""

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
            f"--curve {curve}: expected {LEAST_SIZES} different numbers at least, as 10,20,50,100: a power "
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
    folder, told = setup.folder, tuned.calibration
    if not tuned.complete:
        print(f"one of {n} runs")
    elif told is None:
        print(f"{folder}: {n} members, not calibrated: {tuned.reason}, and train in another folder")
    else:
        print(
            f"{folder}: {n} members, calibrated on {told.data}: spreads of forces times "
            f"{told.forces_scale:.3g} (miscalibration area {told.forces_area:.3f}, "
            f"{told.forces_area_scaled:.3f} with it), of energies times {told.energy_scale:.3g} "
            f"({told.energy_area:.3f}, {told.energy_area_scaled:.3f})"
        )


def _say_complete(folder: Path) -> None:
    print(f"{folder}: complete")
