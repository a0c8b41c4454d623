"""What a relaxation of the cell needs around it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

ROUNDING = r"logm result may be inaccurate, approximate err = .*e-1[23]$"
"""What SciPy warns of from 2e-13 on."""


@contextmanager
def cell_relaxation() -> Iterator[None]:
    """Let NumPy and SciPy work with one thread, and SciPy say nothing of the rounding of logarithms.

    ASE's cell filter takes logarithms of matrices of 3 x 3 in each step, on which threads of BLAS only wait
    for each other: on a busy machine this can take longer than the potential does.
    """
    with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", ROUNDING, RuntimeWarning)
        yield
