"""Evaluation of the items of a task: in this process, in worker processes that may die, or on a cluster."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from nequix.data.workers import end_with
from nequix.evaluation.item import run_item
from nequix.evaluation.run_directory import RunDirectory
from nequix.evaluation.task import Engine, ItemResult, Task

ATTEMPTS = 2
"""Attempts per item before a dying worker (e.g. out of memory) is recorded as a failure."""

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
"""Environment variables that divide the cores among workers, unless the user has set them."""


def run_items(
    task: Task,
    engine: Engine,
    store: RunDirectory,
    items: Sequence[str],
    workers: int | str = 0,
    progress: Callable[[str], None] = lambda item: None,
) -> None:
    """Evaluate the items that have no result yet.

    Args:
        task: The evaluation.
        engine: The model and how it is run.
        store: The run, begun.
        items: Names of the items, in order of evaluation.
        workers: Number of processes; 0 evaluates in this process. Or the address or the scheduler file of
            a Dask cluster; its workers then evaluate the items.
        progress: Called with the name of every finished item.

    Raises:
        BackendUnavailable: If the cluster cannot be reached, or its workers would give other numbers.
    """
    left = [item for item in items if not store.done(item)]
    if not left:
        return
    if isinstance(workers, str):
        from nequix.evaluation.cluster import run_on_cluster  # it needs the extra "dask"

        run_on_cluster(workers, task, engine, store, left, progress)
    elif workers > 0:
        with _threads(engine.execution.threads or max(1, (os.cpu_count() or 1) // workers)):
            _Workers(task, engine, store, progress).run(left, workers)
    else:
        calculator = engine.calculator()
        for item in left:
            run_item(task, calculator, store, item)
            progress(item)


class _Workers:
    """Worker processes that receive one item at a time and are replaced when they die."""

    def __init__(
        self, task: Task, engine: Engine, store: RunDirectory, progress: Callable[[str], None]
    ) -> None:
        self.task, self.engine, self.store, self.progress = task, engine, store, progress
        self.busy: dict[Connection, tuple[SpawnProcess, str]] = {}
        self.idle: list[tuple[Connection, SpawnProcess]] = []

    def run(self, items: Sequence[str], n_workers: int) -> None:
        waiting, deaths = deque(items), Counter[str]()
        try:
            while waiting or self.busy:
                while waiting and len(self.busy) < n_workers:
                    self._give(waiting.popleft())
                for connection in wait(list(self.busy)):
                    item, exit_code = self._take(connection)  # pyright: ignore[reportArgumentType]
                    if not self.store.done(item):
                        deaths[item] += 1
                        if deaths[item] < ATTEMPTS:
                            waiting.appendleft(item)
                            continue
                        message = f"its worker process died {ATTEMPTS} times (exit code {exit_code})"
                        self.store.write(item, ItemResult(error=f"{message}; was the memory full?"), 0.0)
                    self.progress(item)
        finally:
            for process in [process for process, _ in self.busy.values()] + [p for _, p in self.idle]:
                process.terminate()
                process.join()

    def _give(self, item: str) -> None:
        connection, process = self.idle.pop() if self.idle else self._start()
        self.busy[connection] = process, item
        with contextlib.suppress(BrokenPipeError):  # wait() detects a dead worker
            connection.send(item)

    def _take(self, connection: Connection) -> tuple[str, int | None]:
        """Return the item that a worker finished, or died with."""
        process, item = self.busy.pop(connection)
        try:
            connection.recv()
        except (EOFError, ConnectionResetError):
            process.join()
        else:
            self.idle.append((connection, process))
        return item, process.exitcode

    def _start(self) -> tuple[Connection, SpawnProcess]:
        context = multiprocessing.get_context("spawn")  # a fork would copy an engine without its threads
        ours, theirs = context.Pipe()
        arguments = theirs, self.task, self.engine, self.store.folder, os.getpid()
        process = context.Process(target=_work, args=arguments, daemon=True)
        process.start()
        theirs.close()  # then only the worker has its end, and its death is an end of file
        return ours, process


def _work(connection: Connection, task: Task, engine: Engine, folder: Path, parent: int) -> None:
    """Evaluate the items from the parent until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent ends the workers
    end_with(parent)
    calculator, store = engine.calculator(), RunDirectory(folder)
    with contextlib.suppress(EOFError):  # the parent has ended
        while True:
            item = connection.recv()
            run_item(task, calculator, store, item)
            connection.send(item)


@contextlib.contextmanager
def _threads(share: int) -> Iterator[None]:
    """Set the number of threads of processes started in the context, unless the variables are already set."""
    added = [name for name in THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(added, str(share)))
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
