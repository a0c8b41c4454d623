"""``nequix relax``: minima, what is written, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.io import read, write

from nequix.cli.run import NOT_CONVERGED
from tests.calculator import small
from tests.cli.structures import COMMON, bad_frame

pytestmark = pytest.mark.usefixtures("small_files")


@pytest.mark.parametrize("optimizer", ["fire", "bfgs", "lbfgs"])
def test_relax_finds_a_minimum(run, calc, optimizer):
    arguments = ("relax", "oxide.cif", "--fmax", "0.05", "--optimizer", optimizer)
    code, out, err = run(*arguments, *COMMON)
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0].split() == ["step", "energy", "(eV)", "fmax", "(eV/A)", "volume", "(A^3)"]
    assert lines[1].split()[0] == "0"
    assert lines[-1] == "oxide-relaxed.extxyz: converged"
    relaxed = read("oxide-relaxed.extxyz")
    assert np.linalg.norm(relaxed.get_forces(), axis=1).max() < 0.05
    assert float(lines[-2].split()[2]) < 0.05
    calc.calculate(read("oxide.cif"))
    assert relaxed.get_potential_energy() < calc.results["energy"]


def test_relax_replaces_the_labels_of_a_structure(run):
    atoms = read("oxide.cif")
    atoms.info["energy"], atoms.arrays["forces"] = -1.0, np.ones((len(atoms), 3))
    atoms.write("labelled.traj")
    code, _, err = run("relax", "labelled.traj", "--steps", "1", "-o", "o.extxyz", *COMMON)
    assert code == NOT_CONVERGED, err
    assert read("o.extxyz").get_potential_energy() != -1.0


def test_relax_says_that_it_did_not_converge_and_writes_what_it_reached(run):
    arguments = ("relax", "salt.extxyz", "--frame", "0", "--fmax", "1e-9", "--steps", "2", "-o", "POSCAR")
    code, out, err = run(*arguments, *COMMON)
    assert code == NOT_CONVERGED
    assert out.splitlines()[-1] == "POSCAR: NOT converged in 2 steps"
    assert "frame 0 of 3" in err
    assert not np.allclose(read("POSCAR").positions, read("salt.extxyz", 0).positions)


def _outcar(name):
    """Write the least of an OUTCAR that ASE reads."""
    atoms = bulk("NaCl", "rocksalt", 5.6)
    atoms.positions[1, 0] += 0.1
    rows = [f"{a} {b} {c} 0 0 0" for a, b, c in atoms.cell.array]
    atom_rows = [f"{x} {y} {z} 0 0 0" for x, y, z in atoms.positions]
    lines = [" POTCAR:    PAW_PBE Na 08Apr2002", " POTCAR:    PAW_PBE Cl 06Sep2000"] * 2
    lines += ["   ions per type =               1   1", " ---- Iteration      1(   1) ----"]
    lines += ["      direct lattice vectors   reciprocal", *rows]
    lines += [" POSITION                          TOTAL-FORCE (eV/Angst)", " ----", *atom_rows, " ----"]
    lines += ["  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)", " ---", "  free  energy   TOTEN  =  -1.0 eV"]
    lines += ["", "  energy  without entropy=  -1.0  energy(sigma->0) =  -1.0"]
    Path(name).write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("name", ["POSCAR", "CONTCAR", "OUTCAR", "POSCAR.gz"])
def test_relax_writes_extxyz_whatever_the_input_is_called(run, name):
    if name == "OUTCAR":
        _outcar(name)
    else:
        write(name, read("oxide.cif"), format="vasp")
    code, out, err = run("relax", name, "--fmax", "1e-9", "--steps", "1", *COMMON)
    target = f"{Path(name).stem.lower()}-relaxed.extxyz"
    assert code == NOT_CONVERGED, err
    assert out.splitlines()[-1].startswith(f"{target}: ")
    relaxed = read(target)
    assert np.isfinite(relaxed.get_potential_energy())
    assert np.abs(relaxed.get_forces()).max() > 0
    assert run("predict", target, "-o", "POSCAR-out.extxyz", *COMMON)[0] == 0  # it can be read here, too
    predicted = read("POSCAR-out.extxyz", format="extxyz")
    assert predicted.get_potential_energy() == pytest.approx(relaxed.get_potential_energy(), abs=1e-5)


def test_relax_moves_the_cell_only_if_asked_to(run):
    before = read("salt.extxyz", 0).cell
    arguments = ("relax", "salt.extxyz", "--frame", "0", "--fmax", "1e-9", "--steps", "2", "--force", *COMMON)
    for option, moves in (("--no-cell", False), ("--cell", True)):
        assert run(*arguments, option)[0] == NOT_CONVERGED
        assert np.allclose(read("salt-relaxed.extxyz").cell, before) != moves


def test_relax_of_a_molecule_shows_no_volume(run):
    code, out, _ = run("relax", "salt.extxyz", "--frame", "1", "--steps", "1", "--fmax", "1e-9", *COMMON)
    assert code == NOT_CONVERGED
    assert out.splitlines()[1].split()[-1] == "-"
    assert "stress" not in read("salt-relaxed.extxyz").calc.results


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("salt.extxyz", "--cell"), "pbc = [True, True, False]"),
        (
            ("flat.extxyz", "--cell"),
            "pbc = [True, True, True], 0 of 3 independent lattice vectors: only a cell",
        ),
        (("salt.extxyz", "--frame", "3"), "no frame 3"),
        (("salt.extxyz", "--fmax", "0"), "expected positive"),
        (("absent.cif",), "absent.cif: no such file"),
        (("iron.cif",), "iron.cif: frame 0: atom 0 is Fe"),
        (("salt.extxyz", "--frame", "1", "-o", "POSCAR_w"), "POSCAR_w: the format 'vasp' cannot store this"),
        (("empty.extxyz",), "empty.extxyz: "),
        (("salt.extxyz", "--output", "salt.extxyz"), "an input file"),
    ],
)
def test_relax_refuses_what_cannot_be_relaxed(run, tmp_path, arguments, says):
    write("iron.cif", bulk("Fe"))
    (tmp_path / "empty.extxyz").touch()
    (tmp_path / "flat.extxyz").write_text('1\npbc="T T T"\nO 0 0 0\n')
    code, out, err = run("relax", *arguments, *COMMON)
    assert code == 1
    assert says in err
    assert "converged" not in out


def test_relax_counts_frames_in_one_way(run):
    write("bad.extxyz", [small.water(), bad_frame(), small.slab()])
    code, _, err = run("relax", "bad.extxyz", "--frame", "-2", *COMMON)
    assert code == 1
    assert "bad.extxyz: frame 1 of 3, counted from 0" in err
    assert "error: bad.extxyz: frame 1: atom 5 is U" in err
