"""What ``nequix evaluate`` says and leaves out."""

import json
from pathlib import Path

import pytest

from tests.calculator.small import write_small
from tests.evaluation.test_phonons import write_reference

ENGINE = ("--model", "model.safetensors", "--dtype", "float64")


@pytest.fixture(autouse=True)
def _files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_small(tmp_path)


def test_phonons_by_displacements_only(run):
    """Nothing of the Hessian is calculated, listed or compared."""
    write_reference(Path("phonons"))
    command = ("evaluate", "phonons", "--data", "phonons", "-o", "out", "--only", "fcc", *ENGINE)
    code, out, err = run(*command, "--displacements-only")
    assert code == 0, err
    assert out.split()[:4] == ["mean", "absolute", "error", "displacements"]
    assert "hessian" not in out.lower()
    summary = json.loads(Path("out/results.json").read_text())["results"]["summary"]
    assert list(summary["mae"]) == ["displacements"]
    assert all(value >= 0 for value in summary["mae"]["displacements"].values())
    (item,) = Path("out/items").glob("*.json")
    assert "hessian" not in item.read_text().lower()
    code, _, err = run(*command)  # other settings: not the same run
    assert (code, "out" in err, "Traceback" in err) == (1, True, False)


def test_speed_says_which_sizes_are_timed(run):
    """Cells of diamond have a multiple of eight atoms."""
    command = ("evaluate", "speed", "--rounds", "1", "--no-memory", *ENGINE)
    code, out, err = run(*command, "--sizes", "3", "-o", "three")
    assert code == 0, err
    assert "--sizes 3: diamond cells have a multiple of 8 atoms; timing 8" in out
    (row,) = json.loads(Path("three/results.json").read_text())["results"]["rows"]
    assert (row["n_atoms"], row["error"]) == (8, None)
    assert out.splitlines()[-2].split()[0] == "8"
    code, out, _ = run(*command, "--sizes", "8", "-o", "eight")
    assert (code, "--sizes" in out) == (0, False)


@pytest.mark.parametrize("sizes", ["", "8,x", "1.5"])
def test_sizes_that_are_not_numbers_are_refused(run, sizes):
    code, out, err = run("evaluate", "speed", "--sizes", sizes, "-o", "out", *ENGINE)
    assert (code, out) == (1, "")
    assert err.splitlines()[-1] == f"error: --sizes {sizes}: expected numbers of atoms, separated by commas"
    assert not Path("out").exists()
