import json
import shutil
from pathlib import Path

import pytest

from nequix.core.errors import NequixError
from nequix.io.ensemble import ENSEMBLE, read_ensemble

GOLDEN = Path(__file__).parents[1] / "golden" / "v1" / "ensemble"


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("forces_scale", "NaN", "NaN is not a number"),
        ("forces_scale", "1e999", "forces_scale = inf, expected a finite number"),
        ("forces_scale", "-1.0", "forces_scale = -1.0, expected"),
        ("energy_scale", '"1.0"', "energy_scale = '1.0', expected a finite number"),
        ("energy_limit", "true", "energy_limit = True"),
        ("energy_limit", "0", "energy_limit = 0, expected"),
        ("forces_area", "0.6", "forces_area = 0.6, expected a finite number from 0 to 0.5"),
        ("forces_rank_correlation", "1.5", "from -1 to 1"),
        ("n_structures", "2.5", "n_structures = 2.5, expected a whole number"),
        ("data", "[]", r"data = \[\], expected text"),
        ("energy_limit", "1" + "0" * 400, "energy_limit = 1000.*expected a finite number"),
    ],
)
def test_a_calibration_with_an_impossible_value_is_rejected(tmp_path, field, value, says):
    path = tmp_path / "ensemble"
    shutil.copytree(GOLDEN, path)
    record = json.loads((path / ENSEMBLE).read_text())
    record["calibration"][field] = "HERE"
    (path / ENSEMBLE).write_text(json.dumps(record).replace('"HERE"', value))
    with pytest.raises(NequixError, match=f"ensemble.json: .*{says}"):
        read_ensemble(path)


@pytest.mark.parametrize(
    "change",
    [{"members": None}, {"members": [3]}, {"members": [{"file": 3}]}, {"calibration": []}, {"version": "x"}],
)
def test_a_list_of_members_with_other_types_is_rejected(tmp_path, change):
    path = tmp_path / "ensemble"
    shutil.copytree(GOLDEN, path)
    record = json.loads((path / ENSEMBLE).read_text())
    (path / ENSEMBLE).write_text(json.dumps({**record, **change}))
    with pytest.raises(NequixError, match=r"ensemble.json: not an ensemble, or damaged \("):
        read_ensemble(path)
