"""Runs that are killed or stopped resume bit for bit."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nequix.core.errors import DataError, WeightsError
from nequix.train.checkpoint import load_checkpoint, save_checkpoint
from tests.train.emt import write_config

DRIVER = """
import os, signal, sys
from pathlib import Path
from nequix.train.config import read_config
from nequix.train.opening import open_run

def report(step, n_steps, values):
    if step == int(sys.argv[3]):
        os.kill(os.getpid(), int(sys.argv[4]))

sys.exit(0 if open_run(read_config(sys.argv[1]), Path(sys.argv[2])).train(report) else 3)
"""


def run(config: Path, folder: Path, at: int = -1, number: int = 0) -> int:
    return subprocess.run(
        [sys.executable, "-c", DRIVER, str(config), str(folder), str(at), str(number)],
        timeout=300,
        check=False,
    ).returncode


def test_a_killed_or_stopped_run_resumes_bit_for_bit(tmp_path):
    config = write_config(tmp_path)
    assert run(config, tmp_path / "whole") == 0
    parts = tmp_path / "parts"
    assert run(config, parts, 7, signal.SIGKILL) == -signal.SIGKILL
    assert [path.stem for path in (parts / "checkpoints").iterdir()] == ["step-000000005"]
    assert run(config, parts, 8, signal.SIGTERM) == 3
    assert (parts / "checkpoints" / "step-000000008.safetensors").exists()
    assert not (parts / "model.safetensors").exists()
    assert run(config, parts) == 0
    for name in ("model.safetensors", "best.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (parts / name).read_bytes()
    last = sorted(path.name for path in (parts / "checkpoints").iterdir())
    assert len(last) == 2
    for name in last[1:]:
        whole = tmp_path / "whole" / "checkpoints" / name
        assert whole.read_bytes() == (parts / "checkpoints" / name).read_bytes()
    steps = [line.split(",")[0] for line in (parts / "history.csv").read_text().splitlines()]
    assert steps == [
        line.split(",")[0] for line in (tmp_path / "whole" / "history.csv").read_text().splitlines()
    ]


@pytest.fixture
def state():
    import jax.numpy as jnp

    return {"a": jnp.arange(6.0).reshape(2, 3), "step": jnp.int32(3)}


def test_checkpoint_comes_back_as_it_was(tmp_path, state):
    path = tmp_path / "one.safetensors"
    save_checkpoint(path, state, {"loader": {"position": 3}})
    again, rest = load_checkpoint(path, state)
    assert (again["a"] == state["a"]).all()
    assert again["step"] == 3
    assert rest == {"loader": {"position": 3}}


@pytest.mark.parametrize("where", [0, 9, 100, -1])
def test_a_damaged_checkpoint_is_refused(tmp_path, state, where):
    path = tmp_path / "one.safetensors"
    save_checkpoint(path, state, {})
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"use another one|use that of the run"):
        load_checkpoint(path, state)


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path, state):
    path = tmp_path / "one.safetensors"
    save_checkpoint(path, state, {})
    with pytest.raises(DataError, match=r"\['b'\].*not in both"):
        load_checkpoint(path, {**state, "b": state["a"]})
    with pytest.raises(DataError, match=r"\['a'\] is float32\[2, 3\], this configuration has"):
        load_checkpoint(path, {**state, "a": state["a"].T})


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path, state, monkeypatch):
    path = tmp_path / "one.safetensors"
    save_checkpoint(path, state, {"n": 1})

    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WeightsError, match="No space left"):
        save_checkpoint(path, state, {"n": 2})
    assert load_checkpoint(path, state)[1] == {"n": 1}
    assert list(tmp_path.iterdir()) == [path]
