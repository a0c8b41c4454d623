import dataclasses
import json

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from typer.testing import CliRunner

from nequix import cli
from nequix.backends import load_model
from nequix.core.errors import DataError
from tests.calculator import small
from weights.nano import derive, errors
from weights.nano.teacher import labelled, teach_with


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of a model on its own labels, shifted by 0.1 eV/atom, and of one that knows fewer elements."""
    folder = tmp_path_factory.mktemp("runs")
    crystals = {"crystal": small.salt(), "rattled": small.rattled(bulk("Cu"), 1), "dimer": small.water()}
    frames = [derive.named(atoms, kind, "some:") for kind, atoms in crystals.items()]
    teach = teach_with(load_model(small.WEIGHTS, "torch", dtype="float64"))
    frames = [
        labelled(atoms, dataclasses.replace(label, energies=label.energies + 0.1))
        for atoms, label in zip(frames, teach(frames), strict=True)
    ]
    ase.io.write(folder / "data.extxyz", frames)
    model = small.write_small(folder)
    for name in ("one", "two"):
        arguments = ["evaluate", "errors", folder / "data.extxyz", "-o", folder / name, "--model", model]
        result = CliRunner().invoke(
            cli.app, [*map(str, arguments), "--backend", "torch", "--dtype", "float64"]
        )
        assert result.exit_code == 0, result.output
    return folder


def test_errors_are_identified_by_kind(runs, capsys):
    errors.main([runs / "one"], runs / "errors.json")
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[2] for row in rows] == ["all", "crystal", "rattled", "dimer"]
    assert [row[3] for row in rows] == ["3", "1", "1", "1"]
    held = json.loads((runs / "errors.json").read_text())["one"]
    for kind in held.values():
        assert kind["energy"]["mae"] == pytest.approx(0.1, abs=1e-6)
        assert kind["forces"]["mae"] < 1e-6
    assert rows[0][4] == "100"


def test_runs_are_compared_on_the_structures_that_all_have(runs):
    data, model, predictions = errors.read_run(runs / "one")
    fewer = errors.select(predictions, np.array([True, False, True]))
    assert fewer.names == (predictions.names[0], predictions.names[2])
    assert len(fewer.numbers) == fewer.n_atoms.sum()
    both = errors.in_common({"a": (data, model, predictions), "b": (data, model, fewer)})
    assert {run: found.names for run, (_, found) in both.items()} == {"a": fewer.names, "b": fewer.names}
    apart = errors.in_common({"a": (data, model, predictions), "b": ("other", model, fewer)})
    assert apart["a"][1].names == predictions.names


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="is not a run"):
        errors.read_run(tmp_path)
