"""Every command loads its model once, and puts it on a backend once."""

import pytest
from ase.build import bulk
from ase.io import write

import nequix
from nequix.io import catalogue
from nequix.native.potential import Potential

NANO = ("--model", "nequix-nano", "--backend", "native")


@pytest.fixture
def loads(monkeypatch):
    """Count files of weights that are read and potentials that are made."""
    counted = {"files": 0, "potentials": 0}
    read, make = catalogue.read_weights, Potential.__init__

    def count_read(path):
        counted["files"] += 1
        return read(path)

    def count_make(self, *arguments, **options):
        counted["potentials"] += 1
        make(self, *arguments, **options)

    monkeypatch.setattr(catalogue, "read_weights", count_read)
    monkeypatch.setattr(Potential, "__init__", count_make)
    return counted


@pytest.fixture
def _labelled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    crystals = [bulk("Si", a=a, cubic=True) for a in (5.3, 5.4, 5.5, 5.6)]
    for seed, atoms in enumerate(crystals):
        atoms.rattle(0.05, seed=seed)
    write("labelled.extxyz", nequix.predict(crystals, "nequix-nano"))


@pytest.mark.usefixtures("_labelled")
@pytest.mark.parametrize(
    "command",
    [
        "predict labelled.extxyz -o out.extxyz",
        "relax labelled.extxyz -o out.extxyz --steps 1",
        "select labelled.extxyz -n 2 -o out.extxyz --strategy farthest",
        "select labelled.extxyz -n 2 -o out.extxyz --strategy gaps",
        "coverage check labelled.extxyz -o report",
        "coverage build labelled.extxyz -o out.npz",
        "assess labelled.extxyz -o report",
        "data check labelled.extxyz",
        "evaluate errors labelled.extxyz -o run",
        "evaluate physics -o run --checks cutoff",
        "evaluate speed -o run --sizes 8 --rounds 1 --no-memory",
    ],
)
def test_a_command_loads_its_model_once(run, loads, command):
    code, _, err = run(*command.split(), *NANO)
    assert code in (0, 1, 3), err
    assert "Traceback" not in err
    assert loads["files"] == 1
    assert loads["potentials"] == (0 if "gaps" in command else 1)
