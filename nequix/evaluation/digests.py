"""Identification of the data that a run has read, independent of their location."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from nequix.core.errors import DataError
from nequix.io.files import digest_file


def describe_paths(paths: Iterable[str | Path]) -> dict[str, str]:
    """Identify files and folders by digests of their content.

    Args:
        paths: Files and folders.

    Returns:
        Digests by file name; repeated names are numbered: ``NAME #2``, and so on.

    Raises:
        DataError: If a path does not exist.
    """
    digests: dict[str, str] = {}
    seen: Counter[str] = Counter()
    for path in map(Path, paths):
        seen[path.name] += 1
        name = path.name if seen[path.name] == 1 else f"{path.name} #{seen[path.name]}"
        digests[name] = digest_path(path)
    return digests


def digest_path(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, or of the names and digests of the files in a folder.

    Hidden files and subfolders do not count: sources do not read them.

    Args:
        path: A file or folder.

    Raises:
        DataError: If a path does not exist.
    """
    if path.is_file():
        return digest_file(path)
    if not path.is_dir():
        raise DataError(f"{path}: no such file or folder; check the path")
    # Databases have lock files beside them, which readers create and change.
    listing = [
        (file.name, digest_file(file))
        for file in sorted(path.iterdir())
        if file.is_file() and not file.name.startswith(".") and not file.name.endswith("-lock")
    ]
    return hashlib.sha256(repr(listing).encode()).hexdigest()
