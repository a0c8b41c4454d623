"""Threads of BLAS."""

from __future__ import annotations

from contextlib import AbstractContextManager

from threadpoolctl import threadpool_limits


def one_blas_thread() -> AbstractContextManager[object]:
    """Let NumPy and SciPy work with one thread, as relaxations of cells should.

    ASE's cell filter takes logarithms of matrices of 3 x 3 in each step, on which threads of BLAS only wait
    for each other: on a busy machine this can take longer than the potential does.
    """
    return threadpool_limits(1, user_api="blas")
