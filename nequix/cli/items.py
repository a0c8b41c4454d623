"""Shared by the commands of ``nequix evaluate``: choice of items and engine, and the run itself."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from nequix.cli.options import make_calculator
from nequix.core.errors import DataError
from nequix.core.suggest import did_you_mean
from nequix.execution import Execution
from nequix.io.interrupts import on_interrupt
from nequix.io.progress import Bar, progress_bar

if TYPE_CHECKING:
    from nequix.evaluation.task import Engine, Task
    from nequix.workflows.evaluation import Evaluation, Reporter


def chosen_items(task: Task, only: str | None) -> list[str]:
    """Return the items that ``--only`` names, or all.

    Args:
        task: The evaluation.
        only: Value of the option.

    Raises:
        DataError: For an unknown name.
    """
    return task.items() if only is None else listed("--only", only, task.items())


def unless_reported(
    items: list[str], report_only: bool, output: Path, only: str | None = None, retry_failed: bool = False
) -> list[str]:
    """Return the items to evaluate; none with ``--report-only``, which needs an existing run.

    Args:
        items: The items to evaluate without ``--report-only``.
        report_only: Whether the option is set.
        output: The folder of the run.
        only: Value of ``--only``, which would be ignored.
        retry_failed: Whether ``--retry-failed`` is set, which would be ignored.

    Raises:
        DataError: If there is nothing to report, or an option would be ignored.
    """
    from nequix.evaluation.run_directory import RUN

    if not report_only:
        return items
    if only is not None or retry_failed:
        raise DataError("--report-only evaluates nothing; leave out --only and --retry-failed")
    if not (output / RUN).exists():
        raise DataError(f"{output}: contains no run to report; leave out --report-only")
    return []


def listed(option: str, given: str, known: list[str]) -> list[str]:
    """Split the comma-separated names of an option.

    Args:
        option: Its name.
        given: Names, separated by commas.
        known: The valid names.

    Raises:
        DataError: For an unknown name.
    """
    names = [name.strip() for name in given.split(",") if name.strip()]
    unknown = [name for name in names if name not in known]
    if unknown:
        hint = did_you_mean(unknown[0], known)
        raise DataError(f"{option}: there is no item {unknown[0]!r}; the items are {', '.join(known)}{hint}")
    return names


def choose_engine(model: str, execution: Execution) -> Engine:
    """Choose the engine that the options ask for, and check that it is available.

    Args:
        model: A name or a path.
        execution: How the model is executed.

    Raises:
        BackendUnavailable: If the backend, the kernel or the device is not available.
        WeightsError: If the model does not exist.
    """
    from nequix.evaluation.task import Engine
    from nequix.workflows.models import load_for

    weights = load_for(model, execution)
    return Engine.loaded(model, weights, make_calculator(model, execution, weights=weights), execution)


def who_works(workers: int, scheduler: str | None) -> int | str:
    """Return the executor: a number of processes, or the address of a scheduler.

    Args:
        workers: Number of processes; 0 for this one.
        scheduler: Address or file of a Dask scheduler.

    Raises:
        DataError: If both are given.
    """
    if scheduler is not None and workers:
        raise DataError("--workers and --scheduler: choose one; `dask worker` has its own --nworkers")
    return workers if scheduler is None else scheduler


def run(
    task: Task,
    engine: Engine,
    output: Path,
    workers: int | str,
    items: list[str] | None = None,
    retry_failed: bool = False,
    report: Reporter | None = None,
) -> Evaluation:
    """Evaluate what is left of a task or of some items, showing the progress, and write the report.

    Args:
        task: The evaluation.
        engine: The model and how it is executed.
        output: The directory of the run.
        workers: See :func:`who_works`.
        items: By default all.
        retry_failed: Whether failed items are evaluated again.
        report: Writes the report; by default that of the task.

    Raises:
        DataError: If the directory cannot be used, or the data cannot be read.
        BackendUnavailable: If a package that the evaluation needs is not installed.
    """
    from nequix.evaluation.run_directory import RunDirectory
    from nequix.workflows.evaluation import evaluate

    items = task.items() if items is None else items
    store = RunDirectory(output)
    bars: list[Bar] = []

    def kept() -> str:
        n_done = sum(map(store.done, items))
        return f"{n_done} of {len(items)} items are kept in {output}; the same command continues"

    with ExitStack() as stack:

        def show(n_done: int, total: int) -> None:
            if not bars:  # the directory is ready now
                stack.enter_context(on_interrupt(kept))
                bars.append(stack.enter_context(progress_bar(task.name, total, n_done, keep=True)))
            bars[0].update(done=n_done)

        return evaluate(
            task,
            output,
            engine,
            items=items,
            workers=workers,
            retry_failed=retry_failed,
            report=report,
            progress=show,
        )
