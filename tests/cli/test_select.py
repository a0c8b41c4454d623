import numpy as np
import pytest
from ase.io import read, write

from tests.calculator import small
from tests.coverage import sets

COMMON = ("--model", "model.safetensors", "--backend", "torch", "--dtype", "float64")


@pytest.fixture(autouse=True)
def _files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small.write_small(tmp_path)
    frames = [sets.crystal("Cu", seed) for seed in range(6)] + [sets.compressed()]
    for index, atoms in enumerate(frames):
        atoms.arrays["force_spread"] = np.full(len(atoms), 0.1 * (index % 4))
        atoms.info["kept"] = index
    write("md.extxyz", frames)


def test_select_writes_the_chosen_with_reasons(run):
    code, out, _ = run(
        "select", "md.extxyz", "-n", "3", "-o", "chosen.extxyz", "--strategy", "farthest", *COMMON
    )
    assert code == 0
    assert out.splitlines()[-1] == "chosen.extxyz: 3 of 7 structures, farthest"
    frames = read("chosen.extxyz", ":")
    assert [atoms.info["select_rank"] for atoms in frames] == [1, 2, 3]
    assert frames[1].info["kept"] == 6
    assert frames[1].info["select_from"] == "md.extxyz 6"
    assert "from what is known" in frames[1].info["select_reason"]
    again = run(
        "select",
        "md.extxyz",
        "-n",
        "1",
        "-o",
        "next.extxyz",
        "--known",
        "chosen.extxyz",
        "--strategy",
        "farthest",
        *COMMON,
    )
    assert again[0] == 0
    assert read("next.extxyz").info["kept"] not in [atoms.info["kept"] for atoms in frames]


def test_select_takes_typical_ones_by_default(run):
    code, out, _ = run("select", "md.extxyz", "-n", "2", "-o", "chosen.extxyz", *COMMON)
    assert (code, out.splitlines()[-1]) == (0, "chosen.extxyz: 2 of 7 structures, clusters")
    frames = read("chosen.extxyz", ":")
    assert frames[0].info["select_reason"].startswith("most typical of ")
    assert frames[0].info["kept"] != frames[1].info["kept"]
    code, _, err = run(
        "select", "md.extxyz", "-n", "2", "-o", "next.extxyz", "--known", "chosen.extxyz", *COMMON
    )
    assert (code, "take farthest or gaps" in err) == (1, True)


def test_select_by_the_spread_of_an_ensemble_and_at_random(run):
    arguments = ("select", "md.extxyz", "-n", "1", "-o", "chosen.extxyz", "--force")
    assert run(*arguments, "--strategy", "ensemble", "--spread", "force_spread")[0] == 0
    assert read("chosen.extxyz").info["kept"] == 3
    assert run(*arguments, "--strategy", "random", "--seed", "1")[0] == 0
    code, _, err = run(*arguments, "--strategy", "ensemble", "--spread", "none")
    assert (code, "'none'" in err) == (1, True)


def test_select_needs_a_reference_for_gaps_and_enough_candidates(run):
    code, _, err = run("select", "md.extxyz", "-n", "2", "-o", "c.extxyz", "--strategy", "gaps", *COMMON)
    assert (code, "nequix coverage build" in err) == (1, True)
    code, _, err = run("select", "md.extxyz", "-n", "9", "-o", "c.extxyz", *COMMON)
    assert (code, "expected 1 to 7" in err) == (1, True)
