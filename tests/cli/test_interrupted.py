"""Ctrl-C and SIGTERM end commands: they say what was kept, and ``relax`` writes the structure it reached."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from nequix import NequixCalculator
from tests.calculator import small
from tests.evaluation.commands import results

SIGNALS = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
"""
"""As in a terminal: background jobs of a shell, and what they start, ignore Ctrl-C."""

SLOW = """
import time
from nequix.calculator import NequixCalculator
from nequix.evaluation.run_directory import RunDirectory

def slowly(method):
    def call(*arguments, **options):
        value = method(*arguments, **options)
        print("AT WORK", flush=True)
        time.sleep(0.2)
        return value
    return call

NequixCalculator.calculate = slowly(NequixCalculator.calculate)
RunDirectory.write = slowly(RunDirectory.write)
"""
"""Calculations and items that take their time, and are announced."""

BEFORE = """
import os, signal
from nequix.workflows import relaxation
relaxation.relax = lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM)
"""
"""A signal before the first step."""

MAIN = "from nequix.cli import main; main()"
NUMBERS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
ENGINE = ("--model", "model.safetensors", "--dtype", "float64")


@pytest.fixture(autouse=True)
def _files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small.write_small(tmp_path)


def interrupt(number: int, after: int, *arguments: str) -> tuple[str, str]:
    """Interrupt a command after some calculations or items; return what it printed on either stream."""
    process = subprocess.Popen(
        [sys.executable, "-c", SIGNALS + SLOW + MAIN, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    printed = ""
    while printed.count("AT WORK") < after and (line := process.stdout.readline()):
        printed += line
    process.send_signal(number)
    rest, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert "Traceback" not in err
    name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    assert err.splitlines()[-1].startswith(f"interrupted ({name}): ")
    return printed + rest, err.splitlines()[-1].partition(": ")[2]


@NUMBERS
def test_relax_writes_the_structure_that_it_reached(number):
    start = small.salt()
    write("salt.extxyz", start)
    out, said = interrupt(number, 4, "relax", "salt.extxyz", "--fmax", "1e-9", "-o", "out.extxyz", *ENGINE)
    n_steps = re.fullmatch(
        r"out\.extxyz holds the structure after (\d+) steps, which is NOT converged", said
    ).group(1)
    assert int(n_steps) >= 2
    reached = read("out.extxyz")
    (energy,) = re.findall(rf"^ *{n_steps} +(-?[\d.]+) ", out, re.MULTILINE)
    assert reached.get_potential_energy() == pytest.approx(float(energy), abs=1e-6)
    assert np.abs(reached.positions - start.positions).max() > 1e-4
    calc = NequixCalculator(small.WEIGHTS, dtype="float64")
    calc.calculate(reached)
    np.testing.assert_allclose(reached.get_forces(), calc.results["forces"], rtol=0, atol=1e-6)


def test_relax_says_that_there_is_nothing_yet():
    write("salt.extxyz", small.salt())
    command = [sys.executable, "-c", BEFORE + MAIN, "relax", "salt.extxyz", "-o", "out.extxyz", *ENGINE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert "there is no result yet, out.extxyz was not written" in done.stderr
    assert not Path("out.extxyz").exists()


@NUMBERS
def test_predict_says_how_many_frames_were_evaluated(number):
    write("salt.extxyz", [small.salt()] * 100)
    out, said = interrupt(number, 3, "predict", "salt.extxyz", "-o", "out.extxyz", *ENGINE)
    n_frames = int(re.fullmatch(r"(\d+) frames were evaluated, out\.extxyz was not written", said).group(1))
    assert n_frames in (out.count("AT WORK") - 1, out.count("AT WORK"))
    assert {path.name for path in Path().iterdir()} == {"salt.extxyz", "model.safetensors"}


@NUMBERS
def test_evaluate_keeps_items_and_continues_with_the_same_command(number):
    frames = []
    for seed in range(3):
        atoms = small.rattled(small.salt(), seed)
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0 * seed, forces=atoms.positions)
        frames.append(atoms)
    write("labelled.extxyz", frames * 60)
    command = ("evaluate", "errors", "labelled.extxyz", *ENGINE)
    _, said = interrupt(number, 1, *command, "-o", "out")
    match = re.fullmatch(r"(\d+) of (\d+) items are kept in out; the same command continues", said)
    n_kept, n_items = map(int, match.groups())
    assert n_kept == len(list(Path("out/items").glob("*.json")))
    assert 1 <= n_kept < n_items
    times = {path: path.stat().st_mtime_ns for path in Path("out/items").glob("*.json")}
    for folder in ("out", "whole"):
        subprocess.run([sys.executable, "-c", MAIN, *command, "-o", folder], check=True, timeout=120)
    assert results(Path("out")) == results(Path("whole"))
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
