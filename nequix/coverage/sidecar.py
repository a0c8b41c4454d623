"""The file of a reference: safetensors beside the weights, rejected for other weights."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from nequix.core.errors import WeightsError
from nequix.core.migrations import Change, Format, NewerVersion
from nequix.core.spec import MAX_CUTOFF, MIN_CUTOFF
from nequix.coverage.distances import elements, lowest_bins
from nequix.coverage.environments import VIEWS, n_bins, n_kinds
from nequix.coverage.features import FeatureReference
from nequix.coverage.histograms import Histogram
from nequix.coverage.reference import Calibration, Reference
from nequix.io import checked, strict_json
from nequix.io.catalogue import ENTRIES, REFERENCES, place_bundled, resolve
from nequix.io.files import digest_file, open_regular, read_exactly, write_atomic
from nequix.io.header import layout_header, read_header, shorten
from nequix.io.provenance import describe_model
from nequix.io.weights import Weights

KIND, FORMAT = "nequix-coverage", Format("coverage reference", (Change({"source": "", "caveat": ""}),))
"""Version 1 stores empty bins, and has no shortest distances, source or caveat."""

ENDING = ".coverage.safetensors"
"""Replaces the weight file's ``.safetensors``."""

MAX_BYTES = 1 << 26
"""Larger files are rejected; a reference of 89 elements has about 3 MB."""

AGAIN = "rebuild it with `nequix coverage build`"

_DTYPES = {np.dtype(np.uint8): "U8", np.dtype(np.int32): "I32", np.dtype(np.float32): "F32"}
_LOG = 8.0  # counts are stored as round(8 log2(1 + n)): to 4 %, one structure exactly


def place_beside(model: str | os.PathLike[str]) -> Path:
    """Return the path of a model's reference: beside its file.

    Args:
        model: A known name, or the path of a weight file.

    Raises:
        WeightsError: If the model does not exist.
    """
    path = resolve(model)
    return path.with_name(path.name.removesuffix(".safetensors").removesuffix(".nqx") + ENDING)


def write_reference(path: str | os.PathLike[str], reference: Reference) -> None:
    """Write a reference atomically; equal input gives equal bytes.

    Args:
        path: The file to create or replace.
        reference: The reference.

    Raises:
        WeightsError: If it cannot be written.
    """
    arrays = {}
    for view in VIEWS:
        histogram = reference.histograms[view]
        counts = np.rint(_LOG * np.log2(1 + histogram.counts)).astype(np.uint8)
        arrays[f"{view}.codes"] = histogram.codes.astype(np.int32)
        arrays[f"{view}.n_bins"] = (counts > 0).sum(axis=1).astype(np.uint8)
        arrays[f"{view}.bins"] = np.nonzero(counts)[1].astype(np.uint8)
        arrays[f"{view}.counts"] = counts[counts > 0]
    pairs = [elements(code) for code in reference.histograms["pairs"].codes.tolist()]
    arrays["pairs.shortest"] = np.array([reference.shortest[pair] for pair in pairs], np.float32)
    if reference.features is not None:
        arrays["features.mean"] = reference.features.mean.astype(np.float32)
        arrays["features.whitening"] = reference.features.whitening.astype(np.float32)
    chunks = [array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes() for array in arrays.values()]
    calibration = vars(reference.calibration)
    metadata = {
        "format": KIND,
        "format_version": str(FORMAT.version),
        "model": reference.model,
        "model_checksum": reference.checksum,
        "model_digest": reference.digest,
        "cutoff": repr(reference.cutoff),
        "data": reference.data,
        "source": reference.source,
        "caveat": reference.caveat,
        "n_structures": str(reference.n_structures),
        "n_atoms": str(reference.n_atoms),
        "calibration": json.dumps({name: calibration[name] for name in sorted(calibration)}, allow_nan=False),
        "checksum": hashlib.sha256(b"".join(chunks)).hexdigest(),
    }
    raw = layout_header(arrays, metadata, _DTYPES, os.fspath(path))
    write_atomic(path, [len(raw).to_bytes(8, "little"), raw, *chunks])


