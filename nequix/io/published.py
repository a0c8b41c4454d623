"""Reader of the published ``.nqx`` files: a line of JSON, then NumPy ``.npy`` blocks back to back.

The blocks are read here and not with ``numpy.load``, which accepts any Python literal as a header: here only
the spelling that NumPy writes is accepted, and the shape is compared before any data are read.
"""

from __future__ import annotations

import math
import os
import re
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from nequix.core.errors import WeightsError
from nequix.core.parameters import manifest
from nequix.core.spec import ModelSpec
from nequix.io import strict_json
from nequix.io.files import open_regular, read_exactly
from nequix.io.header import MAX_HEADER_BYTES, foreign, shorten
from nequix.io.weight_checks import AGAIN, MAX_BYTES, check_finite, parse_spec

if TYPE_CHECKING:
    from jaxtyping import Float

MAX_TRAILING_BYTES = 1 << 20
"""Maximum size of settings after the readout, bytes; the only file with any has 28 kB."""

_FIELDS = (
    "atomic_numbers",
    "avg_n_neighbors",
    "scale",
    "shift",
    "cutoff",
    "hidden_irreps",
    "lmax",
    "n_layers",
    "radial_basis_size",
    "radial_mlp_size",
    "radial_mlp_layers",
    "radial_polynomial_p",
    "layer_norm",
)
_SCALARS = {"<f8": 8, "<i8": 8, "|b1": 1}
_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '([^']{1,9})', 'fortran_order': (True|False), 'shape': \(([0-9, ]{0,99})\), \} *\n"
)


def read_published(path: str | os.PathLike[str]) -> tuple[ModelSpec, dict[str, Float[np.ndarray, ...]]]:
    """Read a published ``.nqx`` file.

    Args:
        path: The file.

    Returns:
        The specification and the float32 parameters by name, in the manifest's order, bit for bit.

    Raises:
        WeightsError: If the file is missing, damaged, hostile, or another kind of model.
    """
    with open_regular(path) as handle:
        return parse_published(handle, os.fspath(path))


def parse_published(handle: BinaryIO, where: str) -> tuple[ModelSpec, dict[str, Float[np.ndarray, ...]]]:
    """Read the content of a published ``.nqx`` file.

    Args:
        handle: The content, seekable.
        where: Its name, for the messages.

    Returns:
        The specification and the float32 parameters by name, in the manifest's order, bit for bit.

    Raises:
        WeightsError: If the content is damaged, hostile, or another kind of model.
    """
    size = handle.seek(0, os.SEEK_END)
    handle.seek(0)
    spec = _parse_settings(handle.readline(MAX_HEADER_BYTES), where)
    expected = manifest(spec)
    n_bytes = 4 * sum(parameter.size for parameter in expected)
    if n_bytes > min(size - handle.tell(), MAX_BYTES):
        raise WeightsError(
            f"{where}: truncated: the settings describe {n_bytes} bytes of tensors (at most {MAX_BYTES}), "
            f"{size - handle.tell()} follow; fetch it again"
        )
    parameters = {}
    for index, parameter in enumerate(expected):
        what = f"block {index} (tensor {parameter.name!r})"
        data = _read_block(handle, ("<f4",), parameter.shape, where, what)
        parameters[parameter.name] = np.frombuffer(data, "<f4").astype(np.float32).reshape(parameter.shape)
    check_finite(parameters, where)
    _check_trailing(handle, size - handle.tell(), len(expected), where)
    return spec, parameters


def _parse_settings(line: bytes, where: str) -> ModelSpec:
    """Read the parts of the JSON line that define the model."""
    otherwise = "it is truncated or of another kind; fetch it again"
    if not line.startswith(b"{") or not line.endswith(b"\n"):
        hint = otherwise if line.startswith(b"{") else foreign(line[:24], otherwise)
        raise WeightsError(f"{where}: does not start with the line of JSON of a .nqx file: {hint}")
    try:
        settings = strict_json.parse_object(line)
    except ValueError as error:
        raise WeightsError(f"{where}: the first line cannot be read ({shorten(error)}); {AGAIN}") from None
    missing = [name for name in (*_FIELDS, "index_weights") if name not in settings]
    if missing:
        raise WeightsError(f"{where}: the first line lacks {missing}; {AGAIN}")
    if settings["index_weights"] is not False:
        raise WeightsError(
            f"{where}: index_weights = {shorten(settings['index_weights'], 40)}: separate weights for each "
            "species are not part of Nequix; use one of the models that `nequix models` lists"
        )
    values: dict[str, Any] = {name: settings[name] for name in _FIELDS}
    return parse_spec(values, where)


def _read_block(
    handle: BinaryIO, dtypes: tuple[str, ...], shape: tuple[int, ...], where: str, what: str
) -> bytes:
    """Read the data of one ``.npy`` block of a known shape and one of the allowed dtypes."""
    start = read_exactly(handle, len(_MAGIC) + 2, where, what)
    if not start.startswith(_MAGIC):
        raise WeightsError(f"{where}: {what} is not a .npy block of version 1; {AGAIN}")
    header = read_exactly(handle, int.from_bytes(start[-2:], "little"), where, what)
    match = _HEADER.fullmatch(header)
    if match is None:
        raise WeightsError(f"{where}: {what} has a header that cannot be read; {AGAIN}")
    dtype, order, dimensions = (group.decode("latin-1") for group in match.groups())
    if dtype not in dtypes or order == "True":
        wanted = " or ".join(dtypes)
        raise WeightsError(f"{where}: {what} is {dtype!r}, fortran_order {order}; expected {wanted}, False")
    expected = ", ".join(map(str, shape)) + "," * (len(shape) == 1)
    if dimensions != expected:
        raise WeightsError(f"{where}: {what} has shape ({dimensions}), expected ({expected}); {AGAIN}")
    item = 4 if dtype == "<f4" else _SCALARS[dtype]
    return read_exactly(handle, item * math.prod(shape), where, what)


def _check_trailing(handle: BinaryIO, n_bytes: int, index: int, where: str) -> None:
    """Accept the data after the readout in published files: settings as scalars, a stray newline."""
    if n_bytes > MAX_TRAILING_BYTES:
        raise WeightsError(f"{where}: {n_bytes} bytes follow the readout; {AGAIN}")
    end = handle.tell() + n_bytes
    while handle.tell() < end:
        if end - handle.tell() == 1 and handle.read(1) == b"\n":
            return
        _read_block(handle, tuple(_SCALARS), (), where, f"block {index} (after the readout)")
        index += 1
