"""TensorBoard and Weights & Biases receive the same values as the history."""

import os
import struct
import subprocess
import sys

import pytest

from nequix.core.errors import BackendUnavailable
from nequix.train import trackers
from nequix.train.trackers import LogConfig, close_all, open_trackers

DRIVER = """
import sys
from pathlib import Path
from nequix.train.trackers import LogConfig, close_all, open_trackers

folder = Path(sys.argv[1])
opened = open_trackers(LogConfig(tensorboard=True, wandb="some project"), folder, 0, {"epochs": 3})
for step in (1, 2):
    for tracker in opened:
        tracker.add(step, {"loss": 1 / step})
        tracker.add(step, {"valid_loss": 2 / step})
close_all(opened)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Both in a process of their own: Weights & Biases starts others, and warns of this and that."""
    for package in ("tensorboardX", "wandb"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("tracked")
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true", "HOME": str(folder)}
    subprocess.run([sys.executable, "-c", DRIVER, str(folder)], check=True, timeout=300, env=environment)
    return folder


def shown(folder):
    """Return what TensorBoard shows: a session that begins at a step hides what earlier ones have from there.

    That is how its ``EventAccumulator`` treats the event that starts a session.
    """
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    values = {}
    for path in sorted((folder / "tensorboard").iterdir(), key=lambda path: path.stat().st_mtime_ns):
        data = path.read_bytes()
        while data:  # length, checksum, record, checksum
            (length,) = struct.unpack("<Q", data[:8])
            event, data = Event.FromString(data[12 : 12 + length]), data[16 + length :]
            if event.session_log.status == SessionLog.START:
                values = {key: value for key, value in values.items() if key[1] < event.step}
            values |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
    return values


def test_tensorboard_has_the_values(folder):
    assert shown(folder) == {
        ("train/loss", 1): 1.0, ("train/loss", 2): 0.5, ("valid/loss", 1): 2.0, ("valid/loss", 2): 1.0,
    }  # fmt: skip


def test_tensorboard_forgets_steps_that_are_taken_again(tmp_path):
    """A run that was killed after step 4 resumes from the checkpoint of step 2, then begins again."""
    pytest.importorskip("tensorboardX")
    for start, end, loss in ((0, 4, 1.0), (2, 3, 8.0), (0, 1, 0.25)):
        (tracker,) = open_trackers(LogConfig(figures=False, tensorboard=True), tmp_path, start, {})
        tracker.add(start, {"valid_loss": loss})
        for step in range(start + 1, end + 1):
            tracker.add(step, {"loss": loss})
        close_all([tracker])
        expected = {
            4: {("valid/loss", 0): 1.0, **{("train/loss", step): 1.0 for step in (1, 2, 3, 4)}},
            3: {("valid/loss", 0): 1.0, ("train/loss", 1): 1.0, ("train/loss", 2): 1.0,
                ("valid/loss", 2): 8.0, ("train/loss", 3): 8.0},
            1: {("valid/loss", 0): 0.25, ("train/loss", 1): 0.25},
        }[end]  # fmt: skip
        assert shown(tmp_path) == expected
        for path in (tmp_path / "tensorboard").iterdir():  # names have the second: two may be the same
            if not path.name.startswith("kept"):
                path.rename(path.with_name(f"kept-{len(list(path.parent.iterdir()))}"))


def test_wandb_keeps_an_offline_run_that_can_resume(folder):
    number = (folder / "wandb-run.txt").read_text()
    (path,) = (folder / "wandb").glob(f"offline-run-*-{number}/run-{number}.wandb")
    content = path.read_bytes()
    assert b"valid/loss" in content
    assert b"epochs" in content


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(trackers.importlib, "import_module", absent)
    for config, extra in (
        (LogConfig(figures=False, tensorboard=True), "tensorboard"),
        (LogConfig(figures=False, wandb="p"), "wandb"),
        (LogConfig(), "train"),
    ):
        with pytest.raises(BackendUnavailable, match=rf"pip install .*\[{extra}\]"):
            open_trackers(config, tmp_path, 0, {})
    assert open_trackers(LogConfig(figures=False), tmp_path, 0, {}) == []
