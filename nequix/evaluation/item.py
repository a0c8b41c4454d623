"""Evaluation of one item of a task: any outcome becomes its result."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

from nequix.calculator import NequixCalculator
from nequix.evaluation.run_directory import RunDirectory
from nequix.evaluation.task import ItemResult, Task

SHOWN = 3
"""Number of values of an item that are named if they are not finite."""


def evaluate_item(task: Task, calculator: NequixCalculator, item: str) -> tuple[ItemResult, float]:
    """Evaluate one item; exceptions and values that are not finite are failures in its result.

    Args:
        task: The evaluation.
        calculator: The model.
        item: Name of the item.

    Returns:
        The result, and the time it took, s.
    """
    start = time.perf_counter()
    try:
        result = task.evaluate(item, calculator)
        strange = list(_not_finite(result.values))
        if strange:
            message = ", ".join(strange[:SHOWN]) + (", ..." if len(strange) > SHOWN else "")
            result = ItemResult(error=f"values that are not numbers: {message}")
    except Exception as error:  # any error: one item must not stop the others
        message = f"{type(error).__name__}: {error}"
        result = ItemResult({"traceback": traceback.format_exc()}, error=message)
    return result, time.perf_counter() - start


def _not_finite(values: Any, name: str = "") -> Iterator[str]:
    """List the values at any depth that are not finite, because JSON cannot store them."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from _not_finite(value, f"{name}.{key}" if name else str(key))
    elif isinstance(values, list | tuple):
        for index, value in enumerate(values):
            yield from _not_finite(value, f"{name}[{index}]")
    elif isinstance(values, float) and not math.isfinite(values):
        yield f"{name} = {float(values)}"


def run_item(task: Task, calculator: NequixCalculator, store: RunDirectory, item: str) -> None:
    """Evaluate one item and write its result.

    Args:
        task: The evaluation.
        calculator: The model.
        store: The run directory.
        item: Name of the item.
    """
    store.write(item, *evaluate_item(task, calculator, item))
