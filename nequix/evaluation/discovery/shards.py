"""Parts of a run for machines that share nothing, and their folders put together."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nequix.core.errors import DataError
from nequix.evaluation.run_directory import RUN, RunDirectory


def take_shard(items: Sequence[str], shard: str | None) -> list[str]:
    """Return the items of one part; the parts share none and leave none out.

    Args:
        items: All of them.
        shard: ``I/N``, the I-th of N parts counted from 1; all without it.

    Raises:
        DataError: If it is something else.
    """
    if shard is None:
        return list(items)
    found = re.fullmatch(r"(\d+)/(\d+)", shard)
    index, count = map(int, found.groups()) if found else (0, 0)
    if not 1 <= index <= count:
        raise DataError(f"--shard {shard}: expected I/N with I from 1 to N, such as 2/8")
    return list(items[index - 1 :: count])


@contextlib.contextmanager
def open_shards(folders: Sequence[Path], identity: dict[str, Any]) -> Iterator[list[RunDirectory]]:
    """Open the folders of other parts of the same run, which nothing may be writing to.

    Args:
        folders: The folders.
        identity: What the run is a run of.

    Raises:
        DataError: If one holds no run, or a run of something else.
    """
    with contextlib.ExitStack() as stack:
        stores = []
        for folder in folders:
            if not (folder / RUN).is_file():
                raise DataError(f"--join {folder}: contains no run; give the folder of a part")
            stores.append(RunDirectory(folder))
            stack.enter_context(stores[-1].begin(identity))
        yield stores
