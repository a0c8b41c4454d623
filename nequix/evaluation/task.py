"""The interface of evaluations: named items, a function of one item, and the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from nequix.calculator import NequixCalculator
from nequix.execution import DEFAULT, Execution
from nequix.io.catalogue import load_weights
from nequix.io.provenance import describe_model
from nequix.io.weights import Weights

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class ItemResult:
    """The result of one item.

    Attributes:
        values: JSON values by name; None if a number does not exist.
        arrays: Arrays by name, for NumPy's format.
        error: Reason of a failure; None if there was none.

    Example:
        >>> from nequix import ItemResult
        >>> ItemResult({"energy": -1.5}).error is None
        True
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    error: str | None = None


class Task(Protocol):
    """An evaluation. It is sent to worker processes: keep it small, and read large data where they are used.

    Example:
        >>> import nequix
        >>> class Atom:
        ...     name = "atom"
        ...
        ...     def settings(self):
        ...         return {}
        ...
        ...     def items(self):
        ...         return ["Si", "O"]
        ...
        ...     def evaluate(self, item, calculator):
        ...         from ase import Atoms
        ...
        ...         return nequix.ItemResult({"energy": calculator.get_potential_energy(Atoms(item))})
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     results = nequix.evaluate(Atom(), f"{folder}/run", "nequix-nano").results()
        >>> sorted(results)
        ['O', 'Si']
    """

    @property
    def name(self) -> str:
        """The command's name."""
        ...

    def settings(self) -> dict[str, Any]:
        """Return the settings that the numbers depend on, as JSON values; other settings make another run."""
        ...

    def items(self) -> list[str]:
        """List the items, the cheapest first."""
        ...

    def evaluate(self, item: str, calculator: NequixCalculator) -> ItemResult:
        """Evaluate one item; an exception is recorded as the item's failure."""
        ...


@dataclass(frozen=True)
class Engine:
    """A model and its execution; each process loads the model once.

    Attributes:
        model: A known name, or the path of a weight file.
        execution: How the model is executed. Threads affect numbers only by rounding.
    """

    model: str
    execution: Execution = DEFAULT

    @classmethod
    def loaded(
        cls, model: str, weights: Weights, calculator: NequixCalculator, execution: Execution
    ) -> Engine:
        """Create an engine from a loaded model, with its backend and kernel.

        Args:
            model: Its name or path.
            weights: The model.
            calculator: The calculator that runs it.
            execution: The requested execution.
        """
        engine = cls(model, replace(execution, backend=calculator.backend, kernel=calculator.kernel))
        vars(engine).update(weights=weights, _calculator=calculator)
        return engine

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave out the loaded model: another process loads its own."""
        return Engine, (self.model, self.execution)

    @cached_property
    def weights(self) -> Weights:
        """The model."""
        return load_weights(self.model)

    @cached_property
    def _calculator(self) -> NequixCalculator:
        # No guard: tasks compare predictions with their own references.
        return NequixCalculator(self.weights, guard=None, **self.execution.options())

    def calculator(self) -> NequixCalculator:
        """Return the model on its backend."""
        return self._calculator

    def with_execution(self, execution: Execution) -> Engine:
        """Return an engine with the same model and another execution.

        Args:
            execution: How the model is executed.
        """
        engine = Engine(self.model, execution)
        vars(engine).update(weights=self.weights)
        return engine

    def describe(self) -> dict[str, Any]:
        """Identify the model (by digests) and its execution as JSON values; threads may change in a run."""
        calculator = self.calculator()
        chosen = {"backend": calculator.backend, "kernel": calculator.kernel, "dtype": calculator.dtype}
        return {"model": describe_model(self.weights), **chosen, "device": calculator.device}
