"""The weight file: safetensors with the specification and the provenance inside (docs/weights.md)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import numpy as np
import safetensors
import safetensors.numpy

from nequix.core.errors import WeightsError
from nequix.core.parameters import manifest
from nequix.core.spec import ModelSpec
from nequix.io import weight_checks
from nequix.io.files import digest_file, open_regular, read_exactly, write_atomic
from nequix.io.header import MAX_HEADER_BYTES, layout_header, read_header
from nequix.io.run_files import describe_folder

if TYPE_CHECKING:
    from jaxtyping import Float

__all__ = ["Provenance", "Weights", "digest_file", "read_weights", "write_weights"]


@dataclass(frozen=True)
class Provenance:
    """The origin of a model; every field is text, ``unknown`` if not given.

    Attributes:
        name: The model's name.
        training_data: Data sets it was trained on, in order.
        theory: Level of theory of the labels.
        licence: Licence and copyright holder of the weights.
        citation: What to cite.
        source: URL and digest of the file that it was converted from.
        extra: Any more metadata, kept as it is.

    Example:
        >>> from nequix import Provenance
        >>> Provenance(name="mine", licence="MIT").to_metadata()["theory"]
        'unknown'
    """

    name: str = "unknown"
    training_data: str = "unknown"
    theory: str = "unknown"
    licence: str = "unknown"
    citation: str = "unknown"
    source: str = "unknown"
    extra: Mapping[str, str] = field(default_factory=dict)

    def to_metadata(self) -> dict[str, str]:
        """Return all fields and the extra ones as one flat mapping, in a fixed order."""
        named = {name: getattr(self, name) for name in _PROVENANCE}
        return {**named, **dict(sorted(self.extra.items()))}


_PROVENANCE = tuple(item.name for item in fields(Provenance) if item.name != "extra")
_OWN = ("format", "format_version", "spec", "checksum")


@dataclass(frozen=True)
class Weights:
    """A model that was read from a file.

    Attributes:
        spec: Its specification.
        parameters: One array for each entry of the manifest, by name, float32 or float64.
        provenance: Where it comes from.
        digest: SHA-256 of the file, or None for a model that was never in one.

    Example:
        >>> from nequix import load_weights
        >>> weights = load_weights("nequix-nano")
        >>> weights.parameters["atom_energies"].shape == (weights.spec.n_species,)
        True
    """

    spec: ModelSpec
    parameters: dict[str, Float[np.ndarray, ...]]
    provenance: Provenance
    digest: str | None = None


def read_weights(path: str | os.PathLike[str]) -> Weights:
    """Read and verify a weight file.

    Sizes in the file are compared with the file size before anything is allocated.

    Args:
        path: A ``.safetensors`` file that nequix wrote.

    Raises:
        WeightsError: If the file is missing, damaged, hostile, of a newer format or of another program,
            or if its tensors are not those of its specification, finite, and of the recorded checksum.

    Example:
        >>> from nequix import WeightsError, read_weights
        >>> try:
        ...     read_weights("absent.safetensors")
        ... except WeightsError as error:
        ...     print("absent.safetensors" in str(error))
        True
    """
    where = os.fspath(path)
    if os.path.isdir(path):
        raise WeightsError(describe_folder(where))
    with open_regular(path) as handle:
        size = os.fstat(handle.fileno()).st_size
        raw = read_header(handle, size, where)
        entries, metadata, spec = weight_checks.parse_header(raw[8:], where)
        provenance = _provenance(metadata, where)
        tensors = weight_checks.check_tensors(entries, spec, size - len(raw), where)
        data = read_exactly(handle, size - len(raw), where, "the tensors' part")
    chunks = (data[tensor.begin : tensor.end] for tensor in tensors.values())
    if metadata["checksum"] != weight_checks.checksum(metadata["spec"], chunks):
        raise WeightsError(f"{where}: the checksum does not fit spec and tensors; {weight_checks.AGAIN}")
    try:
        loaded = safetensors.numpy.load(raw + data)
    except safetensors.SafetensorError as error:
        raise WeightsError(
            f"{where}: rejected by the safetensors library ({error}); {weight_checks.AGAIN}"
        ) from None
    parameters = {name: np.array(loaded[name]) for name in tensors}  # copies, so that they can be written to
    weight_checks.check_finite(parameters, where)
    return Weights(spec, parameters, provenance, hashlib.sha256(raw + data).hexdigest())


def _provenance(metadata: Mapping[str, str], where: str) -> Provenance:
    missing = [name for name in _PROVENANCE if name not in metadata]
    if missing:
        raise WeightsError(f"{where}: metadata {missing} is missing; {weight_checks.AGAIN}")
    extra = {key: value for key, value in metadata.items() if key not in (*_OWN, *_PROVENANCE)}
    return Provenance(**{name: metadata[name] for name in _PROVENANCE}, extra=extra)


def write_weights(
    path: str | os.PathLike[str],
    spec: ModelSpec,
    parameters: Mapping[str, Float[np.ndarray, ...]],
    provenance: Provenance,
) -> None:
    """Write a weight file atomically; equal input gives equal bytes.

    Args:
        path: The file to create or replace.
        spec: The specification.
        parameters: One array for each entry of the manifest, all float32 or all float64.
        provenance: Origin of the model.

    Raises:
        WeightsError: If the parameters are not those of the specification, not finite or of mixed dtype,
            if the metadata is not text, or if the file cannot be written.

    Example:
        >>> import tempfile
        >>> from nequix import load_weights, read_weights, write_weights
        >>> weights = load_weights("nequix-nano")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = f"{folder}/copy.safetensors"
        ...     write_weights(path, weights.spec, weights.parameters, weights.provenance)
        ...     read_weights(path).spec == weights.spec
        True
    """
    where = os.fspath(path)
    arrays = _checked(spec, parameters, where)
    chunks = [array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes() for array in arrays.values()]
    text = spec.to_json()
    own = ("nequix", str(weight_checks.WEIGHT_FILE.version), text, weight_checks.checksum(text, chunks))
    metadata = {**dict(zip(_OWN, own, strict=True)), **provenance.to_metadata()}
    if {*_OWN, *_PROVENANCE} & set(provenance.extra):
        raise WeightsError(f"{where}: the extra metadata have names of the format's own fields; rename them")
    raw = layout_header(arrays, metadata, weight_checks.DTYPES, where)
    weight_checks.parse_header(raw, where)
    if len(raw) > MAX_HEADER_BYTES:
        raise WeightsError(f"{where}: {len(raw)} bytes of metadata, at most {MAX_HEADER_BYTES}; shorten them")
    write_atomic(path, [len(raw).to_bytes(8, "little"), raw, *chunks])


def _checked(
    spec: ModelSpec, parameters: Mapping[str, Float[np.ndarray, ...]], where: str
) -> dict[str, Float[np.ndarray, ...]]:
    """Check parameters against the specification and put them into the manifest's order."""
    expected = manifest(spec)
    weight_checks.check_names(parameters, expected, where)
    arrays = {parameter.name: np.asarray(parameters[parameter.name]) for parameter in expected}
    for parameter in expected:
        shape = arrays[parameter.name].shape
        if shape != parameter.shape:
            raise WeightsError(
                f"{where}: tensor {parameter.name!r} has shape {list(shape)}, expected "
                f"{list(parameter.shape)} by the specification; transpose or reshape it"
            )
    dtypes = {array.dtype for array in arrays.values()}
    if len(dtypes) > 1 or not dtypes <= set(weight_checks.DTYPES):
        names = ", ".join(sorted(map(str, dtypes)))
        raise WeightsError(f"{where}: tensors of dtype {names}; convert all to float32 or all to float64")
    weight_checks.check_finite(arrays, where)
    return arrays
