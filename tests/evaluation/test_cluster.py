import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import write
from dask import config
from distributed import Client, LocalCluster

from nequix import cli
from nequix.core.errors import BackendUnavailable
from nequix.evaluation import cluster
from nequix.evaluation.run import run_items
from nequix.evaluation.run_directory import RunDirectory
from nequix.evaluation.task import Engine
from nequix.execution import Execution
from tests.calculator.small import write_small
from tests.evaluation.toy import Toy, outcomes

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return Engine(str(write_small(tmp_path_factory.mktemp("model"))), Execution("torch", dtype="float64"))


@pytest.fixture(scope="module")
def dask():
    """Two worker processes, and a nanny for each, which replaces it when it dies: slowly, so that few may."""
    kinds = {"n_workers": 2, "threads_per_worker": 2, "processes": True}
    with (
        config.set({"distributed.scheduler.allowed-failures": 1}),
        LocalCluster(**kinds, dashboard_address=None, silence_logs=False) as held,
    ):
        yield held


def run(task, engine, folder, workers):
    store, seen = RunDirectory(folder), []
    with store.begin({"settings": task.settings()}):
        run_items(task, engine, store, task.items(), workers, seen.append)
    return store, seen


def test_a_cluster_gives_the_numbers_of_one_process(tmp_path, engine, dask):
    task = Toy(str(tmp_path))
    single, _ = run(task, engine, tmp_path / "single", 0)
    (tmp_path / "scheduler.json").write_text(json.dumps({"address": dask.scheduler_address}))
    for number, where in enumerate((dask.scheduler_address, str(tmp_path / "scheduler.json"))):
        there, seen = run(task, engine, tmp_path / f"there-{number}", where)
        assert sorted(seen) == task.items()
        assert outcomes(there, task) == outcomes(single, task)
    assert run(task, engine, tmp_path / "single", dask.scheduler_address)[1] == []


def test_a_worker_killed_half_way_loses_nothing(tmp_path, engine, dask):
    straight, _ = run(Toy(str(tmp_path)), engine, tmp_path / "straight", 0)
    task, killed = Toy(str(tmp_path), seconds=0.3), []
    items = tmp_path / "run" / "items"

    def kill():
        with Client(dask.scheduler_address, set_as_default=False) as client:
            pids = client.run(os.getpid)
            while not list(items.glob("*.json")):
                time.sleep(0.02)
            busy = [address for address, keys in client.processing().items() if keys]
            killed.extend((busy[0], pids[busy[0]], len(list(items.glob("*.json")))))
            os.kill(pids[busy[0]], signal.SIGKILL)

    other = threading.Thread(target=kill)
    other.start()
    store, seen = run(task, engine, tmp_path / "run", dask.scheduler_address)
    other.join()
    _, pid, n_done = killed
    assert 1 <= n_done < task.n_items
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert sorted(seen) == task.items()
    assert outcomes(store, task) == outcomes(straight, task)


def test_an_item_that_kills_its_workers_is_the_only_failure(tmp_path, engine, dask):
    task = Toy(str(tmp_path), n_items=5)
    (tmp_path / "kill-item-1").write_text("99")
    store, seen = run(task, engine, tmp_path / "run", dask.scheduler_address)
    assert sorted(seen) == task.items()
    errors = {item: store.read(item).error for item in task.items()}
    assert "died, again and again" in errors.pop("item-1")
    assert set(errors.values()) == {None}


def test_an_item_that_raises_is_recorded_with_its_reason(tmp_path, engine, dask):
    task = Toy(str(tmp_path), n_items=2)
    (tmp_path / "raise-item-1").touch()
    store, _ = run(task, engine, tmp_path / "run", dask.scheduler_address)
    assert store.read("item-1").error == "ValueError: raised on purpose"
    assert store.read("item-0").error is None


def test_workers_with_other_data_are_refused(tmp_path, engine, dask):
    task = Toy(str(tmp_path), n_items=2, elsewhere=3)
    with pytest.raises(BackendUnavailable, match=r"would not give the same numbers: n_items = 3 \(got 2\)"):
        run(task, engine, tmp_path / "run", dask.scheduler_address)
    assert not list((tmp_path / "run" / "items").iterdir())


def test_the_command_relaxes_over_a_cluster(tmp_path, engine, dask, monkeypatch):
    frames = [bulk("Cu", a=3.5 + 0.01 * number) for number in range(20)]
    for number, atoms in enumerate(frames):
        atoms.info["material_id"] = f"wbm-1-{number}"
    write(tmp_path / "initial.extxyz", frames)

    def command(output, *more):
        arguments = ["evaluate", "discovery", str(tmp_path / "initial.extxyz"), "-o", str(tmp_path / output)]
        arguments += ["--model", engine.model, "--backend", "torch", "--dtype", "float64", *more]
        monkeypatch.setattr(sys, "argv", ["nequix", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return caught.value.code

    assert command("single") == command("there", "--scheduler", dask.scheduler_address) == 0
    files = [file.name for file in (tmp_path / "single").glob("*.gz")]
    assert len(files) == 2
    for file in files:
        assert (tmp_path / "there" / file).read_bytes() == (tmp_path / "single" / file).read_bytes()
    assert command("both", "--scheduler", dask.scheduler_address, "--workers", "1") == 1


def test_a_scheduler_that_is_not_there_is_reported(tmp_path, engine, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT", 0.5)
    for address in ("tcp://127.0.0.1:9", "nonsense://x"):
        with pytest.raises(BackendUnavailable, match="cannot be reached"):
            run(Toy(str(tmp_path)), engine, tmp_path / "run", address)


def test_a_killed_command_resumes_to_the_same_numbers(tmp_path, engine, dask):
    straight, _ = run(Toy(str(tmp_path)), engine, tmp_path / "straight", 0)
    command = [sys.executable, "-m", "tests.evaluation.toy", engine.model, str(tmp_path)]
    command += [dask.scheduler_address, "0.3"]
    process = subprocess.Popen(command, cwd=ROOT)
    items = tmp_path / "run" / "items"
    while len(list(items.glob("*.json"))) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    held = {path: path.read_bytes() for path in items.glob("*.json")}
    assert 2 <= len(held) < 6
    subprocess.run(command, cwd=ROOT, check=True)
    assert outcomes(RunDirectory(tmp_path / "run"), Toy(str(tmp_path))) == outcomes(
        straight, Toy(str(tmp_path))
    )
    assert {path: path.read_bytes() for path in held} == held


def test_a_lost_scheduler_is_reported_and_what_is_done_is_kept(tmp_path, engine):
    file = tmp_path / "scheduler.json"
    parts = [("scheduler", "--port", "0", "--no-dashboard"), ("worker", "--nthreads", "1", "--no-dashboard")]
    started = [
        subprocess.Popen([sys.executable, "-m", "dask", name, *more, "--scheduler-file", str(file)], cwd=ROOT)
        for name, *more in parts
    ]
    try:
        while not file.exists():
            time.sleep(0.05)
        task = Toy(str(tmp_path), seconds=0.3)
        threading.Thread(target=kill_when_begun, args=(started[0], tmp_path / "run" / "items")).start()
        with pytest.raises(BackendUnavailable, match="was lost; finished items are kept"):
            run(task, engine, tmp_path / "run", str(file))
        assert 1 <= len(list((tmp_path / "run" / "items").glob("*.json"))) < task.n_items
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()


def kill_when_begun(process, items):
    """Kill -9 a process once an item is done."""
    while not list(items.glob("*.json")):
        time.sleep(0.02)
    process.kill()
