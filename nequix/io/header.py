"""The JSON header of a safetensors file, checked before its content is used.

A file starts with the header's length (8 bytes, little-endian) and the header: a JSON object that maps each
tensor's name to its dtype, shape and position in the bytes that follow.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from nequix.core.errors import WeightsError
from nequix.io.files import read_exactly

MAX_HEADER_BYTES = 1 << 20
"""Larger headers are rejected; a model of the published shape needs 8 kB."""

MAX_DIMENSIONS = 2
"""Every tensor of a model is a vector or a matrix."""

ITEM_BYTES = {"F32": 4, "F64": 8}
"""Bytes of a number of each allowed dtype."""

_FOREIGN = (
    ((b"{",), "it looks like a published .nqx file; run `nequix convert FILE.nqx FILE.safetensors`"),
    ((b"PK\x03\x04",), "it is a zip archive, perhaps a PyTorch checkpoint; nothing is unpickled here"),
    (tuple(b"\x80%c" % n for n in range(2, 6)), "it is a Python pickle; nothing is unpickled here"),
    ((b"version https://git-lfs",), "it is a Git LFS pointer; run `git lfs pull` to get the file itself"),
    ((b"<",), "it looks like a web page; download the file itself"),
)


@dataclass(frozen=True)
class Tensor:
    """What a header says of one tensor.

    Attributes:
        dtype: ``F32`` or ``F64``.
        shape: Its shape.
        begin: Its first byte among the tensors' bytes.
        end: One past its last byte.
    """

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def shorten(text: object, limit: int = 300) -> str:
    """Shorten text from a file for a message.

    Args:
        text: The text, or an error that holds it.
        limit: Maximum number of characters.
    """
    full = str(text)
    return full if len(full) <= limit else f"{full[:limit]}..."


def foreign(first: bytes, otherwise: str) -> str:
    """Guess the type of an unexpected file from its first bytes.

    Args:
        first: The first bytes.
        otherwise: The hint if they are not recognised.
    """
    return next((hint for starts, hint in _FOREIGN if first.startswith(starts)), otherwise)


def read_header(handle: BinaryIO, size: int, where: str) -> bytes:
    """Read the length and the header of a safetensors file, never more than the file contains.

    Args:
        handle: The file, open at its start.
        size: Its size in bytes.
        where: Its name, for the messages.

    Returns:
        The header with its eight bytes of length before it.

    Raises:
        WeightsError: If the file is too short, or the length is beyond the file or the limit.
    """
    prefix = read_exactly(handle, min(8, size), where, "the header's length")
    length = int.from_bytes(prefix, "little")
    if size < 8 or length > min(size - 8, MAX_HEADER_BYTES):
        hint = foreign(
            prefix + handle.read(16), "it is truncated or not a safetensors file; fetch or convert it again"
        )
        reason = f"a header of {length} bytes in a file of {size}" if size >= 8 else f"only {size} bytes"
        raise WeightsError(f"{where}: not a weight file ({reason}, at most {MAX_HEADER_BYTES}): {hint}")
    return prefix + read_exactly(handle, length, where, "the header")


def parse_tensor(entry: Any) -> Tensor:
    """Check what a header says of one tensor.

    Args:
        entry: The decoded JSON.

    Raises:
        ValueError: If a field is missing, unknown, of the wrong type or inconsistent with the others.
    """
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError("its entry must contain exactly dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise ValueError(f"its dtype is {shorten(dtype, 40)!r}, expected F32 or F64")
    for name, values in (("shape", shape), ("data_offsets", offsets)):
        # Python treats booleans as integers, and 2.0 == 2: neither is accepted here.
        if not isinstance(values, list) or any(type(value) is not int or value < 0 for value in values):
            raise ValueError(f"its {name} must be a list of non-negative integers")
    if len(shape) > MAX_DIMENSIONS:
        raise ValueError(f"it has {len(shape)} dimensions, expected at most {MAX_DIMENSIONS}")
    n_bytes = math.prod(shape) * ITEM_BYTES[dtype]
    if len(offsets) != 2 or offsets[1] - offsets[0] != n_bytes:
        raise ValueError(f"its data_offsets {shorten(offsets, 60)} do not span the bytes of its shape")
    return Tensor(dtype, tuple(shape), offsets[0], offsets[1])


def layout_header(
    arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str], dtypes: Mapping[np.dtype, str], where: str
) -> bytes:
    """Place tensors one after another and describe them; the result depends only on the input.

    The safetensors library writes the metadata in the random order of a hash table, so that equal files would
    have different digests; the header is simple enough to be written here.

    Args:
        arrays: The tensors by name.
        metadata: Text by name.
        dtypes: Names of the allowed dtypes.
        where: The file's name, for the message.

    Raises:
        WeightsError: If the metadata is not text.
    """
    header: dict[str, Any] = {"__metadata__": metadata}
    begin = 0
    for name, array in arrays.items():
        end = begin + array.nbytes
        header[name] = {
            "dtype": dtypes[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
        begin = end
    try:
        raw = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{where}: metadata must be text ({error}); change it") from None
    return raw + b" " * (-len(raw) % 8)
