"""The history: what a killed run or a full disk leaves of it can be read."""

from pathlib import Path

import pytest

from nequix.core.errors import FileError
from nequix.train.history import History


@pytest.fixture
def history(tmp_path):
    history = History(tmp_path / "history.csv")
    history.cut(0)
    for step in range(1, 13):
        history.add(step, {"loss": step / 2})
    return history


def test_steps_that_are_taken_again_are_forgotten(history):
    history.add(12, {"valid_loss": 1.0})
    history.cut(11)
    assert [row["step"] for row in history.rows()] == [str(step) for step in range(1, 12)]


def test_half_a_row_is_none(history):
    whole = history.path.read_text()
    history.path.write_text(whole + "1")  # of 13
    assert len(history.rows()) == 12
    history.cut(12)
    assert history.path.read_text() == whole


def test_a_full_disk_is_named(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    (tmp_path / "history.csv").symlink_to("/dev/full")
    with pytest.raises(FileError, match=r"history\.csv: cannot be written \(No space left"):
        History(tmp_path / "history.csv").add(1, {"loss": 1.0})
