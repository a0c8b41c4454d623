"""NumPy's floating-point errors as nequix expects them, whatever the caller has set."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np


def usual_errors() -> contextlib.AbstractContextManager[Any]:
    """Treat floating-point errors as NumPy does by default: small numbers that become zero are fine."""
    return np.errstate(divide="warn", over="warn", under="ignore", invalid="warn")
