"""What an evaluation is: named items, a function of one of them, and the model it is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from nequix.calculator import NequixCalculator
from nequix.io.catalogue import load_weights
from nequix.io.provenance import describe_model

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class ItemResult:
    """What came out for one item.

    Attributes:
        values: Numbers and words by name, for JSON; None where a number does not exist.
        arrays: Arrays by name, for NumPy's format.
        error: Why the item failed; None if it did not.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    error: str | None = None


class Task(Protocol):
    """An evaluation. It goes to worker processes: keep it small, and read large data where it is used."""

    @property
    def name(self) -> str:
        """The command's name."""
        ...

    def settings(self) -> dict[str, Any]:
        """List what the numbers depend on besides the model, for JSON: a run with others is another run."""
        ...

    def items(self) -> list[str]:
        """Name the items, the cheapest first."""
        ...

    def evaluate(self, item: str, calculator: NequixCalculator) -> ItemResult:
        """Evaluate one item; whatever it raises becomes the item's recorded failure."""
        ...


@dataclass(frozen=True)
class Engine:
    """A model and how it is executed (see :class:`nequix.NequixCalculator`).

    Attributes:
        model: A known name, or the path of a weight file.
        backend: ``jax`` or ``torch``.
        kernel: The convolution kernel.
        dtype: Precision of the layers.
        device: Where it runs; by default the backend's first device.
        threads: Of the native kernel. They change no number but by rounding.
    """

    model: str
    backend: str
    kernel: str = "auto"
    dtype: str = "float32"
    device: str | None = None
    threads: int | None = None

    def calculator(self) -> NequixCalculator:
        """Load the model onto its backend."""
        return NequixCalculator(
            self.model,
            self.backend,
            kernel=self.kernel,
            dtype=self.dtype,
            device=self.device,
            threads=self.threads,
            guard=None,  # tasks judge predictions by their own references
        )

    def describe(self, calculator: NequixCalculator) -> dict[str, Any]:
        """Tell the model by its digests and name what runs it, for JSON; the threads may change in a run.

        Args:
            calculator: What :meth:`calculator` made.
        """
        chosen = {"backend": self.backend, "kernel": calculator.kernel, "dtype": self.dtype}
        return {"model": describe_model(load_weights(self.model)), **chosen, "device": calculator.device}
