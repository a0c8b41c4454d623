"""A command that is killed half-way, and begun again, ends with the numbers of one that was not."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from nequix.evaluation.run_directory import RunDirectory
from tests.calculator.small import rattled, write_small
from tests.evaluation.commands import evaluate, evaluate_killed, outcomes, results
from tests.evaluation.crystals import write_crystals
from tests.evaluation.pairs import PairPotential
from tests.evaluation.physics.references import write_references
from tests.evaluation.test_phonons import write_reference


@pytest.fixture
def engine(tmp_path):
    return "--model", write_small(tmp_path), "--backend", "torch", "--dtype", "float64"


def errors(folder):
    frames = [rattled(bulk("Cu", a=3.6, cubic=True), seed) for seed in range(3)]
    for number, atoms in enumerate(frames):
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0 * number, forces=atoms.positions)
    write(folder / "labelled.extxyz", frames * 50)
    return "errors", folder / "labelled.extxyz"


def discovery(folder):
    frames = [bulk(("Cu", "Al")[number % 2], a=4.0 + 0.01 * number) for number in range(18)]
    for number, atoms in enumerate(frames):
        atoms.info["material_id"] = f"wbm-1-{number}"
    write(folder / "initial.extxyz", frames)
    return "discovery", folder / "initial.extxyz"


def kappa(folder):
    (folder / "kappa").mkdir()
    write_crystals(folder / "kappa", PairPotential())
    return "kappa", "--data", folder / "kappa"


def phonons(folder):
    write_reference(folder / "phonons")
    return "phonons", "--data", folder / "phonons", "--fixed-cell", "fcc,hcp"


def physics(folder):
    checks = "molecule,one-atom-cell,dimers,eos"
    return "physics", "--data", write_references(folder / "data"), "--checks", checks


@pytest.mark.parametrize("command", [errors, discovery, kappa, phonons, physics])
def test_a_killed_command_ends_with_the_same_numbers(tmp_path, engine, command):
    arguments = (*command(tmp_path), *engine)
    code = evaluate(*arguments, "-o", tmp_path / "straight")
    assert code in (0, 3)
    evaluate_killed(1, *arguments, "-o", tmp_path / "killed")
    held = outcomes(tmp_path / "killed")
    assert sum(name.endswith(".json") for name in held) == 1
    assert any(name.endswith(".tmp") for name in held)
    assert evaluate(*arguments, "-o", tmp_path / "killed") == code
    assert results(tmp_path / "killed") == results(tmp_path / "straight")
    for path in (tmp_path / "straight").glob("*.gz"):
        assert (tmp_path / "killed" / path.name).read_bytes() == path.read_bytes()
    after = outcomes(tmp_path / "killed")
    assert set(after) == set(outcomes(tmp_path / "straight"))
    assert all(after[name] == content for name, content in held.items() if name.endswith(".json"))
    for item in (name.removesuffix(".json") for name in after if name.endswith(".json")):
        one, other = (RunDirectory(tmp_path / name).read(item) for name in ("straight", "killed"))
        assert one.error is None
        for name, array in one.arrays.items():
            np.testing.assert_array_equal(other.arrays[name], array)


def test_a_killed_race_keeps_what_it_has_timed(tmp_path, engine):
    arguments = ("speed", "--sizes", "8,16", "--rounds", "2", "--no-memory", *engine)
    evaluate_killed(1, *arguments, "-o", tmp_path / "run")
    held = outcomes(tmp_path / "run")["atoms-0000008.json"]
    assert evaluate(*arguments, "-o", tmp_path / "run") == 0
    assert outcomes(tmp_path / "run")["atoms-0000008.json"] == held
    rows = results(tmp_path / "run")["rows"]
    assert [(row["n_atoms"], row["error"]) for row in rows] == [(8, None), (16, None)]


@pytest.mark.parametrize("command", [discovery, kappa, phonons])
def test_what_cannot_be_reported_is_refused(tmp_path, engine, capsys, command):
    arguments = (*command(tmp_path), *engine, "-o", tmp_path / "none", "--report-only")
    assert evaluate(*arguments) == 1
    assert "contains no run to report" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    if command is not discovery:
        assert evaluate(*arguments, "--retry-failed") == 1
        assert "leave out --only and --retry-failed" in capsys.readouterr().err
