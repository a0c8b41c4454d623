"""TensorBoard and Weights & Biases are told what the history is told."""

import os
import struct
import subprocess
import sys

import pytest

from nequix.core.errors import BackendUnavailable
from nequix.train import trackers
from nequix.train.trackers import LogConfig, open_trackers

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


def test_tensorboard_has_the_values(folder):
    from tensorboardX.proto.event_pb2 import Event

    (path,) = (folder / "tensorboard").iterdir()
    data, seen = path.read_bytes(), {}
    while data:  # length, checksum, record, checksum
        (length,) = struct.unpack("<Q", data[:8])
        event, data = Event.FromString(data[12 : 12 + length]), data[16 + length :]
        seen |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
    assert seen == {
        ("train/loss", 1): 1.0, ("train/loss", 2): 0.5, ("valid/loss", 1): 2.0, ("valid/loss", 2): 1.0,
    }  # fmt: skip


def test_wandb_keeps_an_offline_run_that_can_go_on(folder):
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
