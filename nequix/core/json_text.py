"""JSON as every room reads it: unique keys, bounded depth, finite numbers, errors of one kind."""

from __future__ import annotations

import json
import re
from typing import Any

MAX_DEPTH = 64
"""Lists and objects within each other; what nequix and its data sources write has at most 10."""

_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_OTHERS = bytes(code for code in range(256) if code not in b"[]{}")


def parse(text: str | bytes) -> Any:
    """Parse JSON.

    Args:
        text: The JSON, as text or UTF-8.

    Raises:
        ValueError: If it is not JSON, nested beyond :data:`MAX_DEPTH`, has a key twice, or NaN or infinity.
    """
    text = text if isinstance(text, str) else text.decode("utf-8-sig")
    check_depth(text)
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)


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


def check_depth(text: str) -> None:
    """Reject JSON that is nested beyond :data:`MAX_DEPTH`, before a parser recurses into it.

    Python's recursion limit does not protect the stack: packages raise it (symfc, which phonopy imports, to
    100,000), and the parser then ends the process.

    Args:
        text: The JSON; it need not be valid.

    Raises:
        ValueError: If lists and objects are nested too deeply.
    """
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    import numpy as np  # few programs read long JSON, and a command starts faster without NumPy

    brackets = _STRING.sub("", text).encode(errors="replace").translate(None, _OTHERS)
    opening = np.frombuffer(brackets.replace(b"{", b"["), np.uint8) == ord("[")
    depth = np.cumsum(np.where(opening, 1, -1), dtype=np.int32)
    if len(depth) and depth.max() > MAX_DEPTH:
        raise ValueError(f"nested more than {MAX_DEPTH} levels deep")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1) if len(names) < 1000 else "of an object"
        raise ValueError(f"the key {twice[:80]!r} appears twice")
    return values


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number of JSON")
