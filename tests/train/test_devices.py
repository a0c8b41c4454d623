"""One device, four, and two processes of two each: the same losses."""

import csv
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from nequix.train.processes import join_processes
from tests.train.emt import write_config
from tests.train.pair import environments

DRIVER = """
import sys
from pathlib import Path
from nequix.train.processes import join_processes
join_processes()
from nequix.train.config import read_config
from nequix.train.opening import open_run
assert open_run(read_config(sys.argv[1]), Path(sys.argv[2])).train()
"""


def start(config, folder, n_devices, **variables):
    flags = f"--xla_force_host_platform_device_count={n_devices}"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", **variables, "XLA_FLAGS": flags}
    return subprocess.Popen([sys.executable, "-c", DRIVER, str(config), str(folder)], env=environment)


def losses(folder):
    with open(folder / "history.csv", newline="") as handle:
        return np.array([float(row["loss"]) for row in csv.DictReader(handle) if row["loss"]])


def test_devices_and_processes_give_the_same_losses(tmp_path):
    config = write_config(tmp_path, 64, epochs=4)
    assert start(config, tmp_path / "one", 1).wait(300) == 0
    assert start(config, tmp_path / "four", 4).wait(300) == 0
    both = [start(config, tmp_path / "both", 2, **environment) for environment in environments()]
    assert [process.wait(300) for process in both] == [0, 0]
    one = losses(tmp_path / "one")
    assert len(one) >= 20
    assert one[-5:].mean() < one[:5].mean()
    for other in ("four", "both"):
        assert len(losses(tmp_path / other)) == len(one)
        assert (tmp_path / other / "parity.png").stat().st_size > 1000
        np.testing.assert_allclose(losses(tmp_path / other), one, rtol=1e-5)


FOUND = """
from nequix.train.processes import anywhere, join_processes
join_processes()
import jax
assert (jax.process_count(), jax.device_count(), jax.local_device_count()) == (2, 4, 2)
assert anywhere(jax.process_index() == 1)
assert not anywhere(False)
"""


def test_processes_find_each_other_under_slurm():
    with socket.socket() as free:  # JAX derives its port from the job's number: 61440 and its last 12 bits
        free.bind(("127.0.0.1", 0))
        job = free.getsockname()[1]
    slurm = {"SLURM_JOB_ID": str(job), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
    flags = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    environment = {name: x for name, x in os.environ.items() if not name.startswith(("NEQUIX_", "SLURM_"))}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", FOUND],
            env={**environment, **flags, **slurm, "SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)},
        )
        for i in (0, 1)
    ]
    assert [process.wait(300) for process in both] == [0, 0]


def test_a_batch_script_without_srun_is_a_single_process(monkeypatch):
    monkeypatch.delenv("SLURM_STEP_NODELIST", raising=False)
    for name, value in {"JOB_ID": "7", "PROCID": "0", "LOCALID": "0", "NTASKS": "4"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setattr("jax.distributed.initialize", lambda *_, **__: pytest.fail("waits for others"))
    join_processes()
