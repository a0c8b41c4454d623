"""Damaged checkpoints and full disks: nothing that was saved is lost, and runs end as if nothing had been."""

import json
import math
import os
import resource
import subprocess
import sys

import pytest
import safetensors
import safetensors.numpy

from nequix.core.errors import DataError
from nequix.train import checkpoint
from nequix.train.checkpoint import DamagedCheckpoint, load_newest, save_checkpoint
from nequix.train.config import read_config
from nequix.train.loop import MODEL
from nequix.train.opening import Opening, open_run
from tests.train.emt import write_config


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def flip(path):
    data = bytearray(path.read_bytes())
    data[-100] ^= 0x10
    path.write_bytes(data)


def empty(path):
    path.write_bytes(b"")


def zeros(path):
    """As some file systems leave a file after a power cut."""
    path.write_bytes(bytes(path.stat().st_size))


@pytest.fixture
def saved(tmp_path):
    import jax.numpy as jnp

    state = {"a": jnp.arange(1000.0), "step": jnp.int32(3)}
    paths = [tmp_path / f"step-{n}.safetensors" for n in (1, 2, 3)]
    for n, path in enumerate(paths, 1):
        save_checkpoint(path, state, {"n": n})
    return state, paths


@pytest.mark.parametrize("damage", [truncate, flip, empty, zeros])
def test_the_newest_whole_checkpoint_is_taken(saved, damage):
    state, paths = saved
    assert load_newest(paths, state)[1] == {"n": 3}
    damage(paths[2])
    with pytest.warns(
        RuntimeWarning, match=r"step-3\.safetensors.*damaged.*resuming from .*step-2"
    ) as caught:
        assert load_newest(paths, state)[1] == {"n": 2}
    assert len(caught) == 1
    damage(paths[1])
    with pytest.warns(RuntimeWarning, match="resuming from .*step-1"):
        assert load_newest(paths, state)[1] == {"n": 1}


def test_a_run_without_a_whole_checkpoint_does_not_restart_by_itself(saved):
    state, paths = saved
    for path in paths:
        truncate(path)
    with pytest.raises(
        DamagedCheckpoint, match=r"step-1.* of 3, but none is intact; delete .* to begin again"
    ):
        load_newest(paths, state)
    assert load_newest([], state) is None


def test_a_checkpoint_of_another_shape_is_not_damage(saved):
    state, paths = saved
    with pytest.raises(DataError, match="this configuration has") as caught:
        load_newest(paths, {**state, "a": state["a"][:5]})
    assert not isinstance(caught.value, DamagedCheckpoint)


def tamper(path, **changes):
    """Change values of a checkpoint's JSON, with the checksum that fits."""
    with safetensors.safe_open(path, "numpy") as handle:
        record = json.loads(handle.metadata()["json"])
        arrays = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    rest = {**record["rest"], **changes}
    rest = {name: value for name, value in rest.items() if value is not ...}
    record |= {"rest": rest, "checksum": checkpoint._checksum(arrays, rest)}
    # An infinity is written as a number that overflows: JSON has no other.
    text = json.dumps(record).replace("-Infinity", "-1e999").replace("Infinity", "1e999")
    path.write_bytes(safetensors.numpy.save(arrays, {"json": text}))


POSITION = {"position": 0}
TAMPERED = (
    ({"best": math.nan}, "NaN is not a number of JSON"),
    ({"best": math.inf}, "best = inf, expected a finite number"),
    ({"best": -math.inf}, "best = -inf"),
    ({"best": -1.0}, "best = -1.0, expected a finite number"),
    ({"best": "0.1"}, "best = '0.1'"),
    ({"best": None}, "best = None"),
    ({"best": True}, "best = True"),
    ({"best": ...}, "best"),
    ({"waited": -1}, "waited = -1, expected a whole number"),
    ({"waited": 1.5}, r"waited = 1\.5"),
    ({"waited": "3"}, "waited = '3'"),
    ({"waited": 10**30}, "waited = 10"),
    ({"data": [1]}, "data"),
    ({"loader": [POSITION]}, "loader"),
    ({"loader": ...}, "loader"),
    ({"loader": -1}, "position is -1"),
    ({"loader": 0.5}, r"position is 0\.5"),
    ({"loader": "0"}, "position is '0'"),
    ({"loader": math.nan}, "NaN is not a number of JSON"),
)
"""Values of a checkpoint's JSON, and what the error says; a number as ``loader`` is its position."""


def test_tampered_checkpoints_are_refused_with_the_name_of_the_value(tmp_path):
    opening = Opening(read_config(write_config(tmp_path, 16)), tmp_path / "run")
    run = opening.open()
    run.checkpoint()
    (path,) = (tmp_path / "run" / "checkpoints").iterdir()
    whole = path.read_bytes()
    progress = opening._restore(run.state)
    assert (progress.best, progress.waited) == (1e300, 0)
    for changes, message in TAMPERED:
        path.write_bytes(whole)
        if type(position := changes.get("loader")) in (int, float, str):
            changes = {"loader": {**run.loader.state(), "position": position}}
        tamper(path, **changes)
        with pytest.raises(DataError, match=message) as raised:
            opening._restore(run.state)
        assert "\n" not in str(raised.value)
    path.write_bytes(whole)
    opening._restore(run.state)


DRIVER = """
import sys
from pathlib import Path
from resource import RLIM_INFINITY, RLIMIT_FSIZE, setrlimit
from nequix.core.errors import NequixError
from nequix.train.config import read_config
from nequix.train.opening import open_run

run = open_run(read_config(sys.argv[1]), Path(sys.argv[2]))

def report(step, n_steps, values):
    if step == 7:
        setrlimit(RLIMIT_FSIZE, (int(sys.argv[3]), RLIM_INFINITY))

try:
    run.train(report)
except NequixError as error:
    print(error)
    sys.exit(1)
"""


def test_full_disks_and_damage_lose_nothing_that_was_saved(tmp_path):
    """No file may grow beyond a few kilobytes: a checkpoint fails half-way, while the one before stays."""
    config = write_config(tmp_path, 24)
    whole = open_run(read_config(config), tmp_path / "whole")
    assert whole.train()
    folder = tmp_path / "parts"
    limited = [sys.executable, "-c", DRIVER, str(config), str(folder), "4096"]
    full = subprocess.run(limited, capture_output=True, text=True, timeout=600, check=False)
    assert (full.returncode, "cannot be written" in full.stdout) == (1, True), full.stdout + full.stderr
    (checkpoint,) = (folder / "checkpoints").iterdir()
    assert checkpoint.name == "step-000000005.safetensors"
    assert whole.n_steps > 10
    truncate_newer = folder / "checkpoints" / "step-000000010.safetensors"
    truncate_newer.write_bytes(checkpoint.read_bytes()[:-50])
    with pytest.warns(RuntimeWarning, match="step-000000010.*resuming from .*step-000000005"):
        again = open_run(read_config(config), folder)
    assert again.loader.position == 5
    assert again.train()
    assert (folder / MODEL).read_bytes() == (tmp_path / "whole" / MODEL).read_bytes()
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY  # of this process
