import json
from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import write

from tests.calculator import small
from tests.coverage import sets

COMMON = ("--model", "model.safetensors", "--backend", "torch", "--dtype", "float64")


@pytest.fixture(autouse=True)
def _files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    small.write_small(tmp_path)
    write("train.extxyz", [sets.crystal(name, seed) for name in sets.CRYSTALS for seed in range(40)])
    write("usual.extxyz", [sets.crystal("Cu", seed) for seed in range(300, 305)])
    write("contact.extxyz", [sets.crystal("Na", 300), sets.short_contact()])
    write("POSCAR", sets.unseen_pair(), sort=True)


def test_build_then_coverage_with_a_report(run):
    code, out, _ = run("coverage", "build", "train.extxyz", *COMMON)
    assert (code, out) == (0, "model.coverage.safetensors: 480 structures, 7 elements\n")
    code, out, err = run("coverage", "usual.extxyz", *COMMON)
    assert code == 0
    assert "backend torch" in err
    assert out.splitlines()[0].startswith("inside: of 5 structures with 80 atoms 5 inside")
    code, out, _ = run("coverage", "contact.extxyz", "-o", "report", *COMMON)
    assert out.startswith("outside: of 2 structures")
    assert "Na-Na" in out
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out
    held = json.loads(Path("report/results.json").read_bytes())
    assert held["results"]["verdict"] == "outside"
    assert [row["verdict"] for row in held["results"]["structures"]] == ["inside", "outside"]
    assert len(held["results"]["atoms"]["score"]) == held["results"]["n_atoms"] == 16
    assert held["results"]["reference"]["data"] == "train.extxyz"
    assert held["engine"]["kernel"]
    page = Path("report/report.md").read_text()
    for part in ("**outside**", "## Gaps", "Na-Na", "contact.extxyz:1", "histograms.png", "scores.png"):
        assert part in page
    for figure in ("histograms.png", "scores.png"):
        assert Path("report", figure).read_bytes()[:4] == b"\x89PNG"


def test_the_default_model_has_a_reference(run):
    crystal = bulk("MgO", "rocksalt", a=4.24, cubic=True)
    crystal.rattle(0.02, seed=0)
    write("md.extxyz", [crystal])
    code, out, _ = run("coverage", "md.extxyz", "--no-features")
    assert code == 0
    out = " ".join(out.split())
    assert "Compared with 1000 structures of MPtrj" in out
    assert "the reference is a sample" in out
    assert out.splitlines()[-1].startswith("inside: of 1 structures")


def test_without_features_no_backend_is_loaded(run, monkeypatch):
    run("coverage", "build", "train.extxyz", "--no-features", *COMMON)
    monkeypatch.setattr("nequix.backends.import_backend", None)
    code, out, _ = run("coverage", "POSCAR", "-o", "report", "--no-features", "--model", "model.safetensors")
    assert code == 0
    assert "outside: of 1 structures" in out
    assert json.loads(Path("report/results.json").read_bytes())["engine"]["backend"] is None


def test_also_counts_structures_as_known(run):
    run("coverage", "build", "train.extxyz", "--no-features", *COMMON)
    frames = [sets.unseen_pair() for _ in range(24)]
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=seed)
    write("mine.extxyz", frames)
    _, out, _ = run("coverage", "POSCAR", "--also", "mine.extxyz", "--model", "model.safetensors")
    assert "outside" not in out.splitlines()[-1].split(":")[0]


def test_errors_say_what_to_do(run):
    code, _, err = run("coverage", "usual.extxyz", *COMMON)
    assert (code, err.count("\n")) == (1, 1)
    assert "nequix coverage build DATA --model model.safetensors" in err
    run("coverage", "build", "train.extxyz", *COMMON)
    assert "--force" in run("coverage", "build", "train.extxyz", *COMMON)[2]
    assert "no such file" in run("coverage", "missing.extxyz", *COMMON)[2]
    code, out, _ = run("coverage", "--help")
    assert "build" in out


def test_brackets_in_names_are_printed_as_they_are(run):
    run("coverage", "build", "train.extxyz", "--no-features", *COMMON)
    single = sets.crystal("Cu", 300)
    single.positions[0] = float("nan")
    write("a[b].extxyz", [sets.crystal("Cu", 300), single])
    _, out, _ = run("coverage", "a[b].extxyz", "--model", "model.safetensors")
    line = next(line for line in out.splitlines() if line.startswith("not judged: "))
    assert line.count("a[b].extxyz:1") == 1


def test_a_folder_that_cannot_be_made_is_reported_before_the_work(run, monkeypatch):
    run("coverage", "build", "train.extxyz", "--no-features", *COMMON)
    monkeypatch.setattr("nequix.coverage.assess_coverage.assess_coverage", None)
    for name in ("POSCAR", "POSCAR/report"):
        code, _, err = run("coverage", "usual.extxyz", "-o", name, "--no-features", *COMMON)
        assert (code, err.count("\n"), "cannot be created as a folder" in err) == (1, 1, True)
