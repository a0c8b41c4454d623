"""``nequix train``: what it prints, its exit codes, and what --dry-run promises."""

import csv
import re
import statistics
import subprocess
import sys
from pathlib import Path

from tests.train.emt import write_config


def nequix(*arguments):
    command = [sys.executable, "-c", "from nequix.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


def test_a_dry_run_says_what_the_run_then_takes(tmp_path):
    config = write_config(tmp_path, 40, epochs=4)
    dry = nequix("train", config, "-o", tmp_path / "run", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert not (tmp_path / "run" / "checkpoints").exists()
    (n_steps,) = map(int, re.findall(r"(\d+) steps of 4 packs", dry.stdout))
    (promised,) = map(float, re.findall(r"([\d.e-]+) s per epoch", dry.stdout))
    (memory,) = map(float, re.findall(r"peak memory ([\d.]+) GiB", dry.stdout))
    assert 0.1 < memory < 8
    assert re.search(r"[\d,]+ parameters\n32 structures of 3 elements", dry.stdout)
    done = nequix("train", config, "-o", tmp_path / "run")
    assert (done.returncode, "trained" in done.stdout) == (0, True), done.stderr
    with open(tmp_path / "run" / "history.csv", newline="") as handle:
        seconds = [float(row["seconds"]) for row in csv.DictReader(handle) if row["seconds"]]
    assert len(seconds) == n_steps
    taken = statistics.median(seconds) * n_steps / 4
    assert 0.1 < promised / taken < 10  # two processes on a machine that may be busy
    lines = [line for line in done.stderr.splitlines() if line.startswith("step ")]
    assert len(lines) == 4
    assert re.search(
        rf"step {n_steps} of {n_steps}  loss \S+  E \S+ meV/atom  F \S+ meV/A  S \S+ meV/A\^3  "
        r"\S+ structures/s  0 s left",
        lines[-1],
    ), lines


def test_a_configuration_of_finetune_is_distinguished(run, tmp_path):
    """Both commands take a configuration; the message has the command line that this one is for."""
    config = Path(__file__).parents[2] / "configs" / "finetune.yml"
    code, out, err = run("train", str(config), "-o", str(tmp_path / "run"))
    assert (code, out) == (1, "")
    assert err == (
        f"error: {config}: a configuration for `nequix finetune`, which has other keys: "
        f"nequix finetune DATA -o FOLDER --config {config}\n"
    )
    assert not (tmp_path / "run").exists()
