"""Fixtures that many tests share."""

import os
from pathlib import Path

import pytest

from nequix.core.registry import ENTRIES


@pytest.fixture(scope="session")
def published_folder() -> Path:
    """The folder of the published files, which NEQUIX_MIRROR names; where CI runs it must be there."""
    mirror = os.environ.get("NEQUIX_MIRROR", "")
    missing = [
        entry.file for entry in ENTRIES.values() if not mirror or not (Path(mirror) / entry.file).is_file()
    ]
    if missing:
        reason = f"NEQUIX_MIRROR = {mirror!r} is no folder with {', '.join(missing)}"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return Path(mirror)
