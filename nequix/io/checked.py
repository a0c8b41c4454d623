"""Checks of values that were read from a file: type, finiteness and range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from nequix.io.header import shorten


def number(record: Mapping[str, Any], name: str, low: float = -math.inf, high: float = math.inf) -> float:
    """Return a finite number from a record.

    Args:
        record: Values by name.
        name: The field.
        low: Smallest allowed value.
        high: Largest allowed value.

    Raises:
        ValueError: If it is missing, not a number (text and booleans are not), not finite or out of range.
    """
    value = _field(record, name)
    if type(value) in (int, float):
        try:
            converted = float(value)
        except OverflowError:  # an integer beyond the range of floats
            converted = math.inf
        if math.isfinite(converted) and low <= converted <= high:
            return converted
    raise ValueError(f"{name} = {shorten(repr(value), 60)}, expected a finite number{_range(low, high)}")


def count(record: Mapping[str, Any], name: str, low: int = 0) -> int:
    """Return an integer from a record.

    Args:
        record: Values by name.
        name: The field.
        low: Smallest allowed value.

    Raises:
        ValueError: If it is missing, not a whole number, below ``low`` or beyond 64 bits.
    """
    value = _field(record, name)
    if type(value) is int and low <= value < 2**63:
        return value
    raise ValueError(f"{name} = {shorten(repr(value), 60)}, expected a whole number, at least {low}")


def text(record: Mapping[str, Any], name: str) -> str:
    """Return a string from a record.

    Args:
        record: Values by name.
        name: The field.

    Raises:
        ValueError: If it is missing or not text.
    """
    value = _field(record, name)
    if isinstance(value, str):
        return value
    raise ValueError(f"{name} = {shorten(repr(value), 60)}, expected text")


def section(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a mapping from a record.

    Args:
        record: Values by name.
        name: The field.

    Raises:
        ValueError: If it is missing or not a mapping.
    """
    value = _field(record, name)
    if isinstance(value, dict):
        return value
    raise ValueError(f"{name} = {shorten(repr(value), 60)}, expected keys and values")


def refuse_others(record: Mapping[str, Any], names: set[str]) -> None:
    """Reject unknown fields of a record.

    Args:
        record: Values by name.
        names: The fields.

    Raises:
        ValueError: Naming the first unknown field.
    """
    unknown = sorted(set(record) - names)
    if unknown:
        known = ", ".join(sorted(names))
        raise ValueError(f"unknown field {shorten(repr(unknown[0]), 60)}, expected {known}")


def _field(record: Mapping[str, Any], name: str) -> Any:
    if name not in record:
        raise ValueError(f"{name} is missing")
    return record[name]


def _range(low: float, high: float) -> str:
    if math.isfinite(low) and math.isfinite(high):
        return f" from {low:g} to {high:g}"
    return f" of at least {low:g}" if math.isfinite(low) else ""
