"""What a relaxation of the cell needs around it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

ROUNDING = r"logm result may be inaccurate, approximate err = .*e-1[23]$"
"""What SciPy warns of from 2e-13 on."""


@contextmanager
def cell_relaxation() -> Iterator[None]:
    """Silence SciPy's warnings about the rounding of logarithms, which ASE's cell filter takes in each step.

    Calculators see to it that SciPy takes one thread for them (:mod:`nequix.blas_threads`).
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ROUNDING, RuntimeWarning)
        yield
