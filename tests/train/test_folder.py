"""The run directory: one process trains in it, others change nothing; it resumes after harmless changes."""

import json
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import asdict, replace

import pytest
from filelock import FileLock

from nequix.core.errors import DataError, FileError
from nequix.io import locks
from nequix.train.config import read_config
from nequix.train.folder import CONFIG, LOCK, MODEL, Folder
from nequix.train.history import History
from nequix.train.opening import open_run
from tests.train.emt import write_config
from tests.train.pair import environments


@pytest.fixture
def config(tmp_path):
    return read_config(write_config(tmp_path, 12, epochs=1))


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def begun(config, path):
    """Make a folder as a process leaves it that was killed; return the run, not begun here."""
    run = open_run(config, path)
    run.loader.position = 3
    run.checkpoint()
    with run._own.held():
        run.history.cut(0)
    for step in range(1, 6):
        run.history.add(step, {"loss": 1.0})
    return run


def test_opening_a_folder_changes_nothing_in_it(config, tmp_path):
    path = tmp_path / "run"
    begun(config, path)
    before = content(path)
    again = open_run(replace(config, log=replace(config.log, figures=False)), path)
    assert again.loader.position == 3
    assert content(path) == before
    assert len(History(path / "history.csv").rows()) == 5


def test_a_file_in_the_folder_s_place_is_refused(config, tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(FileError, match=r"run: cannot be created as a folder .*; choose another name"):
        open_run(config, tmp_path / "run")
    assert (tmp_path / "run").read_text() == "mine"


def test_checkpoints_to_keep_are_counted_from_where_the_run_is(config, tmp_path):
    run = open_run(config, tmp_path / "run")
    for position in (2, 4, 6):
        run.loader.position = position
        run.checkpoint()
    *_, damaged = run._own.checkpoints()
    damaged.write_bytes(b"")
    with pytest.warns(RuntimeWarning, match="resuming from"):
        again = open_run(replace(config, run=replace(config.run, keep=1)), tmp_path / "run")
    again.loader.position = 5
    again.checkpoint()
    assert [path.name for path in again._own.checkpoints()] == ["step-000000005.safetensors"]
    assert open_run(config, tmp_path / "run").loader.position == 5


def test_the_history_is_cut_when_training_begins(config, tmp_path, monkeypatch):
    begun(config, tmp_path / "run")
    again = open_run(config, tmp_path / "run")
    monkeypatch.setattr(again, "_train", lambda report: [row["step"] for row in again.history.rows()])
    assert again.train() == ["1", "2", "3"]


def test_another_process_is_refused_while_one_trains(config, tmp_path):
    path = tmp_path / "run"
    run = begun(config, path)
    before = content(path)
    hold = (
        "from filelock import FileLock; lock = FileLock({!r}); lock.acquire(); print(1, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold.format(str(path / LOCK))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:  # fmt: skip
        assert other.stdout.readline()
        with pytest.raises(DataError, match="run: another process trains in this folder; wait"):
            run.train()
        other.kill()
    assert content(path) == before
    with run._own.held():  # nothing is left of a process that was killed
        pass


def test_steps_that_another_process_took_meanwhile_are_not_taken_again(config, tmp_path):
    run = open_run(config, tmp_path / "run")
    begun(config, tmp_path / "run")
    with pytest.raises(DataError, match="has trained in this folder in the meantime; give the same command"):
        run.train()


def test_a_run_that_lives_is_not_replaced_before_its_first_checkpoint(config, tmp_path):
    other = replace(config, run=replace(config.run, seed=3))
    folder = Folder(tmp_path / "run", config)
    with folder.held(), pytest.raises(DataError, match=r"another configuration \(run.seed: 0 then, 3 now\)"):
        Folder(tmp_path / "run", other)
    Folder(tmp_path / "run", other)


def test_a_complete_run_without_its_checkpoints_is_not_replaced(config, tmp_path):
    with Folder(tmp_path / "run", config).held():
        (tmp_path / "run" / MODEL).touch()
    Folder(tmp_path / "run", config)
    with pytest.raises(DataError, match=r"another configuration \(run.seed: 0 then, 3 now\)"):
        Folder(tmp_path / "run", replace(config, run=replace(config.run, seed=3)))


def test_a_folder_without_locks_is_warned_of(config, tmp_path, monkeypatch):
    def none(*_, **__):
        raise NotImplementedError("no flock here")

    monkeypatch.setattr(locks, "FileLock", none)
    warns = pytest.warns(RuntimeWarning, match="cannot be locked .no flock here.; make sure")
    with warns, Folder(tmp_path / "run", config).held():
        pass


DRIVER = """
import sys
from pathlib import Path
from nequix.train.processes import join_processes
join_processes()
from nequix.core.errors import DataError
from nequix.train.config import read_config
from nequix.train.folder import Folder

folder = Folder(Path(sys.argv[2]), read_config(sys.argv[1]))
try:
    with folder.held():
        print("held")
except DataError as error:
    print(error)
"""


@pytest.mark.parametrize("free", [True, False], ids=["free", "locked"])
def test_all_processes_of_a_run_hold_a_folder_or_fail_together(tmp_path, free):
    config, path = write_config(tmp_path, 1), tmp_path / "run"
    path.mkdir()
    with nullcontext() if free else FileLock(path / LOCK):
        running = [
            subprocess.Popen(
                [sys.executable, "-c", DRIVER, str(config), str(path)],
                env=environment,
                stdout=subprocess.PIPE,
                text=True,
            )
            for environment in environments()
        ]
        try:
            first, second = (process.communicate(timeout=200)[0] for process in running)
        finally:
            for process in running:
                process.kill()
                process.wait()
    assert ("held" if free else "another process trains in this folder") in first
    assert ("held" if free else "cannot be trained in; see the output of process 0") in second


def test_a_complete_run_has_no_steps_left_to_estimate(config, tmp_path):
    run = open_run(config, tmp_path / "run")
    run.loader.position = run.n_steps
    assert run.estimate() == f"no steps are left: complete at step {run.n_steps} of {run.n_steps}"


def noted(config, path):
    path.mkdir()
    (path / "checkpoints").mkdir()
    (path / "checkpoints" / "step-000000001.safetensors").touch()
    (path / CONFIG).write_text(json.dumps(asdict(config)))
    return path


def test_a_run_resumes_after_changes_that_change_no_number(config, tmp_path):
    path = noted(config, tmp_path / "run")
    Folder(
        path,
        replace(
            config,
            data=replace(config.data, workers=3),
            run=replace(config.run, keep=7, checkpoint_every=1),
            provenance=replace(config.provenance, licence="other"),
            stop=replace(config.stop, factor=50.0),
        ),
    )


def test_a_refusal_lists_what_differs(config, tmp_path):
    path = noted(config, tmp_path / "run")
    model = replace(config.model, cutoff=3.0, atomic_numbers=[29, 47, 79])
    changed = replace(config, model=model, run=replace(config.run, patience=2, keep=9))
    message = (
        r"\(model.cutoff: 4.0 then, 3.0 now; model.atomic_numbers: nothing then, \[29, 47, 79\] now; "
        r"run.patience: nothing then, 2 now\); put these values back"
    )
    with pytest.raises(DataError, match=message):
        Folder(path, changed)
    (path / CONFIG).write_text("half")
    with pytest.raises(DataError, match="the recorded configuration cannot be read"):
        Folder(path, config)
