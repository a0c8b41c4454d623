import os
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixAtoms
from ase.io import read, write

from nequix import NequixCalculator
from nequix.cli.frames import output_format
from nequix.cli.run import NOT_CONVERGED
from tests.calculator import small
from tests.calculator.small import WEIGHTS

COMMON = ("--model", "model.safetensors", "--backend", "torch", "--dtype", "float64")

WRITTEN = 1e-7
"""Extended XYZ holds eight decimals, of positions and of forces."""


@pytest.fixture(autouse=True)
def _files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small.write_small(tmp_path)
    write("salt.extxyz", [small.salt(), small.water(), small.slab()])
    write("oxide.cif", small.triclinic())


@pytest.fixture(scope="module")
def calc():
    return NequixCalculator(WEIGHTS, "torch", dtype="float64")


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


def _bad():
    bad = small.salt()
    bad.numbers[5] = 92
    return bad


def test_predict_stops_at_a_bad_frame_and_writes_nothing(run, tmp_path):
    write("bad.extxyz", [small.water(), _bad(), small.slab()])
    before = sorted(tmp_path.iterdir())
    code, out, err = run("predict", "salt.extxyz", "bad.extxyz", "-o", "out.extxyz", *COMMON)
    assert (code, out) == (1, "")
    assert "error: bad.extxyz: frame 1: atom 5 is U (Z = 92)" in err
    assert sorted(tmp_path.iterdir()) == before


def test_predict_keeps_going_if_asked_to(run):
    write("bad.extxyz", [small.water(), _bad(), small.slab()])
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


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("salt.extxyz", "an input file"),
        ("link.extxyz", "an input file"),
        ("there.extxyz", "already exists"),
        ("out.cif", "cannot store energies"),
        ("out", "cannot store energies"),
        ("out.json.gz", "compressed JSON cannot store several frames"),
        ("absent/out.extxyz", "cannot be written there"),
    ],
)
def test_predict_refuses_a_bad_output_before_any_work(run, tmp_path, target, says):
    (tmp_path / "there.extxyz").write_text("precious")
    (tmp_path / "link.extxyz").symlink_to("salt.extxyz")
    content = (tmp_path / "salt.extxyz").read_bytes()
    force = ["--force"] if "input" in says else []
    code, out, err = run("predict", "salt.extxyz", "-o", target, "--model", "absent", *force)
    assert (code, out) == (1, "")
    assert says in err
    assert err.count("\n") == 1
    assert (tmp_path / "salt.extxyz").read_bytes() == content
    assert (tmp_path / "there.extxyz").read_text() == "precious"


def test_a_folder_where_nothing_may_be_written_is_refused_before_any_work(run, tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    folder = (tmp_path / "folder").resolve()
    granted = os.access
    # Root may write everywhere, whatever the permissions.
    monkeypatch.setattr("os.access", lambda path, mode, **how: path != folder and granted(path, mode, **how))
    for command in ("predict", "relax"):
        code, out, err = run(command, "salt.extxyz", "-o", "folder/out.extxyz", "--model", "absent")
        assert (code, out) == (1, "")
        assert "folder/out.extxyz: no permission to write to" in err


def test_a_link_stays_and_its_target_is_written(run, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "held.extxyz").write_text("old")
    (tmp_path / "link.extxyz").symlink_to("folder/held.extxyz")
    assert run("predict", "oxide.cif", "-o", "link.extxyz", "--force", *COMMON)[0] == 0
    assert (tmp_path / "link.extxyz").readlink() == Path("folder/held.extxyz")
    assert np.isfinite(read("folder/held.extxyz").get_potential_energy())
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["held.extxyz"]


def test_predict_replaces_only_by_force_and_whole(run, tmp_path, monkeypatch):
    (tmp_path / "out.extxyz").write_text("precious")

    def fail(*_, **__):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", fail)
        code, _, err = run("predict", "salt.extxyz", "-o", "out.extxyz", "--force", *COMMON)
    assert (code, "no space left" in err) == (1, True)
    assert (tmp_path / "out.extxyz").read_text() == "precious"
    assert not list(tmp_path.glob(".nequix-*"))
    assert run("predict", "salt.extxyz", "-o", "out.extxyz", "--force", *COMMON)[0] == 0
    assert len(read("out.extxyz", ":")) == 3


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


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("POSCAR-out.extxyz", "extxyz"),
        ("OUTCAR.xyz.gz", "extxyz"),
        ("CONTCAR.traj", "traj"),
        ("POSCAR.json.xz", "json"),
        ("POSCAR", "vasp"),
        ("a.cif", "cif"),
        ("out", ""),
    ],
)
def test_the_ending_tells_the_output_format_before_the_rest_of_the_name(name, kind):
    assert output_format(Path(name)) == kind


def test_what_is_not_a_file_is_called_what_it_is(run, tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, says in (("folder", "a folder, not a file"), ("pipe", "a pipe or a device, not a file")):
        code, _, err = run("relax", name, *COMMON)
        assert (code, f"{name}: {says}" in err) == (1, True)


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


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        (
            "a.extxyz",
            "1\n\nXx 0 0 0\n",
            "a.extxyz: frame 0: atom 0 (counted from 0) has the species 'Xx',",
        ),
        ("a.text", "hello\n", "a.text: not of a format that ASE knows; name it"),
    ],
)
def test_what_cannot_be_read_is_said_in_words(run, name, text, says):
    Path(name).write_text(text)
    code, _, err = run("predict", name, "-o", "out.extxyz", *COMMON)
    assert code == 1
    assert says in err


