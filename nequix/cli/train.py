"""The command that trains: ``nequix train``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from nequix.core.errors import BackendUnavailable

STOPPED = 3
"""Exit code of a run that a signal ended after a checkpoint; the same command goes on."""


def train(
    config: Annotated[Path, typer.Argument(help="A YAML file; see configs/ and docs/training.md.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The folder of the run, made or gone on with.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would take, and stop.")] = False,
) -> None:
    """Train a model; interrupted, the same command goes on where it was."""
    try:
        from nequix.train.config import read_config
        from nequix.train.loop import MODEL, Run
        from nequix.train.processes import join_processes
    except ModuleNotFoundError as error:
        raise BackendUnavailable(f"training needs {error.name}: pip install 'nequix[train]'") from None
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    join_processes()
    read = read_config(config)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as bar:
        reading = bar.add_task("structures", total=None)
        run = Run(read, output, lambda n: bar.advance(reading, n))
        bar.remove_task(reading)
        print(run.describe())
        if dry_run:
            print(run.estimate())
            return
        task = bar.add_task("train", total=run.n_steps, completed=run.loader.position)

        def report(step: int, _: int, values: dict[str, float]) -> None:
            told = (
                f"loss {values['loss']:.4g}  E {1000 * values['energy']:.4g} meV/atom  "
                f"F {1000 * values['forces']:.4g} meV/A"
            )
            bar.update(task, completed=step, description=told)

        complete = run.train(report)
    if not complete:
        print(f"{output}: stopped after a checkpoint; the same command goes on", file=sys.stderr)
        raise typer.Exit(STOPPED)
    print(f"{output / MODEL}: trained, {run.n_steps} steps")
