"""Opening data sets by the kind of their files, and reading their structures."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from nequix.core.errors import DataError
from nequix.data.ase_source import AseSource
from nequix.data.databases import DatabaseSource
from nequix.data.extxyz import XyzSource, ZipSource
from nequix.data.label_keys import LabelKeys
from nequix.data.manifest import check_complete
from nequix.data.mptrj import MPtrjSource, is_ase_json
from nequix.data.sources import DATABASES, MPTRJ_JSON, XYZ, ZIP, Joined, Source
from nequix.data.structure import Structure
from nequix.io.limits import check_regular


def open_source(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], keys: LabelKeys | None = None
) -> Source:
    """Open a data set (docs/data.md, sources); nothing is read before it is asked for.

    Args:
        paths: A file or a folder, or several, which are joined: extended XYZ, compressed or not; a ``.zip``
            of extended XYZ files; ASE databases (``.db``, ``.aselmdb``); MPtrj's ``.json``; any other format
            that ASE reads, such as ``vasprun.xml``, ``OUTCAR`` and ``.traj``; a folder of extended XYZ files,
            archives or databases.
        keys: Where the labels are; the usual keys by default.

    Raises:
        DataError: If there is no such file, or none of a known kind, or a folder has files of several kinds.
    """
    keys = keys or LabelKeys()
    if isinstance(paths, (str, os.PathLike)):
        return _open(Path(paths), keys)
    if not paths:
        raise DataError("no data: give at least one file or folder")
    opened = [_open(Path(path), keys) for path in paths]
    return opened[0] if len(opened) == 1 else Joined(opened, ", ".join(source.path for source in opened))


def read_structures(
    paths: Iterable[Path], progress: Callable[[], None] = lambda: None, keys: LabelKeys | None = None
) -> Iterator[Structure]:
    """Read structures with the labels that they have, from everything that is a source (docs/data.md).

    Args:
        paths: Files or folders.
        progress: Called after each structure.
        keys: Where the labels are; the usual keys by default.

    Raises:
        DataError: If a file is missing or cannot be read, naming the frame.
    """
    for path in paths:
        empty = True
        for structure in open_source(path, keys):
            yield structure
            progress()
            empty = False
        if empty:
            raise DataError(f"{path}: contains no structure; is the file complete?")


def _open(path: Path, keys: LabelKeys) -> Source:
    if path.is_dir():
        return _open_folder(path, keys)
    check_regular(path)
    name = path.name.lower()
    for endings, kind in ((XYZ, XyzSource), (ZIP, ZipSource), (DATABASES, DatabaseSource)):
        if name.endswith(endings):
            return kind(path, keys)
    return (
        MPtrjSource(path, keys)
        if name.endswith(MPTRJ_JSON) and not is_ase_json(path)
        else AseSource(path, keys)
    )


def _open_folder(folder: Path, keys: LabelKeys) -> Source:
    check_complete(folder)
    visible = sorted(filter(_visible, folder.iterdir()), key=_by_number)
    kinds = [[file for file in visible if file.name.lower().endswith(kind)] for kind in (DATABASES, XYZ, ZIP)]
    kinds = [files for files in kinds if files]
    if not kinds:
        raise DataError(
            f"{folder}: a folder without {', '.join(DATABASES + XYZ + ZIP)} files; check the path"
        )
    if len(kinds) > 1:
        listed = " and ".join(f"{len(files)} like {files[0].name}" for files in kinds)
        raise DataError(
            f"{folder}: contains files of several kinds ({listed}), expected one; give the "
            "intended files instead of the folder, or move the others out of it"
        )
    return Joined([_open(file, keys) for file in kinds[0]], str(folder))


def _visible(file: Path) -> bool:
    return file.is_file() and not file.name.startswith(".")


def _by_number(file: Path) -> list[tuple[int, str]]:
    """Sort part2 before part10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", file.name)]
