"""Model files for C and C++ programs: the arrays of the compiled kernels, flat, in the safetensors format.

``nequix_open`` of the library reads them (docs/native.md): a host needs no Python, and tabulates nothing.
Their checksum is the SHA-256 of the whole file, with zeros in place of the checksum itself.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nequix.core.errors import WeightsError
from nequix.core.numpy_errors import usual_errors
from nequix.io.files import write_atomic
from nequix.io.header import MAX_HEADER_BYTES, layout_header
from nequix.io.weights import Weights
from nequix.native.library import DEGREES, LayerStruct, SpecStruct
from nequix.native.model import check_supported
from nequix.native.packing import Packed

FORMAT = "nequix-native"
"""Value of ``format`` in the metadata."""

VERSION = 1
"""Value of ``format_version``; readers reject newer ones."""

BITS = {"float32": 32, "float64": 64}
"""Suffixes of the tensors that each precision has its own of."""

_TYPES = {np.dtype("<f8"): "F64", np.dtype("<f4"): "F32", np.dtype("<i4"): "I32"}
_NO_CHECKSUM = "0" * 64
_OWN = ("format", "format_version", "checksum", "digest")


def export_model(
    weights: Weights, path: str | os.PathLike[str], precisions: Sequence[str] = tuple(BITS)
) -> None:
    """Write a model file for C and C++ programs: whole or not at all, equal bytes for equal models.

    Args:
        weights: The model.
        path: The file to create or replace.
        precisions: Precisions of the tables, ``float32``, ``float64`` or both.

    Raises:
        SpecError: If the specification has no compiled kernels.
        WeightsError: If the file cannot be written, or its metadata hide fields of the format.
    """
    write_atomic(path, serialize(weights, precisions, os.fspath(path)))


def serialize(weights: Weights, precisions: Sequence[str] = tuple(BITS), where: str = "model") -> list[bytes]:
    """Return the contents of a model file, in pieces.

    Args:
        weights: The model.
        precisions: Precisions of the tables.
        where: Name of the file, for messages.

    Raises:
        SpecError: If the specification has no compiled kernels.
        WeightsError: If the metadata hide fields of the format, or are too long.
    """
    check_supported(weights.spec)
    arrays: dict[str, np.ndarray] = {}
    for precision in precisions:
        with usual_errors():
            packed = Packed(weights, precision)
        arrays.update(_shared(packed.struct, weights))
        arrays.update(_tables(packed.struct, precision))
    # Every tensor is aligned to its own items, as the format demands.
    ordered = dict(sorted(arrays.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])))
    if set(_OWN) & set(weights.provenance.extra):
        raise WeightsError(f"{where}: the extra metadata hide fields of the format; rename them")
    metadata = {
        "format": FORMAT,
        "format_version": str(VERSION),
        "checksum": _NO_CHECKSUM,
        "digest": weights.digest or "",
        **weights.provenance.to_metadata(),
    }
    return _seal(ordered, metadata, where)


def _seal(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str], where: str) -> list[bytes]:
    """Put the header before the tensors, and the checksum into the header."""
    raw = layout_header(arrays, metadata, _TYPES, where)
    if len(raw) > MAX_HEADER_BYTES:
        raise WeightsError(f"{where}: {len(raw)} bytes of metadata, at most {MAX_HEADER_BYTES}; shorten them")
    pieces = [len(raw).to_bytes(8, "little"), raw, *(array.tobytes() for array in arrays.values())]
    checksum = hashlib.sha256()
    for piece in pieces:
        checksum.update(piece)
    # The first entry of the header is the metadata, and no value before the checksum can hold its name.
    marker = f'"checksum":"{_NO_CHECKSUM}"'.encode()
    pieces[1] = raw.replace(marker, f'"checksum":"{checksum.hexdigest()}"'.encode(), 1)
    return pieces


def _shared(spec: SpecStruct, weights: Weights) -> dict[str, np.ndarray]:
    """Collect what both precisions read: everything but the radial tables."""
    norm_layers = spec.layers[: spec.n_layers]
    arrays = {
        "sizes": _integers([spec.n_species, spec.lmax, spec.n_layers, spec.layer_norm]),
        "atomic_numbers": _integers(weights.spec.atomic_numbers),
        "constants": np.array([spec.cutoff, spec.gate_scale, spec.epsilon], "<f8"),
        "readout": _array(spec.readout, norm_layers[-1].out[0]),
        "offset": _array(spec.offset, spec.n_species),
    }
    for t, layer in enumerate(norm_layers):
        arrays.update(_layer(layer, f"layers.{t}.", spec.n_species if t == 0 else 0))
    return arrays


def _layer(layer: LayerStruct, where: str, n_species: int) -> dict[str, np.ndarray]:
    """Collect a layer's channels, paths and matrices; of the first one, ``n_species`` rows enter."""
    names = ("channels_in", "message", "pre", "out", "gate")
    fields = ("l1", "l2", "l3", "channels", "weight", "message")
    paths = [[getattr(path, name) for name in fields] for path in layer.paths[: layer.n_paths]]
    arrays = {
        "channels": _integers([list(getattr(layer, name)) for name in names]),
        "paths": _integers(paths),
        "norm": np.array(layer.norm, "<f8"),
    }
    for l in range(DEGREES):
        n_in, n_pre = layer.channels_in[l], layer.pre[l]
        shapes = {
            "linear_1": (n_species or n_in, n_in),
            "linear_2": (layer.message[l], n_pre),
            "skip": (n_species or n_in, n_pre),
            "gain": (n_pre,),
        }
        for name, shape in shapes.items():
            pointer = getattr(layer, name)[l]
            if pointer:
                arrays[f"{name}.{l}"] = _array(pointer, *shape)
    return {where + name: array for name, array in arrays.items()}


def _tables(spec: SpecStruct, precision: str) -> dict[str, np.ndarray]:
    """Collect the radial tables of one precision; coefficients are in that precision, the kernels' own."""
    bits, n = BITS[precision], spec.n_segments
    arrays: dict[str, np.ndarray] = {
        f"cells.{bits}": _integers(np.ctypeslib.as_array(spec.cells, (spec.n_cells,))),
        f"middles.{bits}": _array(spec.middles, n),
        f"halves.{bits}": _array(spec.halves, n),
    }
    for t, layer in enumerate(spec.layers[: spec.n_layers]):
        table = _array(layer.table, n, layer.n_weights, spec.degree + 1)
        arrays[f"layers.{t}.table.{bits}"] = table.astype(np.dtype(precision).newbyteorder("<"))
    return arrays


def _integers(values: Any) -> np.ndarray:
    return np.array(values, "<i4")


def _array(pointer: ctypes._Pointer[ctypes.c_double], *shape: int) -> np.ndarray:
    """Copy an array that a structure points to."""
    return np.array(np.ctypeslib.as_array(pointer, shape), "<f8")
