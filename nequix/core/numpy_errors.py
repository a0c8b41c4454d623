"""NumPy's floating-point error handling as nequix expects it, independent of the caller's settings."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np


def usual_errors() -> contextlib.AbstractContextManager[Any]:
    """Treat floating-point errors as NumPy does by default: underflow is ignored."""
    return np.errstate(divide="warn", over="warn", under="ignore", invalid="warn")
