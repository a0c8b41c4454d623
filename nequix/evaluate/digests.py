"""Which data a run has read, without saying where they lay."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from nequix.core.errors import DataError
from nequix.core.files import digest_file


def describe_paths(paths: Iterable[str | Path]) -> dict[str, str]:
    """Tell files by the SHA-256 of their bytes, folders by that of the names and sizes of what they hold.

    Args:
        paths: Files and folders.

    Returns:
        A digest for each name, which is a path's last part.

    Raises:
        DataError: If there is no such file or folder.
    """
    return {Path(path).name: _digest(Path(path)) for path in paths}


def _digest(path: Path) -> str:
    if path.is_file():
        return digest_file(path)
    if not path.is_dir():
        raise DataError(f"{path}: no such file or folder; check the path")
    listing = [(file.name, file.stat().st_size) for file in sorted(path.iterdir()) if file.is_file()]
    return hashlib.sha256(repr(listing).encode()).hexdigest()
