import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ase import Atoms

from nequix.cli.frames import write_frames
from nequix.io import files
from nequix.io.files import write_atomic

ROOT = Path(__file__).parents[2]
KILLED = """
import os, signal, sys
from nequix.io.files import write_atomic

def chunks():
    yield b"half"
    if sys.argv[2] == "wait":
        print("writing", flush=True)
        sys.stdin.read()
    else:
        os.kill(os.getpid(), signal.SIGKILL)

write_atomic(sys.argv[1], chunks())
"""


def temporaries(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".nequix-")]


@pytest.fixture(autouse=True)
def _new_process(monkeypatch):
    monkeypatch.setattr(files, "_cleared", set())


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path):
    target = tmp_path / "a.json"
    done = subprocess.run([sys.executable, "-c", KILLED, str(target), "die"], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(temporaries(tmp_path)) == 1
    write_atomic(tmp_path / "b.json", [b"whole"])
    assert temporaries(tmp_path) == []
    assert not target.exists()


def test_the_file_of_a_writer_that_lives_stays(tmp_path):
    target = tmp_path / "a.json"
    command = [sys.executable, "-c", KILLED, str(target), "wait"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"writing\n"
        write_atomic(tmp_path / "b.json", [b"whole"])
        assert len(temporaries(tmp_path)) == 1
        other.communicate(b"continue", timeout=30)
    assert target.read_bytes() == b"half"
    assert temporaries(tmp_path) == []


def test_structures_are_written_the_same_way(tmp_path):
    (tmp_path / ".nequix-0123456789abcdef.tmp.extxyz").write_text("left by a killed process")
    write_frames(tmp_path / "a.extxyz", [Atoms("H")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.extxyz"]


def test_an_error_while_writing_leaves_nothing(tmp_path):
    def chunks():
        yield b"half"
        raise ValueError("of the caller")

    with pytest.raises(ValueError, match="of the caller"):
        write_atomic(tmp_path / "a.json", chunks())
    assert os.listdir(tmp_path) == []
