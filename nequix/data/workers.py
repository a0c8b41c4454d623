"""Worker processes: a function applied to 0, 1, 2, ... elsewhere, its results in order."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Generic, TypeVar

from nequix.core.errors import BackendUnavailable, DataError
from nequix.io.installation import install_command

T = TypeVar("T")

_BUFFER = 2
_GRACE = 30.0  # seconds that a worker continues after SIGTERM, so that the training can save itself


class _Calls(Generic[T]):
    """The results of a function as a sequence, which is what grain reads from."""

    def __init__(self, function: Callable[[int], T], start: int, stop: int) -> None:
        self.function, self.start, self.stop = function, start, stop

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, index: Any) -> T:
        return self.function(self.start + int(index))


def ordered_map(function: Callable[[int], T], start: int, stop: int, n_workers: int) -> Iterator[T]:
    """Apply a function to ``start``, ``start + 1``, ... in worker processes; results come in order.

    Args:
        function: It pickles, and never returns None.
        start: The first argument.
        stop: The first argument that is not given any more.
        n_workers: Number of processes; with 0 this one calls the function itself.

    Raises:
        BackendUnavailable: If workers are requested and grain is not installed.
        DataError: If a worker dies.
        Exception: What the function raises.
    """
    n_workers = min(n_workers, stop - start)
    if n_workers <= 0:
        yield from map(function, range(start, stop))
        return
    grain = _grain()
    calls = grain.MapDataset.source(_Calls(function, start, stop))
    reading = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    options = grain.MultiprocessingOptions(num_workers=n_workers, per_worker_buffer_size=_BUFFER)
    dataset = calls.to_iter_dataset(reading).mp_prefetch(options, partial(_begin, os.getpid()))
    results = iter(dataset)
    try:
        yield from results
    except RuntimeError as error:
        if "terminated unexpectedly" not in str(error):
            raise
        raise DataError(
            f"a worker process died ({error}); was the memory full? Use fewer workers, or 0 to see more"
        ) from error
    finally:
        results.close()


def _grain() -> Any:
    try:
        import grain
        from absl import flags
    except ImportError as error:
        raise BackendUnavailable(
            f"worker processes need another package ({error}); install it: {install_command('train')}, or "
            "use no workers (0)"
        ) from error
    # grain reads its settings from absl's flags, which only programs begun through absl have parsed.
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    return grain


def _begin(parent: int, worker: int, n_workers: int) -> None:
    """Prepare a worker process."""
    del worker, n_workers
    # Ctrl-C and a scheduler's SIGTERM reach all processes of a job; what becomes of it the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: _in_the_background(_end_later))
    end_with(parent)


def end_with(parent: int) -> None:
    """End this process when its parent does, even if that was killed: nobody else would.

    Args:
        parent: Number of the parent process.
    """
    _in_the_background(_follow, parent)


def _in_the_background(function: Callable[..., None], *arguments: int) -> None:
    threading.Thread(target=function, args=arguments, daemon=True).start()


def _end_later() -> None:
    time.sleep(_GRACE)
    os._exit(1)


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)
