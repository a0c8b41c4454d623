"""Inputs of commands, checked before a model is loaded, which takes seconds or a download."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from nequix.core.errors import DataError
from nequix.core.suggest import did_you_mean


def require_files(*groups: Iterable[Path | str] | None) -> None:
    """Refuse files and folders that are not there.

    Args:
        groups: Paths; None for an option that is not given.

    Raises:
        DataError: For the first path without a file or folder, suggesting one of a similar name beside it.
    """
    for path in (Path(path) for group in groups for path in group or ()):
        if not path.exists():
            folder = path.parent
            beside = [other.name for other in folder.iterdir()] if folder.is_dir() else []
            raise DataError(
                f"{path}: no such file or folder; check the path{did_you_mean(path.name, beside)}"
            )
