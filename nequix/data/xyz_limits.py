"""What a frame of extended XYZ must not claim before ASE's reader allocates it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nequix.core.errors import DataError

_PROPERTIES = re.compile(r'(?i)properties\s*=\s*"?([^\s"]+)')
_MAX_COLUMNS = 1000  # of a frame without atoms


def check_frame(lines: Sequence[str], where: str) -> None:
    """Reject a frame whose comment line claims more columns than its atoms have.

    Args:
        lines: The frame's count, comment line and atoms.
        where: What messages call the frame.

    Raises:
        DataError: If ``Properties`` cannot be read, or claims more columns than the first atom has.
    """
    match = _PROPERTIES.search(lines[1]) if len(lines) > 1 else None
    if match is None:
        return
    counts = match.group(1).split(":")[2::3]
    if not all(count.isascii() and count.isdecimal() and 0 < len(count) < 20 for count in counts):
        raise DataError(f"{where}: Properties={match.group(1)[:80]} cannot be read; give name:type:columns")
    n_fields = len(lines[2].split()) if len(lines) > 2 else _MAX_COLUMNS
    n_columns = sum(map(int, counts))
    if n_columns > n_fields:
        raise DataError(
            f"{where}: Properties claims {n_columns} columns, but the first atom has {n_fields}; correct "
            "the file"
        )
