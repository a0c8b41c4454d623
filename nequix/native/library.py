"""ctypes bindings of the compiled library: structures, functions, and errors as exceptions."""

from __future__ import annotations

import ctypes
import sys
import warnings
from functools import cache
from pathlib import Path

from nequix.core.errors import BackendUnavailable
from nequix.native import sources

DEGREES, PAD, MOST_ELEMENTS = 4, 16, 128

_DOUBLES = ctypes.POINTER(ctypes.c_double)
_INTEGERS = ctypes.POINTER(ctypes.c_int32)
_Counts = ctypes.c_int32 * DEGREES
_Matrices = _DOUBLES * DEGREES


class PathStruct(ctypes.Structure):
    """``nequix_path``."""

    _fields_ = [(name, ctypes.c_int32) for name in ("l1", "l2", "l3", "channels", "weight", "message")]


class LayerStruct(ctypes.Structure):
    """``nequix_layer``."""

    _fields_ = [
        *((name, _Counts) for name in ("channels_in", "message", "pre", "out", "gate")),
        ("n_paths", ctypes.c_int32),
        ("n_weights", ctypes.c_int32),
        ("paths", ctypes.POINTER(PathStruct)),
        ("table", _DOUBLES),
        *((name, _Matrices) for name in ("linear_1", "linear_2", "skip", "gain")),
        ("norm", ctypes.c_double * DEGREES),
    ]


class SpecStruct(ctypes.Structure):
    """``nequix_spec``."""

    _fields_ = [
        *(
            (name, ctypes.c_int32)
            for name in ("n_species", "lmax", "n_layers", "n_cells", "n_segments", "degree", "layer_norm")
        ),
        ("cells", _INTEGERS),
        ("middles", _DOUBLES),
        ("halves", _DOUBLES),
        ("cutoff", ctypes.c_double),
        ("gate_scale", ctypes.c_double),
        ("epsilon", ctypes.c_double),
        ("layers", ctypes.POINTER(LayerStruct)),
        ("readout", _DOUBLES),
        ("offset", _DOUBLES),
    ]


class DescriptionStruct(ctypes.Structure):
    """``nequix_description``."""

    _fields_ = [
        ("cutoff", ctypes.c_double),
        *((name, ctypes.c_int32) for name in ("n_layers", "n_species", "precisions")),
        ("atomic_numbers", ctypes.c_int32 * MOST_ELEMENTS),
        ("name", ctypes.c_char * 128),
        ("training_data", ctypes.c_char * 512),
        ("theory", ctypes.c_char * 256),
        ("licence", ctypes.c_char * 512),
        ("citation", ctypes.c_char * 1024),
        ("source", ctypes.c_char * 512),
        ("digest", ctypes.c_char * 72),
        ("checksum", ctypes.c_char * 72),
    ]


def path() -> Path:
    """Return the path of the library, which need not exist."""
    suffix = {"darwin": "dylib", "win32": "dll"}.get(sys.platform, "so")
    return Path(__file__).with_name(f"libnequix.{suffix}")


_REMEDY = (
    "reinstall nequix with a C++17 compiler (GCC or Clang) available (docs/native.md), or choose "
    "kernel='plain'"
)


@cache
def tell_missing() -> None:
    """Warn once per process that the native library is missing and calculations will be slow."""
    warnings.warn(
        "kernel='auto' takes 'plain', which is many times slower: the native kernels were not built; "
        f"{_REMEDY}",
        RuntimeWarning,
        stacklevel=2,
    )


