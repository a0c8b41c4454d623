"""Locks between processes."""

import subprocess
import sys

import pytest

from nequix.io.locks import LOCK, Busy, NoLocks, is_locked, lock

HOLD = """
import sys
from nequix.io.locks import lock
with lock(sys.argv[1]):
    print("locked", flush=True)
    input()
"""


def test_another_process_is_kept_away_until_it_ends(tmp_path):
    path = tmp_path / LOCK
    assert not is_locked(path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "locked\n"
        assert is_locked(path)
        with pytest.raises(Busy), lock(path):
            pass
        other.kill()
    assert not is_locked(path)
    with lock(path, timeout=1):
        pass


def test_a_place_that_cannot_be_locked_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NoLocks), lock(tmp_path / "file" / LOCK):
        pass
    with pytest.raises(OSError, match="planted"), lock(tmp_path / LOCK):
        raise OSError("planted")  # of the work, not of the lock