def read_reference(path: str | os.PathLike[str]) -> Reference:
    """Read and verify a reference.

    Args:
        path: A file that :func:`write_reference` wrote.

    Raises:
        WeightsError: If it is missing, damaged, of a newer format or of another program.
    """
    where = os.fspath(path)
    with open_regular(path) as handle:
        size = os.fstat(handle.fileno()).st_size
        if size > MAX_BYTES:
            raise WeightsError(f"{where}: {size} bytes, at most {MAX_BYTES}; larger than any reference")
        raw = read_header(handle, size, where)
        data = read_exactly(handle, size - len(raw), where, "the tensors' part")
    metadata = _metadata(raw[8:], where)
    if metadata["checksum"] != hashlib.sha256(data).hexdigest():
        raise WeightsError(f"{where}: the checksum does not fit the tensors; {AGAIN}")
    try:
        arrays = safetensors.numpy.load(raw + data)
        return _reference(metadata, arrays)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{where}: cannot be read ({shorten(error)}); {AGAIN}") from None


def _metadata(raw: bytes, where: str) -> dict[str, Any]:
    try:
        metadata: Any = strict_json.parse_object(raw).get("__metadata__")
    except ValueError as error:
        raise WeightsError(f"{where}: the header cannot be read ({shorten(error)}); {AGAIN}") from None
    if not isinstance(metadata, dict) or metadata.get("format") != KIND:
        raise WeightsError(
            f"{where}: not a coverage reference (its metadata lacks format = {KIND!r}); {AGAIN}"
        )
    try:
        metadata = {
            **metadata,
            "calibration": strict_json.parse_object(checked.text(metadata, "calibration")),
        }
        metadata = FORMAT.upgrade(metadata, metadata.get("format_version"))
    except NewerVersion as error:
        raise WeightsError(f"{where}: {error}, or {AGAIN}") from None
    except ValueError as error:
        raise WeightsError(f"{where}: {error}; {AGAIN}") from None
    names = ["model", "model_checksum", "model_digest", "cutoff", "data", "n_structures", "n_atoms"]
    names += ["checksum", "source", "caveat"]
    missing = [name for name in names if not isinstance(metadata.get(name), str)]
    if missing:
        raise WeightsError(f"{where}: metadata {missing} is missing; {AGAIN}")
    return metadata


def _reference(metadata: dict[str, Any], arrays: dict[str, np.ndarray]) -> Reference:
    cutoff = checked.number({"cutoff": float(metadata["cutoff"])}, "cutoff", MIN_CUTOFF, MAX_CUTOFF)
    histograms = {}
    dense = int(metadata["format_version"]) == 1
    for view in VIEWS:
        codes = arrays[f"{view}.codes"]
        if codes.dtype != np.int32 or codes.ndim != 1 or (np.diff(codes) <= 0).any():
            raise ValueError(f"the kinds of {view} do not ascend")
        if codes.size and not 0 <= codes[0] <= codes[-1] < n_kinds(view):
            raise ValueError(f"a kind of {view} is beyond {n_kinds(view)}")
        counts = arrays[f"{view}.counts"] if dense else _all_bins(view, arrays, n_bins(view, cutoff))
        expected = (codes.size, n_bins(view, cutoff))
        if counts.dtype != np.uint8 or counts.shape != expected:
            raise ValueError(f"{view} has the shape {counts.shape}, expected {expected}")
        histograms[view] = Histogram(codes.astype(np.int64), np.exp2(counts / _LOG) - 1)
    pairs = histograms["pairs"]
    shortest = lowest_bins(pairs.codes, pairs.counts)
    if not dense:
        values = arrays["pairs.shortest"]
        if values.dtype != np.float32 or values.shape != pairs.codes.shape:
            raise ValueError(f"pairs.shortest has the shape {values.shape}, expected {pairs.codes.shape}")
        if not ((values >= 0) & (values <= cutoff)).all():
            raise ValueError(
                f"a shortest distance is negative, above the cutoff of {cutoff} A or not a number"
            )
        rounded = np.round(values.astype(float), 3).tolist()
        shortest = {elements(code): value for code, value in zip(pairs.codes.tolist(), rounded, strict=True)}
    features = None
    if "features.mean" in arrays:
        mean, whitening = (arrays[f"features.{name}"].astype(float) for name in ("mean", "whitening"))
        if mean.ndim != 1 or whitening.shape != (mean.size, mean.size):
            raise ValueError(f"the whitening has the shape {whitening.shape}, expected {2 * (mean.size,)}")
        if not (np.isfinite(mean).all() and np.isfinite(whitening).all()):
            raise ValueError("the features have values that are NaN or infinite")
        features = FeatureReference(mean, whitening)
    sizes = {name: int(metadata[name]) for name in ("n_structures", "n_atoms")}
    return Reference(
        metadata["model"],
        metadata["model_checksum"],
        metadata["model_digest"],
        cutoff,
        metadata["data"],
        checked.count(sizes, "n_structures", 1),
        checked.count(sizes, "n_atoms", 1),
        histograms,
        features,
        _calibration(metadata["calibration"]),
        shortest,
        metadata["source"],
        metadata["caveat"],
    )