@cache
def load() -> ctypes.CDLL:
    """Load the library.

    Raises:
        BackendUnavailable: If it was not built, or cannot be loaded.
    """
    if not path().is_file():
        raise BackendUnavailable(f"the native kernels were not built ({path()} is missing): {_REMEDY}")
    try:
        library = ctypes.CDLL(str(path()))
    except OSError as error:
        raise BackendUnavailable(
            f"the native kernels cannot be loaded ({error}): reinstall nequix, or choose kernel='plain'"
        ) from error
    for name, result, arguments in _FUNCTIONS:
        function = getattr(library, name, None)
        if function is None:
            raise BackendUnavailable(
                f"the native kernels have another version ({path()} has no {name}): {_REMEDY}"
            )
        function.restype, function.argtypes = result, arguments
    if sources.digest() not in (None, library.nequix_digest().decode()):
        raise BackendUnavailable(
            f"the native kernels have another version ({path()} was compiled from other sources than those "
            f"in {Path(__file__).parent}): {_REMEDY}"
        )
    sizes = (ctypes.c_int64 * 3)()
    library.nequix_sizes(sizes)
    if list(sizes) != [ctypes.sizeof(each) for each in (PathStruct, LayerStruct, SpecStruct)]:
        raise BackendUnavailable(
            f"the native kernels have another version ({path()} has other structures): {_REMEDY}"
        )
    return library


_MODEL, _COUNT, _ARRAY = ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p
_PART = ctypes.c_void_p
_ROWS = [_COUNT, _ARRAY, _COUNT, _ARRAY]
_FUNCTIONS = [
    (
        "nequix_create",
        ctypes.c_char_p,
        [ctypes.POINTER(SpecStruct), ctypes.c_int32, ctypes.c_char_p, ctypes.POINTER(_MODEL)],
    ),
    (
        "nequix_open",
        ctypes.c_char_p,
        [ctypes.c_char_p, _COUNT, ctypes.c_int32, ctypes.c_char_p, ctypes.POINTER(_MODEL)],
    ),
    (
        "nequix_describe",
        ctypes.c_char_p,
        [ctypes.c_char_p, _COUNT, ctypes.POINTER(DescriptionStruct)],
    ),
    ("nequix_destroy", None, [_MODEL]),
    ("nequix_register", ctypes.c_char_p, [_MODEL, ctypes.c_int64]),
    ("nequix_instructions", ctypes.c_char_p, [_MODEL]),
    ("nequix_calls", ctypes.c_int64, [_MODEL]),
    ("nequix_evaluate", ctypes.c_char_p, [_MODEL, _COUNT, _COUNT, *[_ARRAY] * 7, ctypes.c_int32]),
    ("nequix_features", ctypes.c_char_p, [_MODEL, _COUNT, _COUNT, *[_ARRAY] * 6, ctypes.c_int32]),
    (
        "nequix_evaluate_members",
        ctypes.c_char_p,
        [ctypes.POINTER(_MODEL), *[ctypes.c_int32] * 2, _COUNT, _COUNT, *[_ARRAY] * 6, ctypes.c_int32],
    ),
    ("nequix_forces", ctypes.c_char_p, [*[_COUNT] * 3, *[_ARRAY] * 7]),
    ("nequix_part_create", ctypes.c_char_p, [_MODEL, ctypes.c_int32, ctypes.POINTER(_PART)]),
    ("nequix_part_destroy", None, [_PART]),
    ("nequix_part_layers", ctypes.c_int32, [_PART]),
    ("nequix_part_width", _COUNT, [_PART, ctypes.c_int32]),
    (
        "nequix_part_begin",
        ctypes.c_char_p,
        [_PART, *[_COUNT] * 2, *[_ARRAY] * 4, ctypes.c_int32, *[_ARRAY] * 2],
    ),
    ("nequix_part_forward", ctypes.c_char_p, [_PART, ctypes.c_int32]),
    ("nequix_part_backward", ctypes.c_char_p, [_PART, ctypes.c_int32]),
    ("nequix_part_read", ctypes.c_char_p, [_PART, *[ctypes.c_int32] * 2, *_ROWS]),
    ("nequix_part_write", ctypes.c_char_p, [_PART, *[ctypes.c_int32] * 2, *_ROWS]),
    ("nequix_part_bytes", _COUNT, [_PART]),
    ("nequix_version", _COUNT, []),
    ("nequix_sizes", None, [ctypes.POINTER(ctypes.c_int64)]),
    ("nequix_digest", ctypes.c_char_p, []),
]
