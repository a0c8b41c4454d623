"""How many threads the library uses: what the user asks for, the environment says, or the system is worth."""

from __future__ import annotations

import os
from numbers import Integral

EDGES_PER_THREAD = 500
"""Minimum number of edges per thread: these take about 3 ms, starting and joining a thread a tenth."""

MOST_THREADS = 1024
"""A larger number of threads is a mistake."""


def default_threads() -> int:
    """Count the threads that a large system gets: ``OMP_NUM_THREADS``, or the processors of this process.

    Of a list such as ``4,2``, one number for each level of nesting, the first counts, as for OpenMP. Values
    that are not positive numbers are ignored.
    """
    outermost = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if outermost.isascii() and outermost.isdigit() and int(outermost[:9]):
        return min(int(outermost[:9]), MOST_THREADS)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_threads(threads: int) -> int:
    """Reject an invalid number of threads.

    Args:
        threads: How many.

    Raises:
        ValueError: Unless it is a whole number from 1 to ``MOST_THREADS``.
    """
    whole = isinstance(threads, Integral) and not isinstance(threads, bool)
    if not whole or not 1 <= threads <= MOST_THREADS:
        raise ValueError(f"threads = {threads!r}, expected a whole number from 1 to {MOST_THREADS}")
    return int(threads)


def choose_threads(wanted: int | None, n_edges: int) -> int:
    """Choose how many threads a system gets.

    Args:
        wanted: Requested number; None for as many as there are, if the system is large.
        n_edges: Edges of the system.
    """
    return max(1, min(default_threads(), n_edges // EDGES_PER_THREAD)) if wanted is None else wanted
