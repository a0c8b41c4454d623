import pickle
import subprocess
import sys

import pytest

import nequix
from nequix import DataError, Execution
from nequix.evaluation.task import Engine
from tests.calculator.small import salt, water, write_small
from tests.evaluation.toy import Toy

EXACT = Execution("native", dtype="float64", threads=1)


@pytest.fixture
def model(tmp_path):
    return write_small(tmp_path)


def test_a_task_is_evaluated_once_and_resumed(tmp_path, model):
    task, seen = Toy(str(tmp_path), n_items=3), []
    first = nequix.evaluate(task, tmp_path / "run", model, execution=EXACT, items=["item-0"])
    assert list(first.results()) == ["item-0"]
    assert first.summary is None
    assert first.folder == tmp_path / "run"
    resumed = nequix.evaluate(
        task, tmp_path / "run", model, execution=EXACT, progress=lambda *counts: seen.append(counts)
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert list(resumed.results()) == task.items()
    assert resumed.identity == first.identity
    with pytest.raises(DataError, match="contains a run with"):
        nequix.evaluate(task, tmp_path / "run", model, execution=Execution("native"))


def test_failures_are_kept_until_they_are_retried(tmp_path, model):
    task = Toy(str(tmp_path), n_items=2)
    (tmp_path / "raise-item-1").touch()
    for retry, failed in ((False, True), (False, True), (True, False)):
        done = nequix.evaluate(task, tmp_path / "run", model, execution=EXACT, retry_failed=retry)
        assert (done.results()["item-1"].error is not None) == failed
        (tmp_path / "raise-item-1").unlink(missing_ok=True)


def test_a_report_of_the_caller_replaces_that_of_the_task(tmp_path, model):
    def report(directory, identity):
        return len(list(directory.folder.glob("items/*.json"))), identity["task"]

    task = Toy(str(tmp_path), n_items=2)
    assert nequix.evaluate(task, tmp_path / "run", model, execution=EXACT, report=report).summary == (
        2,
        "toy",
    )


def test_errors_of_a_model_on_its_own_predictions_are_zero(tmp_path, model):
    pytest.importorskip("matplotlib", reason="the report has figures")
    from ase.io import write

    write(tmp_path / "data.extxyz", nequix.predict([salt(), water()], model, execution=EXACT))
    task = nequix.Errors((str(tmp_path / "data.extxyz"),))
    evaluation = nequix.evaluate(task, tmp_path / "run", model, execution=EXACT)
    assert evaluation.summary["n_structures"] == 2
    assert evaluation.summary["forces"]["mae"] < 1e-7  # the digits that the file holds
    assert (evaluation.folder / "report.md").is_file()


def test_an_engine_goes_to_other_processes_without_its_model(model):
    engine = Engine(str(model), EXACT)
    engine.calculator()
    copied = pickle.loads(pickle.dumps(engine))  # noqa: S301
    assert copied == engine
    assert set(vars(copied)) == {"model", "execution"}
    assert engine.calculator() is engine.calculator()


def test_the_function_is_not_hidden_by_a_package_of_its_name():
    code = (
        "import nequix, nequix.evaluation.run, nequix.workflows.evaluation; print(callable(nequix.evaluate))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
