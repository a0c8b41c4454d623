"""The manifest of a conversion: what a folder of shards holds, and whether it is complete."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nequix.core.errors import DataError
from nequix.core.migrations import Format, NewerVersion
from nequix.io import strict_json
from nequix.io.header import shorten
from nequix.io.limits import MAX_SETTINGS

MANIFEST = "nequix-data.json"
"""Name of the file that a conversion writes beside its shards (:mod:`nequix.data.convert`)."""

FORMAT = Format("conversion")
"""Versions of the manifest."""

SHARD = "data.{:05d}.aselmdb"
_NAMED = 5


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Read the manifest of a conversion; None if there is none.

    Args:
        folder: Any folder.

    Raises:
        DataError: If it is damaged, or of a newer version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        manifest = strict_json.read_object(path, MAX_SETTINGS)
        return {**FORMAT.upgrade(manifest, manifest.get("version")), "version": FORMAT.version}
    except NewerVersion as error:
        raise DataError(f"{path}: {error}, or convert again into another folder") from None
    except ValueError as error:
        raise DataError(f"{shorten(error)}; if it is damaged, convert again into another folder") from None


def check_complete(folder: Path) -> None:
    """Reject a folder whose conversion was interrupted, or which has lost a part of it.

    Args:
        folder: Any folder.

    Raises:
        DataError: If a conversion into it has begun and not ended, or shards are missing, naming them.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return
    again = "call `nequix data convert` again with the same arguments to"
    if not manifest.get("complete"):
        raise DataError(f"{folder}: its conversion was interrupted; {again} finish it")
    if lost := [SHARD.format(number) for number in lost_shards(folder, manifest)]:
        names = ", ".join(lost[:_NAMED]) + (", ..." if len(lost) > _NAMED else "")
        raise DataError(
            f"{folder}: {len(lost)} of {len(manifest['shards'])} files are missing ({names}); copy the "
            f"folder again, or {again} write them again"
        )


def lost_shards(folder: Path, manifest: Mapping[str, Any]) -> list[int]:
    """List the shards that a finished conversion wrote and that are missing.

    Args:
        folder: The folder of the conversion.
        manifest: Its manifest.
    """
    shards = range(len(manifest.get("shards", [])))
    return [number for number in shards if not (folder / SHARD.format(number)).is_file()]
