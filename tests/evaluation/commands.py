"""Commands run in this process, or in another one that is killed while it writes an outcome."""

import contextlib
import json
import multiprocessing
import os
import secrets
import signal
import sys
from pathlib import Path
from unittest import mock

from nequix import cli
from nequix.evaluation import run_directory
from nequix.io.files import TEMPORARY


def evaluate(*arguments) -> int:
    """Run ``nequix evaluate`` and return its exit code."""
    with mock.patch.object(sys, "argv", ["nequix", "evaluate", *map(str, arguments)]):
        try:
            cli.main()
        except SystemExit as stop:
            return int(stop.code or 0)
    return 0


def evaluate_killed(n_done: int, *arguments) -> None:
    """Run ``nequix evaluate`` in another process, which kills itself (SIGKILL) while it writes an outcome.

    Args:
        n_done: Outcomes that are written before.
        arguments: Of the command.
    """
    process = multiprocessing.get_context("spawn").Process(target=_killed, args=(n_done, arguments))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def _killed(n_done: int, arguments: tuple) -> None:
    written, whole = 0, run_directory.write_atomic

    def write(path: Path, chunks) -> None:
        nonlocal written
        chunks = list(chunks)
        if path.parent.name == run_directory.ITEMS and path.suffix == ".json":
            if written == n_done:
                half = path.with_name(TEMPORARY.replace("*", secrets.token_hex(8)))
                half.write_bytes(chunks[0][: len(chunks[0]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            written += 1
        whole(path, chunks)

    with mock.patch.object(run_directory, "write_atomic", write), contextlib.suppress(BrokenPipeError):
        evaluate(*arguments)


def results(folder: Path) -> dict:
    """Read the numbers that a finished command has left, less the times."""
    held = json.loads((folder / "results.json").read_bytes(), object_hook=_without_times)
    return held["results"]


def _without_times(values: dict) -> dict:
    return {name: value for name, value in values.items() if name != "seconds"}


def outcomes(folder: Path) -> dict[str, bytes]:
    """Read the files of the items."""
    return {path.name: path.read_bytes() for path in (folder / run_directory.ITEMS).iterdir()}