def _all_bins(view: str, arrays: dict[str, np.ndarray], width: int) -> np.ndarray:
    """Return counts by kind and bin, shape (k, width), from the non-empty bins."""
    sizes, bins, counts = (arrays[f"{view}.{name}"] for name in ("n_bins", "bins", "counts"))
    if not sizes.dtype == bins.dtype == counts.dtype == np.uint8 or sizes.ndim != 1:
        raise ValueError(f"{view} has other types than vectors of bytes")
    if not bins.shape == counts.shape == (sizes.sum(dtype=int),) or (bins >= width).any():
        raise ValueError(f"the bins of {view} do not fit their numbers, or are beyond {width}")
    kinds = np.repeat(np.arange(sizes.size), sizes)
    if (np.diff(kinds * width + bins) <= 0).any():
        raise ValueError(f"the bins of {view} do not ascend")
    dense = np.zeros((sizes.size, width), np.uint8)
    dense[kinds, bins] = counts
    return dense


def _calibration(record: dict[str, Any]) -> Calibration:
    """Check the values of a calibration, which scores are divided by and compared with.

    Raises:
        ValueError: Naming the value.
    """
    checked.refuse_others(record, {item.name for item in fields(Calibration)})
    values: dict[str, dict[str, float]] = {}
    for name in ("usual", "edge", "outside", "verdicts"):
        low, high = (0, 1) if name == "verdicts" else (1e-6, 1e6)
        part = checked.section(record, name)
        values[name] = {view: checked.number(part, view, low, high) for view in part}
    return Calibration(**values, n_structures=checked.count(record, "n_structures"))


def find_reference(
    model: str | os.PathLike[str], weights: Weights, path: str | os.PathLike[str] | None = None
) -> Reference:
    """Read the reference of a model; that of its parent, without features, if it was fine-tuned.

    Histograms do not depend on the weights, so those of the parent are valid; features do, and are left out.

    Args:
        model: A known name, or the path of a weight file.
        weights: The same model, loaded.
        path: The reference's file; by default the one beside the model's, or else the one in the package: of
            these weights, or of the model that they were fine-tuned from.

    Raises:
        WeightsError: If there is none, or it belongs to other weights.
    """
    name = weights.provenance.name
    place = Path(path) if path is not None else place_beside(model)
    if path is None and not place.is_file() and (shipped := find_shipped(weights)) is not None:
        return shipped
    if not place.is_file():
        raise WeightsError(
            f"{place}: no coverage reference of {name}; build it from its training data with `nequix "
            f"coverage build DATA --model {os.fspath(model)}`, or name one with --reference"
        )
    reference = read_reference(place)
    if (usable := _usable(reference, weights)) is not None:
        return usable
    raise WeightsError(
        f"{place}: belongs to other weights (of {reference.model}, {reference.checksum[:12]}...), not to "
        f"{name} ({describe_model(weights)['checksum'][:12]}...); {AGAIN}"
    )


def _usable(reference: Reference, weights: Weights) -> Reference | None:
    """Return the valid part of a reference: all for its own weights, no features for others."""
    if reference.checksum == describe_model(weights)["checksum"]:
        return reference
    published = ENTRIES.get(reference.model)
    digests = {reference.digest, published and published.sha256} - {"unknown", None}
    parent = weights.provenance.extra.get("parent_digest")
    return replace(reference, features=None) if parent in digests else None


def find_shipped(weights: Weights) -> Reference | None:
    """Read the package's reference for weights, or for the model that they were fine-tuned from.

    Args:
        weights: The model.

    Returns:
        The reference; None if the package has none for these weights.

    Raises:
        WeightsError: If the package's file is missing or damaged.
    """
    extra = weights.provenance.extra
    for name in (weights.provenance.name, extra.get("parent", "")):
        if name in REFERENCES:
            usable = _usable(read_shipped(name), weights)
            if usable is not None:
                return usable
    return None


def read_shipped(name: str) -> Reference:
    """Read the reference of a model that is included in the package.

    Args:
        name: A key of :data:`nequix.io.catalogue.REFERENCES`.

    Raises:
        WeightsError: If the file is missing or differs from the shipped one.
    """
    place = place_bundled(name, ENDING)
    digest = digest_file(place)
    if digest != REFERENCES[name]:
        raise WeightsError(f"{place}: has the digest {digest}, expected {REFERENCES[name]}; reinstall nequix")
    return read_reference(place)
