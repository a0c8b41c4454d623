"""Conversion of any source to a folder of ``.aselmdb`` shards, resumable after an interruption."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from nequix.core.errors import DataError, FileError, WeightsError
from nequix.data.databases import DatabaseSource, connect
from nequix.data.label_keys import LabelKeys
from nequix.data.label_table import LABELS
from nequix.data.labels import count_labels, refuse_unfound
from nequix.data.manifest import FORMAT, MANIFEST, SHARD, lost_shards, read_manifest
from nequix.data.opening import open_source
from nequix.data.sources import Source
from nequix.data.structure import Structure, refuse_not_finite, to_atoms
from nequix.io.files import TEMPORARY, write_atomic
from nequix.io.locks import LOCK, Busy, NoLocks, lock


def convert(
    paths: Sequence[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    *,
    keys: LabelKeys | None = None,
    shard_size: int = 10_000,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Convert sources to a folder of ``.aselmdb`` files with equal numbers of structures.

    A shard appears under its name when it is complete. If the process ends early for any reason, calling
    this again with the same arguments resumes with the first missing shard. Lost shards are rewritten in the
    same way.

    Args:
        paths: The sources, as :func:`nequix.data.opening.open_source` takes them.
        folder: Created if missing; otherwise empty or from the same conversion.
        keys: Where the labels are; the usual keys by default.
        shard_size: Number of structures per shard.
        progress: Called with the number of structures that are done since.

    Returns:
        The number of structures in the folder.

    Raises:
        DataError: If the folder holds other data, a source was written again since, another process converts
            into it, a structure cannot be read, the only key of a label is in none of the first shard's
            structures, or the disk is full.
    """
    keys, folder = keys or LabelKeys(), Path(folder)
    if shard_size < 1:
        raise DataError(f"shard_size = {shard_size}, expected at least one structure")
    source = open_source(paths, keys)
    files = _files(paths)
    plan = {
        "version": FORMAT.version,
        "sources": [[file.name, file.stat().st_size] for file in files],
        "times": [file.stat().st_mtime_ns for file in files],
        "keys": asdict(keys),
        "shard_size": shard_size,
    }
    plan = json.loads(json.dumps(plan))  # tuples become lists, as in the file that it is compared with
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with lock(folder / LOCK):
            try:
                return _convert(source, folder, plan, progress or (lambda _: None))
            except DataError:
                if new and not _count_shards(folder):  # leave nothing of a conversion that was refused
                    shutil.rmtree(folder, ignore_errors=True)
                raise
    except Busy:
        raise DataError(f"{folder}: another process converts into this folder; wait for its end") from None
    except (OSError, NoLocks, WeightsError) as error:
        raise FileError(
            f"{folder}: cannot be written ({error}); free disk space or choose another folder"
        ) from error


def _convert(source: Source, folder: Path, plan: Mapping[str, Any], progress: Callable[[int], None]) -> int:
    """Write the shards that are missing."""
    kept, shard_size = _prepare(folder, plan), int(plan["shard_size"])
    if kept.get("complete"):
        _restore(source, folder, kept, progress)
        return int(kept["n_structures"])
    n_shards = _count_shards(folder)
    if n_shards:
        progress(n_shards * shard_size)
    labels = [*kept.get("labels", [])[:n_shards]]
    for number in range(len(labels), n_shards):  # killed before it was noted
        labels.append(count_labels(DatabaseSource(folder / SHARD.format(number), LabelKeys())))
    structures = source.read(n_shards * shard_size)
    while shard := list(islice(structures, shard_size)):
        labels.append(count_labels(shard))
        if not n_shards:
            _refuse_unfound(folder, source, _label_keys(plan), shard, labels[0])
        _write_shard(folder / SHARD.format(n_shards), shard)
        n_shards += 1
        _note(folder, {**plan, "labels": labels})
        progress(len(shard))
    return _finish(folder, {**plan, "labels": labels}, n_shards)


def _refuse_unfound(
    folder: Path, source: Source, keys: LabelKeys, shard: Sequence[Structure], counts: Mapping[str, int]
) -> None:
    """Reject a key that was named and occurs nowhere, before anything is written."""
    try:
        refuse_unfound(source.path, keys, counts, len(shard), shard[0])
    except DataError:
        (folder / MANIFEST).unlink()  # so that the folder takes a conversion with other keys
        raise


