"""Checks of the content of weight files, shared by reader and writer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nequix.core.errors import WeightsError
from nequix.core.migrations import Format, NewerVersion
from nequix.core.parameters import Parameter, manifest
from nequix.core.spec import ModelSpec
from nequix.io import strict_json
from nequix.io.header import Tensor, parse_tensor, shorten
from nequix.io.run_files import describe_checkpoint, is_checkpoint

if TYPE_CHECKING:
    from jaxtyping import Float

WEIGHT_FILE = Format("weight file")
"""Versions of the file's metadata and of its tensor layout."""

MAX_BYTES = 1 << 30
"""Larger models are rejected; the published shape has 2.8 MB."""

DTYPES: dict[np.dtype[Any], str] = {np.dtype(np.float32): "F32", np.dtype(np.float64): "F64"}
"""The allowed dtypes, and safetensors' names for them."""

AGAIN = "the file is damaged or was edited; fetch, convert or write it again"
"""Advice for a damaged file."""

NOT_OURS = "another program made it; convert a published .nqx file with `nequix convert`"
"""Advice for a file of another program."""


def parse_spec(values: str | Mapping[str, Any], where: str) -> ModelSpec:
    """Build the specification in a file.

    Args:
        values: Its JSON text, or the fields by name.
        where: The file's name, for the message.

    Raises:
        WeightsError: If it is not JSON, lacks a field or has a bad value.
    """
    try:
        if isinstance(values, str):
            return ModelSpec.from_dict(strict_json.parse_object(values))
        return ModelSpec(**values)
    except (ValueError, OverflowError) as error:  # OverflowError: an integer that no float can hold
        if isinstance(error.__cause__, NewerVersion):
            raise WeightsError(f"{where}: {error}") from None
        raise WeightsError(f"{where}: spec: {shorten(error)}; {AGAIN}") from None


def parse_header(raw: bytes, where: str) -> tuple[dict[str, Any], dict[str, str], ModelSpec]:
    """Check a header as far as possible without the tensors.

    Args:
        raw: The header's JSON.
        where: The file's name, for the messages.

    Returns:
        The tensors' entries by name, unchecked; the metadata; the specification.

    Raises:
        WeightsError: If the header is not JSON, of another program or of a newer format.
    """
    try:
        entries = strict_json.parse_object(raw)
    except ValueError as error:
        raise WeightsError(f"{where}: the header cannot be read ({shorten(error)}); {AGAIN}") from None
    metadata = entries.pop("__metadata__", None)
    if is_checkpoint(metadata):
        raise WeightsError(describe_checkpoint(where))
    if not isinstance(metadata, dict) or metadata.get("format") != "nequix":
        raise WeightsError(
            f"{where}: not a nequix weight file (its metadata lacks format = 'nequix'); {NOT_OURS}"
        )
    wrong = [key for key, value in metadata.items() if not isinstance(value, str)]
    if wrong:
        raise WeightsError(f"{where}: metadata {shorten(wrong[0], 80)!r} is not text; {AGAIN}")
    try:
        metadata = WEIGHT_FILE.upgrade(metadata, metadata.get("format_version"))
    except NewerVersion as error:
        raise WeightsError(f"{where}: {error}") from None
    except ValueError as error:
        raise WeightsError(f"{where}: {error}; {AGAIN}") from None
    for key in ("spec", "checksum"):
        if key not in metadata:
            raise WeightsError(f"{where}: metadata {key!r} is missing; {AGAIN}")
    return entries, metadata, parse_spec(metadata["spec"], where)


def check_names(names: Iterable[str], expected: Sequence[Parameter], where: str) -> None:
    """Require the tensors of the manifest, all of them and no others.

    Args:
        names: The tensors in the file.
        expected: The manifest.
        where: The file's name, for the message.

    Raises:
        WeightsError: Naming the first tensors that are missing or that do not belong there.
    """
    given, wanted = set(names), {parameter.name for parameter in expected}
    for kind, found in (("missing", wanted - given), ("not part of the model", given - wanted)):
        if found:
            first = ", ".join(repr(shorten(name, 80)) for name in sorted(found)[:3])
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            raise WeightsError(
                f"{where}: {len(given)} tensors, expected {len(wanted)}: {first}{more} {kind}; the tensors "
                "must be those that nequix.core.parameters.manifest(spec) lists"
            )


def check_tensors(entries: Mapping[str, Any], spec: ModelSpec, n_bytes: int, where: str) -> dict[str, Tensor]:
    """Check every tensor's entry against the specification and the size of the file.

    Args:
        entries: The header's entries by name.
        spec: The specification.
        n_bytes: Bytes of the file after the header.
        where: The file's name, for the messages.

    Returns:
        The tensors in the manifest's order.

    Raises:
        WeightsError: For a missing, additional, misplaced or overlapping tensor, a wrong shape or dtype.
    """
    expected = manifest(spec)
    check_names(entries, expected, where)
    tensors: dict[str, Tensor] = {}
    for parameter in expected:
        try:
            tensor = parse_tensor(entries[parameter.name])
        except ValueError as error:
            raise WeightsError(f"{where}: tensor {parameter.name!r}: {error}; {AGAIN}") from None
        if tensor.shape != parameter.shape:
            raise WeightsError(
                f"{where}: tensor {parameter.name!r} has shape {list(tensor.shape)}, expected "
                f"{list(parameter.shape)} by the specification; {AGAIN}"
            )
        tensors[parameter.name] = tensor
    dtypes = sorted({tensor.dtype for tensor in tensors.values()})
    if len(dtypes) > 1:
        raise WeightsError(f"{where}: tensors of {' and '.join(dtypes)}; write all of them in one dtype")
    _check_layout(tensors, n_bytes, where)
    return tensors


def _check_layout(tensors: Mapping[str, Tensor], n_bytes: int, where: str) -> None:
    """Require that the tensors fill the bytes after the header, side by side."""
    total = sum(tensor.end - tensor.begin for tensor in tensors.values())
    if total != n_bytes or total > MAX_BYTES:
        raise WeightsError(
            f"{where}: {n_bytes} bytes after the header, expected {total} (and at most {MAX_BYTES}): the "
            "file is truncated, or has more behind it; fetch, convert or write it again"
        )
    begin = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].begin):
        if tensor.begin != begin:
            raise WeightsError(
                f"{where}: tensor {name!r} begins at byte {tensor.begin}, expected {begin}: there is a gap "
                f"or an overlap; {AGAIN}"
            )
        begin = tensor.end


def check_finite(arrays: Mapping[str, Float[np.ndarray, ...]], where: str) -> None:
    """Reject NaN and infinity.

    Args:
        arrays: The parameters by name.
        where: The file's name, for the message.

    Raises:
        WeightsError: Naming the first tensor with one.
    """
    for name, array in arrays.items():
        n_bad = array.size - int(np.count_nonzero(np.isfinite(array)))
        if n_bad:
            raise WeightsError(
                f"{where}: tensor {name!r}: {n_bad} of {array.size} values are NaN or infinite; the training "
                "diverged or the file is damaged: use an earlier checkpoint or fetch it again"
            )


def checksum(spec: str, chunks: Iterable[bytes]) -> str:
    """Return the checksum of a model: SHA-256 over the specification and the tensors.

    Args:
        spec: The specification as the file has it.
        chunks: The tensors' bytes, in the manifest's order.
    """
    digest = hashlib.sha256(spec.encode("utf-8", "surrogatepass"))
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()
