"""Estimate of a run's time, without compilation, and memory, from a few discarded steps."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax

from nequix.io.interrupts import compiling
from nequix.train.processes import anywhere

LEAST_SECONDS = 1.0
"""Seconds of measured steps at least, because other programs may delay some."""


def time_steps(
    next_data: Callable[[], Any], take_step: Callable[[Any], object], n_left: int, n_steps: int
) -> tuple[float, float]:
    """Measure the time of the first step, which compiles, and the median of the following ones.

    Args:
        next_data: Returns the data of the next step.
        take_step: Takes a step and waits for its end.
        n_left: Number of steps for which there are data.
        n_steps: Number of steps after the first one, or more if they are fast. The first of them uses the
            data of the step that compiled, so that even a run of one step is timed without compilation.

    Returns:
        Seconds of the step that compiles, and the median of the others, including data loading.
    """
    data = next_data()
    with compiling("JAX compiles the training step"):
        compilation = _seconds(lambda: take_step(data))
    seconds = [_seconds(lambda: take_step(data))]
    for _ in range(n_left - 1):
        if anywhere(len(seconds) >= n_steps and sum(seconds) > LEAST_SECONDS):  # all stop at the same step
            break
        seconds.append(_seconds(lambda: take_step(next_data())))
    return compilation, statistics.median(seconds)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def describe_cost(epoch: float, compilation: float, graphs: float) -> str:
    """Describe the time and memory of a run.

    Args:
        epoch: Seconds per epoch.
        compilation: Seconds of the step that compiles.
        graphs: GiB that graphs kept in memory may take later.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # kilobytes on Linux
    cost = (
        f"{epoch:.3g} s per epoch; {compilation:.3g} s to compile; peak memory {peak:.2f} GiB, later up to "
        f"{graphs:g} GiB more for graphs"
    )
    device = jax.local_devices()[0].memory_stats()  # None on a CPU
    return f"{cost}, {device['peak_bytes_in_use'] / 2**30:.2f} GiB on the device" if device else cost
