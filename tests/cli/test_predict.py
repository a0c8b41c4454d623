"""``nequix predict``: the results of every frame, and what happens to bad ones."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.constraints import FixAtoms
from ase.io import read, write

from tests.calculator import small
from tests.cli.structures import COMMON, WRITTEN, bad_frame

pytestmark = pytest.mark.usefixtures("small_files")


@pytest.mark.parametrize("ending", ["extxyz", "extxyz.gz", "traj", "json"])
def test_predict_writes_all_results_of_all_frames(run, calc, ending):
    code, out, err = run("predict", "salt.extxyz", "oxide.cif", "-o", f"out.{ending}", *COMMON)
    assert not list(Path.cwd().glob(".nequix-*"))
    assert (Path(f"out.{ending}").read_bytes()[:2] == b"\x1f\x8b") == ending.endswith("gz")
    assert (code, out) == (0, f"out.{ending}: 4 frames\n")
    assert "backend torch, kernel " in err
    frames = read(f"out.{ending}", ":")
    for atoms, source in zip(frames, [*read("salt.extxyz", ":"), read("oxide.cif")], strict=True):
        calc.calculate(source)
        for name, value in calc.results.items():
            np.testing.assert_allclose(atoms.calc.results[name], value, rtol=0, atol=WRITTEN, err_msg=name)
        np.testing.assert_allclose(atoms.positions, source.positions, rtol=0, atol=WRITTEN)
        assert set(atoms.calc.results) == set(calc.results)
    assert ["stress" in atoms.calc.results for atoms in frames] == [True, False, True, True]


def test_predict_replaces_older_results_and_keeps_what_else_there_is(run, calc):
    atoms = small.salt()
    atoms.set_constraint(FixAtoms([0, 1]))
    atoms.info.update(energy=1234.5, note="kept")
    atoms.arrays["forces"] = np.ones((len(atoms), 3))
    write("labelled.extxyz", atoms)
    assert run("predict", "labelled.extxyz", "-o", "out.extxyz", *COMMON)[0] == 0
    predicted = read("out.extxyz")
    calc.calculate(small.salt())
    assert predicted.get_potential_energy() == pytest.approx(calc.results["energy"], abs=1e-5)
    raw = predicted.get_forces(apply_constraint=False)
    np.testing.assert_allclose(raw, calc.results["forces"], rtol=0, atol=WRITTEN)
    assert predicted.info["note"] == "kept"
    assert predicted.constraints[0].index.tolist() == [0, 1]


def test_predict_stops_at_a_bad_frame_and_writes_nothing(run, tmp_path):
    write("bad.extxyz", [small.water(), bad_frame(), small.slab()])
    before = sorted(tmp_path.iterdir())
    code, out, err = run("predict", "salt.extxyz", "bad.extxyz", "-o", "out.extxyz", *COMMON)
    assert (code, out) == (1, "")
    assert "error: bad.extxyz: frame 1: atom 5 is U (Z = 92)" in err
    assert sorted(tmp_path.iterdir()) == before


def test_predict_keeps_going_if_asked_to(run):
    write("bad.extxyz", [small.water(), bad_frame(), small.slab()])
    content = Path("salt.extxyz").read_text()
    Path("cut.extxyz").write_text(content[: int(len(content) * 0.9)])
    arguments = ("predict", "bad.extxyz", "absent.cif", "cut.extxyz", "-o", "out.extxyz", "--keep-going")
    code, out, err = run(*arguments, *COMMON)
    assert (code, out.split(": ")[0]) == (1, "out.extxyz")
    assert "bad.extxyz: frame 1: atom 5 is U" in err
    assert "absent.cif: no such file" in err
    assert "cut.extxyz: ends within frame 2" in err
    assert "3 failures" in err
    formulas = [str(atoms.symbols) for atoms in read("out.extxyz", ":")]
    assert formulas[:2] == ["OH2", "Cu3"]


def test_predict_writes_nothing_if_every_frame_is_bad(run, tmp_path):
    write("iron.cif", bulk("Fe"))
    assert run("predict", "iron.cif", "-o", "out.extxyz", "--keep-going", *COMMON)[0] == 1
    assert not (tmp_path / "out.extxyz").exists()
