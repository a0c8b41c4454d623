import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from nequix.core.errors import DataError, FileError
from nequix.evaluation.run import run_items
from nequix.evaluation.run_directory import RunDirectory
from nequix.evaluation.task import Engine, ItemResult
from nequix.execution import Execution
from tests.calculator.small import write_small
from tests.evaluation.commands import evaluate
from tests.evaluation.toy import Toy, outcomes

ROOT = Path(__file__).parents[2]


@pytest.fixture
def engine(tmp_path):
    return Engine(str(write_small(tmp_path)), Execution("torch", dtype="float64"))


def run(task, engine, folder, workers=0):
    store, seen = RunDirectory(folder), []
    with store.begin({"settings": task.settings()}):
        run_items(task, engine, store, task.items(), workers, seen.append)
    return store, seen


def test_an_outcome_survives_its_files_exactly(tmp_path):
    store = RunDirectory(tmp_path)
    arrays = {"a": np.random.default_rng(0).normal(size=(3, 2)), "b": np.arange(3)}
    with store.begin({}):
        store.write("x", ItemResult({"pi": np.pi, "none": None}, arrays), 1.0)
    held = store.read("x")
    assert held.values == {"pi": np.pi, "none": None}
    assert held.error is None
    for name, values in arrays.items():
        assert held.arrays[name].dtype == values.dtype
        np.testing.assert_array_equal(held.arrays[name], values)


def test_workers_give_the_numbers_of_one_process(tmp_path, engine):
    task = Toy(str(tmp_path))
    single, seen = run(task, engine, tmp_path / "single")
    assert seen == task.items()
    several, seen = run(task, engine, tmp_path / "several", workers=2)
    assert sorted(seen) == task.items()
    assert outcomes(several, task) == outcomes(single, task)
    energies = {energy for energy, *_ in outcomes(single, task).values()}
    assert len(energies) == task.n_items


@pytest.mark.parametrize(("threads", "others"), [(3, "3"), (None, "2")])
def test_workers_take_the_threads_asked_for_or_share_the_cores(
    tmp_path, engine, monkeypatch, threads, others
):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    engine = engine.with_execution(dataclasses.replace(engine.execution, kernel="native", threads=threads))
    store, _ = run(Toy(str(tmp_path), n_items=1), engine, tmp_path / "run", workers=2)
    assert store.read("item-0").values["threads"] == {"native": threads, "others": others}
    assert "OMP_NUM_THREADS" not in os.environ


COMMANDS = ("errors x", "discovery x", "kappa --data x", "physics", "phonons --data x", "speed")


