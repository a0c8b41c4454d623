"""The command that trains: ``nequix train``."""

from __future__ import annotations

import sys
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nequix.io.installation import needs_extra
from nequix.io.interrupts import on_interrupt
from nequix.io.progress import progress_bar

if TYPE_CHECKING:
    from nequix.train.loop import Run
    from nequix.workflows.fine_tuning import OpenRun

_TOLD = (
    ("energy", "E", "meV/atom"),
    ("forces", "F", "meV/A"),
    ("stress", "S", "meV/A^3"),
    ("energies", "atoms", "meV"),
)

STOPPED = 3
"""Exit code of a run that a signal stopped after a checkpoint; the same command resumes it."""


def train(
    config: Annotated[Path, typer.Argument(help="A YAML file; see configs/ and docs/training.md.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Run directory; created, or resumed if it exists.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Estimate time and memory, and stop.")] = False,
) -> None:
    """Train a model. Rerun the same command to resume."""
    with needs_extra("train", "training"):
        from nequix.train.config import read_config
        from nequix.train.opening import open_run
        from nequix.train.processes import join_processes

    join_processes()
    read = read_config(config)
    follow(lambda progress: open_run(read, output, progress), dry_run)


class Pace:
    """Speed of a run over its last steps; the first step, which compiles, only starts the clock."""

    def __init__(self) -> None:
        self._steps: deque[tuple[float, float]] = deque(maxlen=50)

    def add(self, structures: float) -> None:
        """Record a finished step.

        Args:
            structures: Number of structures in the step.
        """
        self._steps.append((time.monotonic(), structures))

    def left(self, n_steps: int) -> str:
        """Estimate the remaining time, including data loading and validation; empty before the second step.

        Args:
            n_steps: Number of remaining steps.
        """
        if len(self._steps) <= 1:
            return ""
        per_step = (self._steps[-1][0] - self._steps[0][0]) / (len(self._steps) - 1)
        return f"  {per_step * n_steps:.0f} s left"

    def __str__(self) -> str:
        if len(self._steps) <= 1:
            return ""
        structures = sum(n for _, n in list(self._steps)[1:])
        return f"  {structures / max(self._steps[-1][0] - self._steps[0][0], 1e-9):.3g} structures/s"


def describe_errors(values: dict[str, float]) -> str:
    """Format the loss and the mean errors of a step.

    Args:
        values: Metrics of the step.
    """
    errors = [
        f"{letter} {1000 * values[name]:.3g} {unit}"
        for name, letter, unit in _TOLD
        if name in values  # a step may have no such label
    ]
    return "  ".join([f"loss {values['loss']:.4g}", *errors])


def follow(make: OpenRun, dry_run: bool) -> bool:
    """Begin a run and show its progress to the end.

    Args:
        make: Makes the run; takes what counts the structures that are read meanwhile.
        dry_run: Say what it would take, and stop.

    Returns:
        Whether the run is complete: not in a dry run.
    """
    with progress_bar("structures") as bar:
        run = make(bar.advance)

    def kept() -> str:
        if not any((run.folder / "checkpoints").glob("step-*.safetensors")):
            return "there is no checkpoint yet; the same command starts over"
        return f"{run.folder} keeps the last checkpoint; the same command continues"

    with on_interrupt(kept):
        return _train(run, dry_run)


def _train(run: Run, dry_run: bool) -> bool:
    """Train, showing the progress, or estimate what it would take; return whether the run is complete."""
    from nequix.train.loop import MODEL

    print(run.describe())
    if dry_run:
        print(run.estimate())
        return False
    with progress_bar("train", run.n_steps, run.loader.position, keep=True) as bar:
        pace = Pace()

        def report(step: int, n_steps: int, values: dict[str, float]) -> None:
            pace.add(values["structures"])
            bar.update(f"{describe_errors(values)}{pace}", done=step)
            at_epoch_s_end = step % run.loader.steps_per_epoch == 0 or step == n_steps
            if not bar.visible and at_epoch_s_end:
                left = pace.left(n_steps - step)
                print(f"step {step} of {n_steps}  {describe_errors(values)}{pace}{left}", file=sys.stderr)

        complete = run.train(report)
    if not complete:
        print(f"{run.folder}: stopped after a checkpoint; the same command resumes", file=sys.stderr)
        raise typer.Exit(STOPPED)
    print(f"{run.folder / MODEL}: trained, {run.loader.position} of {run.n_steps} steps")
    return True
