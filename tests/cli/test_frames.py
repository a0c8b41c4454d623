"""Files of structures as commands read and write them."""

import os
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read, write

from nequix.cli.frames import output_format
from tests.cli.structures import COMMON

pytestmark = pytest.mark.usefixtures("small_files")


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


def test_one_atom_survives_the_way_through_a_file(run):
    write("atom.extxyz", Atoms("O"))
    assert run("predict", "atom.extxyz", "-o", "out.extxyz", *COMMON)[0] == 0
    assert read("out.extxyz").get_forces().shape == (1, 3)
