"""Items sent to the workers of a Dask cluster; only this process writes their results."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any, NamedTuple

from distributed import Client, Future, KilledWorker, as_completed

from nequix import __version__
from nequix.calculator import NequixCalculator
from nequix.core.errors import BackendUnavailable
from nequix.evaluation.item import evaluate_item
from nequix.evaluation.run_directory import RunDirectory, differences
from nequix.evaluation.task import Engine, ItemResult, Task

CONNECT = 30.0
"""Timeout for reaching the scheduler, s."""

_ALONE = threading.Lock()
"""A worker with several threads evaluates one item at a time, because engines and phonopy need that."""


class _Work(NamedTuple):
    """What a worker receives in addition to the item.

    Attributes:
        task: The evaluation.
        engine: The model and how it is run.
        identity: The local identity of both; only workers with the same identity may contribute.
    """

    task: Task
    engine: Engine
    identity: dict[str, Any]


_ready: list[tuple[_Work, NequixCalculator]] = []
"""State of a worker: its last work, with the loaded model."""


def run_on_cluster(
    scheduler: str,
    task: Task,
    engine: Engine,
    store: RunDirectory,
    items: Sequence[str],
    progress: Callable[[str], None] = lambda item: None,
) -> None:
    """Evaluate items on the workers of a Dask cluster, which see data and model under the same paths.

    An item of a dying worker is passed to another one. An item that several workers died with waits until all
    others are done, and is then evaluated once more by itself: if the worker dies again, that is the item's
    result.

    Args:
        scheduler: Address, such as ``tcp://host:8786``, or path of a scheduler file.
        task: The evaluation.
        engine: The model and how it is run.
        store: The run, begun.
        items: Names of the items, in order of evaluation.
        progress: Called with the name of every finished item.

    Raises:
        BackendUnavailable: If the cluster cannot be reached, goes away, or would give other numbers.
    """
    work = _Work(task, engine, _identity(task, engine))
    with _connect(scheduler) as client:
        suspects = []
        for item, result in _results(client, scheduler, work, items):
            if isinstance(result, KilledWorker):
                suspects.append(item)
                continue
            store.write(item, *result)
            progress(item)
        for suspect in suspects:
            for item, result in _results(client, scheduler, work, [suspect]):
                if isinstance(result, KilledWorker):
                    result = ItemResult(error=f"its workers died, again and again ({result})"), 0.0
                store.write(item, *result)
                progress(item)


@contextlib.contextmanager
def _connect(scheduler: str) -> Iterator[Client]:
    address, file = (None, scheduler) if Path(scheduler).is_file() else (scheduler, None)
    try:
        client = Client(address, scheduler_file=file, timeout=CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise BackendUnavailable(
            f"--scheduler {scheduler}: cannot be reached ({error}); start it with `dask scheduler`, and give "
            "its address, such as tcp://host:8786, or its scheduler file"
        ) from None
    with client:
        yield client


def _results(
    client: Client, scheduler: str, work: _Work, items: Sequence[str]
) -> Iterator[tuple[str, tuple[ItemResult, float] | KilledWorker]]:
    """Yield items with their results as they arrive; cancel the rest when the caller ends."""
    futures: dict[Future, str] = {}
    for place, item in enumerate(items):
        futures[client.submit(_evaluate, work, item, pure=False, priority=-place)] = item
    try:
        for future in as_completed(futures, loop=client.loop):
            yield futures.pop(future), _result(future, scheduler)  # frees its result on the cluster
    finally:
        with contextlib.suppress(Exception):  # the cluster may be lost
            client.cancel(list(futures))


def _result(future: Future, scheduler: str) -> tuple[ItemResult, float] | KilledWorker:
    try:
        return future.result()
    except KilledWorker as error:
        return error
    except CancelledError:
        raise BackendUnavailable(
            f"--scheduler {scheduler}: was lost; finished items are kept: start it and this command again"
        ) from None
    except (
        Exception
    ) as error:  # not an error of the item: the worker cannot start, e.g. without nequix or the data
        message = f"{type(error).__name__}: {error}"
        raise BackendUnavailable(f"--scheduler {scheduler}: a worker says: {message}") from None


def _evaluate(work: _Work, item: str) -> tuple[ItemResult, float]:
    """Evaluate an item on a worker."""
    with _ALONE:
        if not _ready or _ready[0][0] != work:
            _ready[:] = [(work, _load(work))]
        return evaluate_item(work.task, _ready[0][1], item)


def _load(work: _Work) -> NequixCalculator:
    calculator = work.engine.calculator()
    here = _identity(work.task, work.engine)
    if here != work.identity:
        raise BackendUnavailable(
            f"it would not give the same numbers: {differences(here, work.identity)}; "
            "give all workers the same nequix, model, data and kind of device"
        )
    return calculator


def _identity(task: Task, engine: Engine) -> dict[str, Any]:
    return {"nequix": __version__, "settings": task.settings(), "engine": engine.describe()}
