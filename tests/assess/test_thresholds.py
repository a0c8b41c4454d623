import json

import pytest

from nequix.assess.thresholds import PROTOCOL, Thresholds
from nequix.core.errors import DataError, FileError


def test_thresholds_are_recorded_once(tmp_path):
    first = Thresholds().record(tmp_path / "run")
    held = json.loads((tmp_path / "run" / PROTOCOL).read_bytes())
    assert held["recorded"] == first
    assert (held["zero_shot_force"], held["tuned_energy"], held["tuned_force"]) == (100, 20, 50)
    assert Thresholds().record(tmp_path / "run") == first
    with pytest.raises(DataError, match=r"zero_shot_force = 100.0 \(got 150.0\); thresholds are not changed"):
        Thresholds(zero_shot_force=150.0).record(tmp_path / "run")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}"])
def test_a_damaged_record_is_not_a_licence(tmp_path, content):
    (tmp_path / PROTOCOL).write_bytes(content)
    with pytest.raises(DataError, match="choose another folder"):
        Thresholds().record(tmp_path)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_thresholds_are_positive_numbers(value):
    with pytest.raises(DataError, match="expected a positive number"):
        Thresholds(tuned_force=value)


def test_fine_tuning_does_not_aim_above_what_is_good_enough_without():
    with pytest.raises(DataError, match="tuned_force = 50 meV/A, expected at most zero_shot_force = 30"):
        Thresholds(zero_shot_force=30.0)
    assert Thresholds(zero_shot_force=50.0).tuned_force == 50


@pytest.mark.parametrize("name", ["file", "file/page"])
def test_a_folder_that_cannot_be_made_is_refused(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="cannot be created as a folder"):
        Thresholds().record(tmp_path / name)