@pytest.mark.parametrize(
    ("sites", "expected"),
    [
        (
            "Cu1 Cu 0 0 0 0.5\nAu1 Au 0 0 0 0.5\nO1 O .5 .5 .5 1.0\n",
            "site 0 has partial occupancies (Cu 0.5, Au",
        ),
        ("Cu1 Cu 0 0 0 1.0\nO1 O .5 .5 .5 0.75\n", "site 1 has partial occupancies (O 0.75)"),
    ],
)
def test_partial_occupancies_are_refused(run, sites, expected):
    cell = "".join(f"_cell_length_{axis} 4\n" for axis in "abc")
    cell += "".join(f"_cell_angle_{angle} 90\n" for angle in ("alpha", "beta", "gamma"))
    columns = ("label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy")
    loop = "loop_\n" + "".join(f"_atom_site_{column}\n" for column in columns)
    Path("mixed.cif").write_text(f"data_x\n{cell}_symmetry_space_group_name_H-M 'P 1'\n{loop}{sites}")
    code, _, err = run("predict", "mixed.cif", "-o", "out.extxyz", *COMMON)
    assert code == 1
    assert f"mixed.cif: frame 0: {expected}" in err
    assert not Path("out.extxyz").exists()


def test_relax_counts_frames_in_one_way(run):
    write("bad.extxyz", [small.water(), _bad(), small.slab()])
    code, _, err = run("relax", "bad.extxyz", "--frame", "-2", *COMMON)
    assert code == 1
    assert "bad.extxyz: frame 1 of 3, counted from 0" in err
    assert "error: bad.extxyz: frame 1: atom 5 is U" in err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--backend", "tensorflow"), "tensorflow"),
        (("--dtype", "float16"), "float16"),
        (("--backend", "torch", "--kernel", "none"), "none"),
        (("--backend", "torch", "--threads", "0"), "threads = 0"),
        (("--backend", "torch", "--kernel", "plain", "--threads", "2"), "OMP_NUM_THREADS"),
    ],
)
def test_a_wrong_option_is_named(run, options, says):
    code, _, err = run("predict", "salt.extxyz", "-o", "out.extxyz", "--model", "model.safetensors", *options)
    assert code != 0
    assert says in err
    assert "Traceback" not in err


def test_auto_takes_what_is_installed_and_says_so(run, monkeypatch, tmp_path):
    monkeypatch.setattr("nequix.native.library.path", lambda: tmp_path / "not built")
    monkeypatch.setattr("nequix.engines.installed_engines", lambda: ["torch"])
    arguments = ("predict", "oxide.cif", "-o", "out.extxyz", "--model", "model.safetensors", "--force")
    code, _, err = run(*arguments)
    assert code == 0
    assert "model.safetensors: backend torch" in err
    monkeypatch.setattr("nequix.engines.installed_engines", list)
    code, _, err = run(*arguments)
    assert code == 1
    assert "pip install" in err
    assert "[jax]" in err


def test_one_atom_survives_the_way_through_a_file(run):
    write("atom.extxyz", Atoms("O"))
    assert run("predict", "atom.extxyz", "-o", "out.extxyz", *COMMON)[0] == 0
    assert read("out.extxyz").get_forces().shape == (1, 3)


def test_atoms_closer_than_in_the_training_data_are_said_or_refused(run):
    crystals = [bulk("Si", a=5.43), bulk("Si", a=2.6), bulk("Si", a=2.7)]
    write("crystals.extxyz", crystals)
    nano = ("--model", "nequix-nano", "--backend", "native")
    code, out, err = run("predict", "crystals.extxyz", "-o", "warned.extxyz", *nano)
    assert (code, out) == (0, "warned.extxyz: 3 frames\n")
    warned = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert [line.split(": atoms 0 and 1 (Si-Si)")[0] for line in warned] == [
        f"warning: crystals.extxyz: frame {frame}" for frame in (1, 2)
    ]
    code, _, err = run("predict", "crystals.extxyz", "-o", "none.extxyz", *nano, "--guard", "none")
    assert code == 0
    assert "warning" not in err
    code, _, err = run("predict", "crystals.extxyz", "-o", "refused.extxyz", *nano, "--guard", "error")
    assert code == 1
    assert "error: crystals.extxyz: frame 1: atoms 0 and 1 (Si-Si) are 1.13 A apart" in err
    relax = ("relax", "crystals.extxyz", "--frame", "2", "-o", "relaxed.extxyz", "--steps", "2", *nano)
    code, _, err = run(*relax)
    assert code in (0, NOT_CONVERGED)
    assert err.count("warning: crystals.extxyz: frame 2: atoms 0 and 1 (Si-Si)") == 1
    code, _, err = run(*relax, "--guard", "error", "--force")
    assert code == 1
    assert "error: crystals.extxyz: frame 2: atoms 0 and 1 (Si-Si)" in err
