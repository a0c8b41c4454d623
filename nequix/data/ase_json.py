"""ASE's JSON (in databases, trajectories and ``.json`` files), decoded without trusting its sizes and types.

ASE's own decoder allocates arrays of any shape named in the text, and creates any object named there.
"""

from __future__ import annotations

import json
import math
import zlib
from typing import Any

import numpy as np

from nequix.core.errors import DataError
from nequix.core.json_text import check_depth
from nequix.io.limits import FREE_BYTES, MAX_RATIO

_KINDS = ("cell", "atoms")  # other ASE objects do not describe a structure
_CONSTRAINTS = (
    "FixAtoms",
    "FixCartesian",
    "FixScaled",
    "FixedLine",
    "FixedPlane",
    "FixCom",
    "FixBondLengths",
)


def decode(text: str | bytes, where: str) -> Any:
    """Decode output of ASE's encoder: numbers, text, lists, dicts, arrays and cells.

    Args:
        text: The JSON.
        where: Name in messages.

    Raises:
        DataError: If it is not JSON, an array has not as many values as its shape says, or an object is of
            another kind.
    """
    from ase.io.jsonio import fix_int_keys_in_dicts, numpyfy

    try:
        text = text if isinstance(text, str) else text.decode()
        check_depth(text)
        return numpyfy(fix_int_keys_in_dicts(json.loads(text, object_hook=_object)))
    except (ValueError, TypeError, KeyError, AttributeError, AssertionError) as error:
        raise DataError(f"{where}: cannot be decoded ({str(error)[:200]}); copy the file again") from None


def check_constraints(constraints: Any, where: str) -> None:
    """Reject constraints other than those that fix positions or distances.

    Args:
        constraints: ASE's text, or the decoded list of dicts.
        where: Name of their owner in messages.

    Raises:
        DataError: Naming the first one of another kind.
    """
    listed = decode(constraints, where) if isinstance(constraints, str | bytes) else constraints
    for constraint in listed if isinstance(listed, list) else []:
        name = constraint.get("name") if isinstance(constraint, dict) else None
        if name not in _CONSTRAINTS:
            raise DataError(
                f"{where}: a constraint {str(name)[:60]!r}, but only {', '.join(_CONSTRAINTS)} are read; "
                "remove it"
            )


def decompress_row(data: bytes, where: str) -> bytes:
    """Decompress a value of an ``.aselmdb`` database.

    Args:
        data: What is stored.
        where: Name in messages.

    Raises:
        DataError: If it is damaged or expands beyond :mod:`nequix.io.limits`.
    """
    limit = FREE_BYTES + MAX_RATIO * len(data)
    decompressor = zlib.decompressobj()
    try:
        expanded = decompressor.decompress(data, limit)
    except zlib.error as error:
        raise DataError(f"{where}: cannot be decompressed ({error}); copy the file again") from None
    if decompressor.unconsumed_tail:
        raise DataError(f"{where}: expands to more than {MAX_RATIO} times its size, as no real data do")
    return expanded


def _object(values: dict[str, Any]) -> Any:
    """Create an ASE object, as its own ``object_hook`` does."""
    from ase.io.jsonio import create_ase_object, numpyfy, object_hook

    if "__ndarray__" in values:
        return _array(*values["__ndarray__"])
    if "__ase_objtype__" in values:
        kind = values.pop("__ase_objtype__")
        if kind not in _KINDS:
            raise ValueError(f"an object of kind {str(kind)[:40]!r}, expected {' or '.join(_KINDS)}")
        return create_ase_object(kind, numpyfy(values))
    return object_hook(values)


def _array(shape: Any, dtype: Any, values: Any) -> np.ndarray:
    kind = np.dtype(str(dtype))
    size = math.prod(int(n) for n in shape)
    expected = size * (2 if kind.kind == "c" else 1)
    if kind.kind not in "biufcSU" or min(shape, default=0) < 0 or not isinstance(values, list):
        raise ValueError(f"an array of {str(dtype)[:40]} with shape {str(shape)[:60]}")
    if len(values) != expected:
        raise ValueError(f"an array of shape {str(shape)[:60]} with {len(values)} of {expected} values")
    if kind.kind == "c":
        real = np.array(values, kind.type(0).real.dtype).reshape(-1, 2)
        return (real[:, 0] + 1j * real[:, 1]).astype(kind).reshape(shape)
    return np.array(values, kind).reshape(shape)
