import json
from pathlib import Path

import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from nequix.core.errors import DataError
from nequix.evaluation.errors import task as errors_task
from nequix.evaluation.errors.report import read_predictions, write_report
from nequix.evaluation.errors.task import Errors
from nequix.evaluation.run import run_items
from nequix.evaluation.run_directory import RunDirectory
from nequix.evaluation.task import Engine
from nequix.execution import Execution
from tests.calculator.small import rattled, salt, slab, water, write_small
from tests.evaluation.commands import evaluate

ROOT = Path(__file__).parents[3]


@pytest.fixture
def engine(tmp_path):
    return Engine(str(write_small(tmp_path)), Execution("torch", dtype="float64"))


def labelled(path, calculator, n=9, shift=0.0):
    """Structures whose labels are the model's own results, but for a known shift."""
    frames = []
    for seed in range(n):
        atoms = rattled((salt, water, slab)[seed % 3](), seed, 0.02)
        calculator.calculate(atoms)
        results = dict(calculator.results)
        results["energy"] -= shift * len(atoms)
        results["forces"] = results["forces"] - shift
        atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    write(path, frames)
    return frames


def run(task, engine, folder, workers=0):
    store = RunDirectory(folder)
    with store.begin({"settings": task.settings()}):
        run_items(task, engine, store, task.items(), workers)
    return store


def test_predictions_against_the_models_own_results_are_off_by_the_known_shift(tmp_path, engine, monkeypatch):
    monkeypatch.setattr(errors_task, "BLOCK", 4)
    labelled(tmp_path / "data.xyz", engine.calculator(), shift=0.25)
    task = Errors((str(tmp_path / "data.xyz"),), max_atoms=12)
    assert task.items() == ["structures-00000000", "structures-00000004", "structures-00000008"]
    store = run(task, engine, tmp_path / "run")
    predictions, failures = read_predictions(store, task.items())
    assert failures == []
    assert [name.split(":")[1] for name in predictions.names] == [str(i) for i in range(9)]
    identity = {"task": "errors", "settings": task.settings(), "engine": engine.describe()}
    summary = write_report(store, task.items(), identity)
    assert summary["energy"]["mae"] == pytest.approx(0.25, abs=1e-6)
    assert summary["energy_without_offsets"]["max_abs"] < 1e-6
    assert summary["forces"]["mean"] == pytest.approx(0.25, abs=1e-6)
    assert summary["stress"]["n"] == 9 * 6  # water has none
    assert summary["stress"]["max_abs"] < 1e-7
    held = json.loads((tmp_path / "run" / "results.json").read_bytes())
    assert {**held["results"]["summary"], "by_file": []} == summary
    assert {"parity.png", "elements.png", "report.md"} <= {path.name for path in (tmp_path / "run").iterdir()}
    assert str(tmp_path) not in (tmp_path / "run" / "results.json").read_text().replace(engine.model, "")


def test_data_rewritten_are_read_again_by_the_next_run_of_a_process(tmp_path, engine):
    data = tmp_path / "data.xyz"
    for n in (4, 3):
        labelled(data, engine.calculator(), n)
        task = Errors((str(data),))
        predictions, failures = read_predictions(run(task, engine, tmp_path / f"run-{n}"), task.items())
        assert (len(predictions.names), failures) == (n, [])


def test_a_structure_that_cannot_be_evaluated_is_named_and_the_others_continue(tmp_path, engine):
    frames = labelled(tmp_path / "data.xyz", engine.calculator(), n=3)
    foreign = frames[0].copy()
    foreign.symbols[0] = "U"
    write(tmp_path / "data.xyz", [frames[0], foreign, frames[1]])
    task = Errors((str(tmp_path / "data.xyz"),))
    predictions, failures = read_predictions(run(task, engine, tmp_path / "run"), task.items())
    assert len(predictions.names) == 2
    ((name, reason),) = failures
    assert name == "data.xyz:1"
    assert "U (Z = 92)" in reason


def test_structures_of_which_none_can_be_evaluated_are_listed_and_an_error(tmp_path, engine, capsys):
    (atoms,) = labelled(tmp_path / "data.xyz", engine.calculator(), n=1)
    atoms.symbols[:] = "U"
    write(tmp_path / "data.xyz", atoms)
    arguments = ("errors", tmp_path / "data.xyz", "-o", tmp_path / "run", "--model", engine.model)
    assert evaluate(*arguments, "--backend", "torch") == 1
    assert "no structure could be evaluated" in capsys.readouterr().err
    held = json.loads((tmp_path / "run" / "results.json").read_bytes())["results"]
    ((name, reason),) = held["failures"]
    assert (name, "U (Z = 92)" in reason, held["by_composition"]) == ("data.xyz:0", True, [])
    assert "U (Z = 92)" in (tmp_path / "run" / "report.md").read_text()


def test_a_run_resumes_with_another_number_of_threads(tmp_path, engine, monkeypatch):
    monkeypatch.setattr(errors_task, "BLOCK", 1)
    labelled(tmp_path / "data.xyz", engine.calculator(), n=2)
    made, calculator = [], Engine.calculator
    monkeypatch.setattr(
        Engine, "calculator", lambda self: made.append(self.execution.threads) or calculator(self)
    )
    arguments = ("errors", tmp_path / "data.xyz", "-o", tmp_path / "run", "--model", engine.model)
    arguments += ("--backend", "torch", "--kernel", "native", "--threads")
    assert evaluate(*arguments, 1) == 0
    first, *others = sorted((tmp_path / "run" / "items").glob("*.json"))
    before = first.read_bytes()
    for other in others:
        other.unlink()
    assert evaluate(*arguments, 2) == 0
    assert all(other.exists() for other in others)
    assert first.read_bytes() == before
    assert set(made) == {1, 2}


def test_other_data_is_another_run(tmp_path, engine):
    labelled(tmp_path / "data.xyz", engine.calculator(), n=2)
    task = Errors((str(tmp_path / "data.xyz"),))
    run(task, engine, tmp_path / "run")
    labelled(tmp_path / "data.xyz", engine.calculator(), n=2, shift=1.0)
    with pytest.raises(DataError, match="contains a run with"):
        run(task, engine, tmp_path / "run")


def test_a_named_key_that_no_structure_has_is_an_error(tmp_path, engine, capsys):
    labelled(tmp_path / "data.xyz", engine.calculator(), n=2)
    model = ("--model", engine.model, "--backend", "torch")
    code = evaluate("errors", tmp_path / "data.xyz", "-o", tmp_path / "run", "--energy-key", "nope", *model)
    assert code == 1
    assert "none of 2 structures has 'nope' (energy)" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_data_without_labels_are_an_error_before_the_run(tmp_path, engine, capsys):
    atoms = salt()
    atoms.info["pbe"] = -1.0
    write(tmp_path / "data.extxyz", atoms)
    arguments = ("errors", tmp_path / "data.extxyz", "-o", tmp_path / "run", "--model", engine.model)
    assert evaluate(*arguments, "--backend", "torch") == 1
    err = capsys.readouterr().err
    assert "none of 1 structures has an energy, forces or a stress; data.extxyz:0 has pbe beside" in err
    assert not (tmp_path / "run").exists()
