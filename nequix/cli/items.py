"""What the commands of ``nequix evaluate`` have in common: which items, which engine, and the run itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nequix.cli.options import make_calculator
from nequix.core.errors import BackendUnavailable, DataError
from nequix.core.suggest import did_you_mean
from nequix.execution import Execution
from nequix.io.installation import install_command
from nequix.io.interrupts import on_interrupt
from nequix.io.progress import progress_bar

if TYPE_CHECKING:
    from nequix.evaluate.run_directory import RunDirectory
    from nequix.evaluate.task import Engine, Task


def chosen_items(task: Task, only: str | None) -> list[str]:
    """Return the items that ``--only`` names, or all.

    Args:
        task: The evaluation.
        only: What the option lists.

    Raises:
        DataError: For a name that no item has.
    """
    return task.items() if only is None else listed("--only", only, task.items())


def unless_reported(
    items: list[str], report_only: bool, output: Path, only: str | None = None, retry_failed: bool = False
) -> list[str]:
    """Return the items to evaluate: with ``--report-only`` none, of a run that must be there.

    Args:
        items: Those to evaluate otherwise.
        report_only: Whether the option is given.
        output: The folder of the run.
        only: What ``--only`` lists, which would be ignored.
        retry_failed: Whether ``--retry-failed`` is given, which would be ignored.

    Raises:
        DataError: If there is nothing to report, or an option would be ignored.
    """
    from nequix.evaluate.run_directory import RUN

    if not report_only:
        return items
    if only is not None or retry_failed:
        raise DataError("--report-only evaluates nothing; leave out --only and --retry-failed")
    if not (output / RUN).exists():
        raise DataError(f"{output}: holds no run to report; leave out --report-only")
    return []


def listed(option: str, given: str, known: list[str]) -> list[str]:
    """Split what an option lists.

    Args:
        option: Its name.
        given: Names, separated by commas.
        known: The names that there are.

    Raises:
        DataError: For a name that is not known.
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
        WeightsError: If there is no such model.
    """
    from nequix.evaluate.task import Engine
    from nequix.workflows.models import load_for

    weights = load_for(model, execution)
    return Engine.loaded(model, weights, make_calculator(model, execution, weights=weights), execution)


def who_works(workers: int, scheduler: str | None) -> int | str:
    """Return who does the work: a number of processes, or where a scheduler is.

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
) -> tuple[RunDirectory, dict[str, Any]]:
    """Evaluate what is left of a task or of some items; return the run, and what it is a run of.

    Args:
        task: The evaluation.
        engine: The model and how it is run.
        output: The folder of the run.
        workers: See :func:`who_works`.
        items: By default all.
        retry_failed: Whether items that have failed are evaluated again.

    Raises:
        DataError: If the folder cannot be used, or the data cannot be read.
        BackendUnavailable: If what the evaluation needs is not installed.
    """
    from nequix.evaluate.run import run_items
    from nequix.evaluate.run_directory import RunDirectory

    items = task.items() if items is None else items
    described = engine.describe()
    identity = {"task": task.name, "settings": task.settings(), "engine": described}
    store = RunDirectory(output)
    with store.begin(identity):
        if retry_failed:
            for item in filter(store.done, items):
                if store.read(item).error is not None:
                    store.forget(item)
        done = sum(map(store.done, items))
        kept = on_interrupt(
            lambda: (
                f"{sum(map(store.done, items))} of {len(items)} items are kept in {output}; the same "
                "command continues"
            )
        )
        needs_dask = needs_extra("dask") if isinstance(workers, str) else nullcontext()
        with progress_bar(task.name, len(items), done, keep=True) as bar, needs_dask, kept:
            run_items(task, engine, store, items, workers, lambda _: bar.advance())
    return store, identity


@contextmanager
def needs_extra(extra: str = "evaluate") -> Iterator[None]:
    """Say how to install what an evaluation needs.

    Args:
        extra: The extra that has it.

    Raises:
        BackendUnavailable: If a module is missing within the context.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise BackendUnavailable(f"this evaluation needs {error.name}: {install_command(extra)}") from None
