"""The command that trains: ``nequix train``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nequix.core.errors import BackendUnavailable

if TYPE_CHECKING:
    from nequix.train.loop import Run

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
    with training_packages():
        from nequix.train.config import read_config
        from nequix.train.loop import Run
        from nequix.train.processes import join_processes

    join_processes()
    read = read_config(config)
    follow(lambda progress: Run(read, output, progress), dry_run)


@contextlib.contextmanager
def training_packages() -> Iterator[None]:
    """Name the remedy for a package of training that is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise BackendUnavailable(f"training needs {error.name}: pip install 'nequix[train]'") from None


def follow(make: Callable[[Callable[[int], None]], Run], dry_run: bool) -> None:
    """Begin a run and show its progress to the end.

    Args:
        make: Makes the run; takes what counts the structures that are read meanwhile.
        dry_run: Say what it would take, and stop.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from nequix.train.loop import MODEL

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as bar:
        reading = bar.add_task("structures", total=None)
        run = make(lambda n: bar.advance(reading, n))
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
        print(f"{run.folder}: stopped after a checkpoint; the same command goes on", file=sys.stderr)
        raise typer.Exit(STOPPED)
    print(f"{run.folder / MODEL}: trained, {run.loader.position} of {run.n_steps} steps")