def _label_keys(plan: Mapping[str, Any]) -> LabelKeys:
    return LabelKeys(**{label: tuple(keys) for label, keys in plan["keys"].items()})


def _restore(source: Source, folder: Path, kept: Mapping[str, Any], progress: Callable[[int], None]) -> None:
    """Write again what a finished conversion has lost."""
    for number in lost_shards(folder, kept):
        n, path = int(kept["shards"][number]), folder / SHARD.format(number)
        shard = list(islice(source.read(number * int(kept["shard_size"])), n))
        if len(shard) != n:
            raise DataError(
                f"{path}: {len(shard)} structures are left for it in {source.path}, expected {n}; convert "
                "again into another folder"
            )
        _write_shard(path, shard)
        progress(n)


def converted_labels(folder: str | os.PathLike[str]) -> dict[str, int]:
    """Count the structures of a converted folder that have an energy, forces and a stress.

    Args:
        folder: A finished conversion; one of an older version has no counts.
    """
    manifest = read_manifest(Path(folder)) or {}
    shards = manifest.get("labels", [])
    return {label: sum(shard[label] for shard in shards) for label in LABELS} if shards else {}


def _files(paths: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """List the files of the sources; their sizes and times show whether a conversion is of the same data.

    Folders within a folder are not data, and one may be that of the conversion. Databases' locks come and go.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        files += sorted(filter(Path.is_file, path.iterdir())) if path.is_dir() else [path]
    return [file for file in files if not file.name.startswith(".") and not file.name.endswith("-lock")]


def _prepare(folder: Path, plan: Mapping[str, Any]) -> Mapping[str, Any]:
    """Clear up after a killed conversion of the same plan, or begin a new one; return its manifest."""
    manifest = read_manifest(folder)
    if manifest is None:
        if any(not file.name.startswith(".") for file in folder.iterdir()):
            raise DataError(f"{folder}: is not empty; choose another folder")
        _note(folder, plan)
        return plan
    # Those of older versions have no times.
    changed = [key for key, value in plan.items() if manifest.get(key, value) != value]
    if changed == ["times"]:
        pairs = zip(plan["sources"], plan["times"], manifest["times"], strict=True)
        names = ", ".join(source[0] for source, now, then in pairs if now != then)
        raise DataError(
            f"{folder}: {names} was written again since the conversion into it began, and may hold other "
            "labels; choose another folder, or give the file its old time back if nothing in it changed"
        )
    if changed:
        raise DataError(
            f"{folder}: contains a conversion with other {', '.join(changed)}; give the same arguments as "
            "before, or another folder"
        )
    for stale in folder.glob(f"{TEMPORARY}*"):
        stale.unlink()
    return manifest


def _count_shards(folder: Path) -> int:
    count = 0
    while (folder / SHARD.format(count)).exists():
        count += 1
    return count


def _write_shard(path: Path, shard: Sequence[Structure]) -> None:
    """Write a shard beside its place, flush it to the disk and move it there."""
    temporary = path.with_name(TEMPORARY.replace("*", secrets.token_hex(8)))
    lock = Path(f"{temporary}-lock")
    for structure in shard:
        refuse_not_finite(structure)
    try:
        database = connect(temporary, readonly=False)
        try:
            with database:
                for structure in shard:
                    atoms = to_atoms(structure)
                    database.write(atoms, data=dict(atoms.info))
        except OSError:
            raise
        except Exception as error:  # LMDB's errors are not OSErrors, whatever their cause
            raise FileError(f"{path}: cannot be written ({error}); free disk space") from error
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
        lock.unlink(missing_ok=True)


def _finish(folder: Path, plan: Mapping[str, Any], n_shards: int) -> int:
    if not n_shards:
        (folder / MANIFEST).unlink(missing_ok=True)
        raise DataError(f"{folder}: there is no structure to convert; is the source complete?")
    counts = list(_counts(folder, n_shards))
    done = {**plan, "complete": True, "n_structures": sum(counts), "shards": counts}
    _note(folder, done)
    return sum(counts)


def _note(folder: Path, manifest: Mapping[str, Any]) -> None:
    write_atomic(folder / MANIFEST, [json.dumps(manifest, indent=2).encode()])


def _counts(folder: Path, n_shards: int) -> Iterator[int]:
    for shard in range(n_shards):
        yield len(DatabaseSource(folder / SHARD.format(shard), LabelKeys()))
