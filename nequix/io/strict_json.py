"""The one reader of files of JSON: bounded in size, and parsed by :mod:`nequix.core.json_text`."""

from __future__ import annotations

import os
from typing import Any

from nequix.core.errors import DataError
from nequix.core.json_text import parse, parse_object
from nequix.io.limits import MAX_DOCUMENT, read_bounded

__all__ = ["parse", "parse_object", "read", "read_object"]


def read(path: str | os.PathLike[str], limit: int = MAX_DOCUMENT) -> Any:
    """Read a JSON file, decompressed if its name says that it is compressed.

    Args:
        path: The file.
        limit: Maximum size in bytes, decompressed.

    Raises:
        DataError: If it cannot be read or is not JSON.
    """
    try:
        return parse(read_bounded(path, limit))
    except DataError:
        raise
    except ValueError as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path}: cannot be read as JSON ({reason}); is it whole, and the right file?"
        ) from None


def read_object(path: str | os.PathLike[str], limit: int = MAX_DOCUMENT) -> dict[str, Any]:
    """Read a file with a JSON object, decompressed if its name says that it is compressed.

    Args:
        path: The file.
        limit: Maximum size in bytes, decompressed.

    Raises:
        DataError: If it cannot be read or is not a JSON object.
    """
    values = read(path, limit)
    if not isinstance(values, dict):
        raise DataError(
            f"{path}: expected a JSON object, got {type(values).__name__}; is it whole, and the right file?"
        )
    return values
