"""Workers and processes that are lost: an error soon, not a wait without end."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from nequix.core.errors import DataError
from nequix.train.config import read_config
from nequix.train.opening import open_run
from tests.train.emt import write_config
from tests.train.pair import environments


def test_a_lost_worker_ends_the_run_which_then_resumes(tmp_path):
    config = read_config(write_config(tmp_path, 24, workers=2, epochs=1000))

    def kill_a_worker(step, n_steps, values):
        if step == 6:
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

    with pytest.raises(DataError, match="a worker process died"):
        open_run(config, tmp_path / "run").train(kill_a_worker)
    assert not multiprocessing.active_children()
    again = open_run(config, tmp_path / "run")
    assert 5 <= again.loader.position < 30  # what was in the other worker's hands is still taken
    seen = []

    def stop(step, n_steps, values):
        seen.append(step)
        os.kill(os.getpid(), signal.SIGTERM)

    first = again.loader.position + 1
    assert not again.train(stop)
    assert seen == [first]


LOST_AFTER = 20

DRIVER = """
import os, signal, sys
from pathlib import Path
from nequix.train import processes
processes.LOST_AFTER = int(sys.argv[5])
processes.join_processes()
from nequix.train.config import read_config
from nequix.train.opening import open_run

def report(step, n_steps, values):
    if step == 6 and os.environ["NEQUIX_PROCESS"] == sys.argv[3]:
        if sys.argv[4] == "0":
            raise RuntimeError("planted")
        os.kill(os.getpid(), int(sys.argv[4]))

sys.exit(0 if open_run(read_config(sys.argv[1]), Path(sys.argv[2])).train(report) else 3)
"""


def together(config, folder, which, number):
    """Run two processes in one folder, one of which sends itself a signal; return the exit codes."""
    command = [sys.executable, "-c", DRIVER, str(config), str(folder), str(which), str(int(number))]
    command.append(str(LOST_AFTER))
    running = [subprocess.Popen(command, env=environment) for environment in environments()]
    started = time.monotonic()
    try:
        while all(process.poll() is None for process in running) and time.monotonic() - started < 300:
            time.sleep(0.1)
        started = time.monotonic()
        for process in running:
            process.wait(300)
        return [process.returncode for process in running], time.monotonic() - started
    finally:
        for process in running:
            process.kill()
            process.wait()


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("number", [signal.SIGKILL, 0], ids=["killed", "failed"])
def test_a_lost_process_ends_the_other(tmp_path, which, number):
    config = write_config(tmp_path, 24, epochs=1000)
    codes, seconds = together(config, tmp_path / "run", which, number)
    assert codes[which] == -signal.SIGKILL if number else codes[which] not in (0, 3)
    assert codes[1 - which] not in (0, 3)
    assert seconds < 6 * LOST_AFTER  # some of it is for a busy machine


def test_a_signal_to_one_process_stops_both_after_a_checkpoint(tmp_path):
    config = write_config(tmp_path, 24, epochs=1000)
    codes, _ = together(config, tmp_path / "run", 1, signal.SIGTERM)
    assert codes == [3, 3]
    assert (tmp_path / "run" / "checkpoints" / "step-000000006.safetensors").exists()
    steps = [line.split(",")[0] for line in (tmp_path / "run" / "history.csv").read_text().splitlines()]
    assert [int(step) for step in steps[1:]] == sorted(map(int, steps[1:]))


COMPILING = """
import hashlib, os, signal, sys, threading
from pathlib import Path
from nequix.train.processes import join_processes
join_processes()
from nequix.io.interrupts import compiling, on_interrupt, stop_signals
from nequix.train.processes import losses_named

with losses_named(), stop_signals(), on_interrupt(lambda: "nothing"):
    with compiling("JAX compiles the training step"):
        if os.environ["NEQUIX_PROCESS"] == sys.argv[1]:
            threading.Timer(0.5, os.kill, (os.getpid(), int(sys.argv[2]))).start()
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # one call into C, of minutes
"""


@pytest.mark.parametrize(("which", "number"), [(0, signal.SIGKILL), (1, signal.SIGTERM)])
def test_a_process_lost_while_compiling_ends_the_other_which_compiles_too(which, number):
    """The call into C stands for a compilation, which no signal interrupts either."""
    command = [sys.executable, "-c", COMPILING, str(which), str(int(number))]
    pipes = {"stderr": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, env=environment, **pipes) for environment in environments()]
    try:
        running[which].wait(120)
        started = time.monotonic()
        _, err = running[1 - which].communicate(timeout=60)
    finally:
        for process in running:
            process.kill()
            process.communicate()
    assert running[which].returncode == (-number if number == signal.SIGKILL else 128 + number)
    assert running[1 - which].returncode == 1
    assert f"process {1 - which} of 2 cannot continue: another one was lost" in err
    assert time.monotonic() - started < 60
