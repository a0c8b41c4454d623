"""Evaluation of a model against references, item by item, resumable."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nequix.evaluation.run import run_items
from nequix.evaluation.run_directory import RunDirectory
from nequix.evaluation.task import Engine, ItemResult, Task
from nequix.execution import DEFAULT, Execution
from nequix.io.installation import needs_extra
from nequix.workflows.reports import write_report

Reporter = Callable[[RunDirectory, dict[str, Any]], Any]
"""Writes the report of a run, given its directory and its identity, and returns the summary."""


@dataclass(frozen=True)
class Evaluation:
    """An evaluation whose items were evaluated.

    Attributes:
        task: What was evaluated.
        directory: Holds the result of every item.
        identity: What the numbers depend on: task, settings, model and how it is executed.
        summary: What the report of the task returns, such as the mean errors by name; None if the task has
            no report.
    """

    task: Task
    directory: RunDirectory
    identity: dict[str, Any]
    summary: Any

    @property
    def folder(self) -> Path:
        """Where ``report.md``, its figures, ``results.json`` and the items are."""
        return self.directory.folder

    def results(self) -> dict[str, ItemResult]:
        """Read the result of every item that is done.

        Raises:
            DataError: If a file is damaged.
        """
        done = filter(self.directory.done, self.task.items())
        return {item: self.directory.read(item) for item in done}


def evaluate(
    task: Task,
    output: str | os.PathLike[str],
    model: str | os.PathLike[str] | Engine = "nequix-mp-1",
    *,
    execution: Execution = DEFAULT,
    items: Sequence[str] | None = None,
    workers: int | str = 0,
    retry_failed: bool = False,
    report: Reporter | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Evaluate what is left of a task, and write its report (docs/evaluate.md).

    Every result is written when it is there, and kept: interrupted, the same call continues.

    Args:
        task: Such as :class:`nequix.Errors` or :class:`nequix.Phonons`.
        output: Directory of the run; created, or resumed if it exists.
        model: A name of :func:`nequix.list_models`, the path of a weight file, or an engine, which has its
            own execution.
        execution: How the model is executed.
        items: Which items to evaluate; by default all.
        workers: Number of processes; with 0 this one does the work. Or the address or the scheduler file of
            a Dask cluster.
        retry_failed: Whether items that have failed are evaluated again.
        report: Writes the report; by default that of the task.
        progress: Called with the number of items that are done and the number of items, before the first
            item and after each.

    Returns:
        The run with the summary of its report.

    Raises:
        BackendUnavailable: If the backend is not available, or what the evaluation needs is not installed.
        DataError: If the directory cannot be used or holds another run, or the data cannot be read.
        WeightsError: If there is no such model, or it cannot be downloaded or read.

    Example:
        >>> import nequix, tempfile
        >>> from ase.build import bulk
        >>> from ase.io import write
        >>> folder = tempfile.TemporaryDirectory()
        >>> frames = nequix.predict([bulk("Si", a=a) for a in (5.3, 5.4, 5.5)], "nequix-nano")
        >>> write(f"{folder.name}/labelled.extxyz", frames)
        >>> task = nequix.Errors((f"{folder.name}/labelled.extxyz",))
        >>> evaluation = nequix.evaluate(task, f"{folder.name}/run", "nequix-nano")
        >>> evaluation.summary["n_structures"]
        3
        >>> evaluation.summary["forces"]["mae"] < 1e-6
        True
        >>> folder.cleanup()
    """
    engine = model if isinstance(model, Engine) else Engine(os.fspath(model), execution)
    items = task.items() if items is None else list(items)
    identity = {"task": task.name, "settings": task.settings(), "engine": engine.describe()}
    directory = RunDirectory(Path(output))
    with directory.begin(identity):
        if retry_failed:
            _forget_failures(directory, items)
        n_done = sum(map(directory.done, items))

        def count(_: str | None = None, step: int = 1) -> None:
            nonlocal n_done
            n_done += step
            if progress is not None:
                progress(n_done, len(items))

        count(step=0)
        with needs_extra("dask") if isinstance(workers, str) else nullcontext():
            run_items(task, engine, directory, items, workers, count)
    with needs_extra():
        write = report or (lambda directory, identity: write_report(task, directory, identity))
        summary = write(directory, identity)
    return Evaluation(task, directory, identity, summary)


def _forget_failures(directory: RunDirectory, items: Sequence[str]) -> None:
    """Remove the results of items that have failed."""
    for item in filter(directory.done, items):
        if directory.read(item).error is not None:
            directory.forget(item)
