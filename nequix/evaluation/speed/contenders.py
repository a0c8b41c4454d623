"""What is timed: engines of the project, and other calculators of ASE by their import paths."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nequix.core.errors import BackendUnavailable, DataError
from nequix.evaluation.task import Engine
from nequix.io import strict_json

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator


@dataclass(frozen=True)
class Contender:
    """A calculator that can be made in any process.

    Attributes:
        label: What the report calls it.
        engine: An engine of the project; None for another calculator.
        path: ``module:name`` of another calculator, or of a function that returns one.
        options: Its arguments, as JSON.
    """

    label: str
    engine: Engine | None = None
    path: str = ""
    options: str = "{}"

    def calculator(self) -> Calculator:
        """Make the calculator.

        Raises:
            BackendUnavailable: If it cannot be imported.
            DataError: If there is nothing of that name, or it refuses its arguments.
        """
        if self.engine is not None:
            return self.engine.with_execution(self.engine.execution).calculator()  # not used before
        module, _, name = self.path.partition(":")
        try:
            make = getattr(importlib.import_module(module), name)
        except ImportError as error:
            raise BackendUnavailable(f"{self.path}: cannot be imported ({error}); install it") from error
        except AttributeError:
            raise DataError(f"{self.path}: the module has no {name!r}; check the name") from None
        try:
            return make(**strict_json.parse_object(self.options))
        except TypeError as error:
            raise DataError(f"{self.path}: {error}; give its arguments as {self.path}=JSON") from error


def parse_engine(text: str, engine: Engine) -> Contender:
    """Read ``BACKEND[:KERNEL[:DTYPE]]``.

    Args:
        text: Such as ``torch:plain:float64``.
        engine: The model, with the device and the threads.

    Raises:
        DataError: For more than three parts, or an empty one.
    """
    parts = text.split(":")
    if len(parts) > 3 or not all(parts):
        raise DataError(f"engine {text!r}, expected BACKEND, BACKEND:KERNEL or BACKEND:KERNEL:DTYPE")
    backend, kernel, dtype = (*parts, *("auto", "float32")[len(parts) - 1 :])
    execution = replace(engine.execution, backend=backend, kernel=kernel, dtype=dtype)
    return of_engine(engine.with_execution(execution))


def of_engine(engine: Engine) -> Contender:
    """Name an engine of the project; a number of threads is part of the name, for here it counts.

    Args:
        engine: The engine.
    """
    execution = engine.execution
    threads = "" if execution.threads is None else f" threads={execution.threads}"
    label = f"nequix {execution.backend} {execution.kernel} {execution.dtype}{threads}"
    return Contender(label, engine)


def parse_calculator(text: str) -> Contender:
    """Read ``MODULE:NAME[=JSON]``.

    Args:
        text: Such as ``ase.calculators.lj:LennardJones={"rc": 6}``.

    Raises:
        DataError: If it is of another form.
    """
    path, equals, options = text.partition("=")
    module, colon, name = path.partition(":")
    try:
        held = strict_json.parse_object(options) if equals else {}
        if not (module and colon and name):
            raise ValueError("no module and name")
    except ValueError as error:
        raise DataError(
            f"calculator {text!r:.200}, expected MODULE:NAME or MODULE:NAME={{JSON of its arguments}} "
            f"({error!s:.200})"
        ) from None
    label = path if not held else f"{path} {json.dumps(held)}"
    return Contender(label, None, path, json.dumps(held))
