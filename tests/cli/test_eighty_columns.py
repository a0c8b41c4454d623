"""Tables of all commands on a terminal of 80 columns: they fit, and nothing is cut off.

Only addresses, digests and command lines, which are copied, may be longer than a line.
"""

import sys

import pytest
from ase.io import write

from nequix import cli
from tests.calculator.small import write_small
from tests.coverage.sets import compressed, crystal
from tests.data.sets import relabelled, strained_copper
from tests.evaluation.physics.references import write_references
from tests.evaluation.test_phonons import write_reference

SMALL = ("--model", "model.safetensors", "--dtype", "float64")
NANO = ("--model", "nequix-nano")
LONG = "a-rather-long-name-of-a-file-of-structures"

COMMANDS = {
    "models": (("models",), ("name", "nequix-mp-1-pft-nocotrain", "local")),
    "info": (("info", "nequix-nano"), ("hidden irreps", "cutoff")),
    "data get": (("data", "get", "--list"), ("file", "address", "digest")),
    "data check": (("data", "check", f"{LONG}.extxyz"), ("severity", "rule", "for example")),
    "coverage": (("coverage", "check", f"{LONG}.extxyz", *NANO), ("outside",)),
    "select": (("select", f"{LONG}.extxyz", "-n", "3", "-o", "s.extxyz", *NANO), ("rank", "reason")),
    "assess": (("assess", f"{LONG}.extxyz", "-o", "assess", *NANO), ("threshold",)),
    "predict": (("predict", f"{LONG}.extxyz", "-o", "p.extxyz", *SMALL), ("frames",)),
    "relax": (("relax", "relax.extxyz", "--steps", "3", "-o", "r.extxyz", *SMALL), ("fmax (eV/A)",)),
    "evaluate errors": (("evaluate", "errors", f"{LONG}.extxyz", "-o", "errors", *SMALL), ("structures",)),
    "evaluate phonons": (
        ("evaluate", "phonons", "--data", "phonons", "--displacements-only", "-o", "phonons-out", *SMALL),
        ("mean absolute error", "displacements"),
    ),
    "evaluate physics": (
        ("evaluate", "physics", "--data", "references", "--checks", "dimers,eos", "-o", "physics", *SMALL),
        ("dimers",),
    ),
    "evaluate speed": (
        ("evaluate", "speed", "--sizes", "8", "--rounds", "1", "--no-memory", "-o", "speed", *SMALL),
        ("atoms", "steps per day", "contender"),
    ),
}
"""Command lines, and what their tables have."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("narrow")
    write_small(folder)
    frames = strained_copper(30)
    frames[3] = relabelled(frames[3], energy=frames[3].get_potential_energy() + 90.0)
    frames[4] = relabelled(frames[4], forces=100.0 * frames[4].get_forces())
    write(folder / f"{LONG}.extxyz", [*frames, frames[0], compressed()])
    write(folder / "relax.extxyz", crystal("NaCl", 0))
    write_reference(folder / "phonons")
    write_references(folder / "references")
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_tables_fit_and_are_whole(name, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")
    arguments, expected = COMMANDS[name]
    monkeypatch.setattr(sys, "argv", ["nequix", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    printed = capsys.readouterr()
    assert stop.value.code in (0, 3) or name == "data check", printed.err
    for text in expected:
        assert text in printed.out
    assert "…" not in printed.out + printed.err
    for line in printed.out.splitlines():
        assert len(line) <= 80 or line.startswith("> nequix ") or max(map(len, line.split())) > 60, line
