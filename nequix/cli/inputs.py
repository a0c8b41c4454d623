"""Checks of command inputs before a model is loaded, which takes seconds or a download."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from nequix.core.errors import DataError
from nequix.core.suggest import did_you_mean


def require_files(*groups: Iterable[Path | str] | None) -> None:
    """Reject missing files and folders.

    Args:
        groups: Paths; None for an option that is not set.

    Raises:
        DataError: For the first missing path, with a suggestion of a similar name in the same folder.
    """
    for path in (Path(path) for group in groups for path in group or ()):
        if not path.exists():
            folder = path.parent
            beside = [other.name for other in folder.iterdir()] if folder.is_dir() else []
            raise DataError(
                f"{path}: no such file or folder; check the path{did_you_mean(path.name, beside)}"
            )
