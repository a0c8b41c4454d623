"""How a model is executed: one object for the options that every command and workflow takes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Execution:
    """How a model is executed.

    Attributes:
        backend: ``auto`` (see :func:`nequix.backends.choose_backend`), ``native``, ``jax`` or ``torch``.
        kernel: ``auto`` or the name of a convolution kernel.
        dtype: Precision of the layers, ``float32`` or ``float64``; results are float64 in either case.
        device: ``cpu``, ``gpu``, ``gpu:1``, ...; by default the first that the backend offers.
        threads: Threads of the native library; by default ``OMP_NUM_THREADS`` or all processors, fewer for
            small systems.

    Example:
        >>> from nequix import Execution
        >>> Execution("native", dtype="float64")
        Execution(backend='native', kernel='auto', dtype='float64', device=None, threads=None)
    """

    backend: str = "auto"
    kernel: str = "auto"
    dtype: str = "float32"
    device: str | None = None
    threads: int | None = None

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments of :func:`nequix.load_model` and of the calculators.

        Example:
            >>> from nequix import Execution, NequixCalculator
            >>> execution = Execution("native", threads=1)
            >>> NequixCalculator("nequix-nano", **execution.options()).backend
            'native'
        """
        return asdict(self)


DEFAULT = Execution()
"""Everything chosen automatically, in float32."""
