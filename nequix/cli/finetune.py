"""The command that adapts a model: ``nequix finetune``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nequix.cli.train import follow, training_packages
from nequix.core.errors import DataError


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
        float, typer.Option(help="Their part of every batch, above 0 and below 1.")
    ] = 0.5,
) -> None:
    """Adapt a model to other data; interrupted, the same command goes on where it was."""
    with training_packages():
        from nequix.finetune.config import PhononsConfig, ReplayConfig, configure
        from nequix.finetune.run import FineTuning
        from nequix.train.processes import join_processes
    from nequix.core.registry import load_weights

    join_processes()
    weights = load_weights(parent)
    if not data and not replay:
        raise DataError("no data: name labelled structures, or --replay some of the parent's training")
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
        replay=ReplayConfig(replay, replay_share) if replay else None,
    )
    follow(lambda progress: FineTuning(read, weights, output, progress), dry_run)
