"""JSON as every room reads it: unique keys, bounded depth, finite numbers, errors of one kind."""

from __future__ import annotations

import json
from typing import Any

MAX_DEPTH = 64
"""Lists and objects within each other; what nequix and its data sources write has at most 10."""


def parse(text: str | bytes) -> Any:
    """Parse JSON.

    Args:
        text: The JSON, as text or UTF-8.

    Raises:
        ValueError: If it is not JSON, nested beyond :data:`MAX_DEPTH`, has a key twice, or NaN or infinity.
    """
    try:
        text = text if isinstance(text, str) else text.decode("utf-8-sig")
        values = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError(f"nested more than {MAX_DEPTH} levels deep") from None
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(values)
    return values


def parse_object(text: str | bytes) -> dict[str, Any]:
    """Parse a JSON object.

    Args:
        text: The JSON, as text or UTF-8.

    Raises:
        ValueError: If it is anything else.
    """
    values = parse(text)
    if not isinstance(values, dict):
        raise ValueError(f"expected a JSON object, got {type(values).__name__}")
    return values


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1) if len(names) < 1000 else "of an object"
        raise ValueError(f"the key {twice[:80]!r} appears twice")
    return values


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number of JSON")


def _check_depth(values: Any) -> None:
    level = [values]
    for _ in range(MAX_DEPTH):
        entries = (x.values() if isinstance(x, dict) else x for x in level)
        level = [entry for several in entries for entry in several if isinstance(entry, dict | list)]
        if not level:
            return
    raise ValueError(f"nested more than {MAX_DEPTH} levels deep")