@pytest.mark.parametrize("command", COMMANDS)
def test_threads_that_cannot_be_are_refused_by_every_command(tmp_path, engine, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x" / "NaCl").mkdir(parents=True)
    (tmp_path / "x" / "NaCl" / "FORCE_SETS").touch()
    (tmp_path / "x" / "NaCl" / "phonopy.yaml").touch()
    arguments = (*command.split(), "-o", tmp_path / "run", "--model", engine.model, "--backend", "torch")
    assert evaluate(*arguments, "--kernel", "native", "--threads", "0") == 2
    assert "threads = 0" in capsys.readouterr().err
    assert evaluate(*arguments, "--kernel", "plain", "--threads", "2") == 2
    assert "OMP_NUM_THREADS" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_failing_item_is_recorded_and_the_others_continue(tmp_path, engine, workers):
    task = Toy(str(tmp_path), n_items=3)
    (tmp_path / "raise-item-1").touch()
    store, seen = run(task, engine, tmp_path / "run", workers)
    assert seen == task.items()
    assert store.read("item-1").error == "ValueError: raised on purpose"
    assert "toy.py" in store.read("item-1").values["traceback"]
    assert store.read("item-0").error is store.read("item-2").error is None
    (tmp_path / "raise-item-1").unlink()
    assert run(task, engine, tmp_path / "run")[1] == []
    store.forget("item-1")
    assert run(task, engine, tmp_path / "run")[1] == ["item-1"]
    assert store.read("item-1").error is None


@pytest.mark.parametrize("workers", [0, 1])
def test_values_that_are_not_finite_are_a_failure_of_their_item_only(tmp_path, engine, workers):
    task = Toy(str(tmp_path), n_items=3)
    (tmp_path / "nan-item-1").touch()
    store, seen = run(task, engine, tmp_path / "run", workers)
    assert seen == task.items()
    assert store.read("item-1").error == "values that are not numbers: rows[1].energy = nan"
    assert store.read("item-0").error is store.read("item-2").error is None


def _cut(path):
    path.write_bytes(path.read_bytes()[:-30])


def _swap(path):
    np.savez(path, other=np.zeros(2))


DAMAGES = {
    "json": ("json", lambda path: path.write_text("{")),
    "json-list": ("json", lambda path: path.write_text("[]")),
    "json-without": ("json", lambda path: path.write_text("{}")),
    "npz-deleted": ("npz", Path.unlink),
    "npz-empty": ("npz", lambda path: path.write_bytes(b"")),
    "npz-cut": ("npz", _cut),
    "npz-of-others": ("npz", _swap),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_item_whose_files_are_damaged_is_not_done(tmp_path, engine, damage):
    task = Toy(str(tmp_path), n_items=2)
    store, _ = run(task, engine, tmp_path / "run")
    before = outcomes(store, task)
    ending, harm = DAMAGES[damage]
    path = tmp_path / "run" / "items" / f"item-1.{ending}"
    harm(path)
    assert [store.done(item) for item in task.items()] == [True, False]
    with pytest.raises(DataError, match=rf"item-1\.{ending}: damaged .* delete it and give the same command"):
        store.read("item-1")
    assert run(task, engine, tmp_path / "run")[1] == ["item-1"]
    assert outcomes(store, task) == before


def test_damage_within_arrays_is_reported(tmp_path, engine):
    task = Toy(str(tmp_path), n_items=1)
    store, _ = run(task, engine, tmp_path / "run")
    path = tmp_path / "run" / "items" / "item-0.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 255
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"item-0\.npz: damaged .* delete it"):
        store.read("item-0")
    path.unlink()
    assert run(task, engine, tmp_path / "run")[1] == ["item-0"]


def test_arrays_of_an_outcome_before_are_not_those_of_a_failure(tmp_path):
    store = RunDirectory(tmp_path)
    with store.begin({}):
        store.write("x", ItemResult({}, {"a": np.zeros(2)}), 1.0)
        store.write("x", ItemResult(error="failed"), 1.0)
    assert (store.read("x").error, store.read("x").arrays) == ("failed", {})


def test_outcomes_that_do_not_name_their_arrays_are_read(tmp_path):
    store = RunDirectory(tmp_path)
    with store.begin({}):
        store.write("x", ItemResult({}, {"a": np.arange(2)}), 1.0)
        store.write("y", ItemResult({"n": 1}), 1.0)
    for item in "xy":
        held = json.loads(store.path(item).read_bytes())
        del held["arrays"]
        store.path(item).write_text(json.dumps(held))
    assert store.done("x")
    assert store.read("x").arrays["a"].tolist() == [0, 1]
    assert (store.read("y").values, store.read("y").arrays) == ({"n": 1}, {})


@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_a_damaged_identity_says_what_to_do(tmp_path, engine, content):
    task = Toy(str(tmp_path), n_items=1)
    run(task, engine, tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text(content)
    with pytest.raises(DataError, match=r"run\.json: damaged .* delete it and give the same command again"):
        run(task, engine, tmp_path / "run")
    (tmp_path / "run" / "run.json").unlink()
    assert run(task, engine, tmp_path / "run")[1] == []


@pytest.mark.parametrize(("deaths", "expected"), [(1, None), (5, "exit code -9")])
def test_a_worker_that_is_killed_is_replaced(tmp_path, engine, deaths, expected):
    task = Toy(str(tmp_path), n_items=3)
    (tmp_path / "kill-item-1").write_text(str(deaths))
    store, seen = run(task, engine, tmp_path / "run", workers=1)
    assert sorted(seen) == task.items()
    error = store.read("item-1").error
    assert (error is None) if expected is None else (expected in error)
    assert store.read("item-0").error is store.read("item-2").error is None


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_killed_run_resumes_to_the_same_numbers(tmp_path, engine, workers):
    task = Toy(str(tmp_path), seconds=0.5)
    straight, _ = run(Toy(str(tmp_path)), engine, tmp_path / "straight")
    command = [sys.executable, "-m", "tests.evaluation.toy", engine.model, str(tmp_path), workers, "0.5"]
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    items = tmp_path / "run" / "items"
    while len(list(items.glob("*.json"))) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    held = {path: path.read_bytes() for path in items.glob("*.json")}
    assert 2 <= len(held) < task.n_items
    time.sleep(1.5 if workers != "0" else 0.0)  # the orphans end by themselves
    subprocess.run(command, cwd=ROOT, check=True)
    assert outcomes(RunDirectory(tmp_path / "run"), task) == outcomes(straight, task)
    assert {path: path.read_bytes() for path in held} == held


def test_a_folder_keeps_to_one_run(tmp_path, engine):
    run(Toy(str(tmp_path), n_items=1), engine, tmp_path / "run")
    with pytest.raises(DataError, match=r"n_items = 1 \(got 2\)"):
        run(Toy(str(tmp_path), n_items=2), engine, tmp_path / "run")


@pytest.mark.parametrize("name", ["file", "file/run"])
def test_a_folder_that_cannot_be_made_is_refused(tmp_path, name):
    (tmp_path / "file").touch()
    with (
        pytest.raises(FileError, match="cannot be created as a folder"),
        RunDirectory(tmp_path / name).begin({}),
    ):
        pass


def test_a_folder_that_cannot_be_locked_is_refused(tmp_path):
    (tmp_path / ".lock").mkdir()
    with (
        pytest.raises(DataError, match=r"cannot be locked .* choose another folder"),
        RunDirectory(tmp_path).begin({}),
    ):
        pass


def test_the_folder_of_a_training_is_refused_and_left_unchanged(tmp_path):
    before = {name: f"{name}, of a training" for name in ("config.json", "parity.png")}
    for name, text in before.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match="contains a training run"), RunDirectory(tmp_path).begin({}):
        pass
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


def test_a_folder_in_use_is_refused(tmp_path):
    with (
        RunDirectory(tmp_path).begin({}),
        pytest.raises(DataError, match="another process"),
        RunDirectory(tmp_path).begin({}),
    ):
        pass


@pytest.mark.parametrize("name", ["", "../x", ".hidden", "a/b", "a b"])
def test_a_name_that_is_not_a_file_is_refused(tmp_path, name):
    with pytest.raises(DataError, match="expected a name"):
        RunDirectory(tmp_path).path(name)


def test_half_written_files_are_cleared_away(tmp_path):
    with RunDirectory(tmp_path).begin({}):
        (tmp_path / "items" / ".nequix-0.tmp").touch()
    with RunDirectory(tmp_path).begin({}):
        assert not list((tmp_path / "items").iterdir())
    assert json.loads((tmp_path / "run.json").read_bytes()) == {"version": 1}
