import csv

import pytest

from nequix.train.history import History
from weights.nano import log


def test_the_log_keeps_means_of_steps_and_every_validation(tmp_path):
    history = History(tmp_path / "history.csv")
    history.cut(0)
    for step in range(1, 251):
        history.add(step, {"loss": step, "energy": 1.0, "forces": 2.0, "stress": 3.0, "seconds": 0.1})
        if step % 125 == 0:
            values = {"loss": step, "energy": 1.0, "forces": 2.0, "stress": 3.0}
            history.add(step, {f"valid_{name}": value for name, value in values.items()})
    log.main([tmp_path], tmp_path)
    with open(tmp_path / "history.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [(row["step"], row["loss"], row["valid_loss"]) for row in rows] == [
        ("100", "50.5", ""),
        ("125", "", "125"),
        ("200", "150.5", ""),
        ("250", "225.5", ""),
        ("250", "", "250"),
    ]
    assert float(rows[0]["forces"]) == pytest.approx(2.0)
    followed = log.joined([tmp_path, tmp_path])  # thinned already: its means are of single rows
    assert [int(row["step"]) for row in followed if row["loss"]] == [250, 500]
    assert [int(row["step"]) for row in followed if row["valid_loss"]] == [125, 250, 375, 500]
    assert (tmp_path / "learning_curves.png").read_bytes().startswith(b"\x89PNG")
