"""Files of other programs are sources of labels for every command, through one reader."""

import numpy as np
import pytest
from ase.constraints import FixAtoms
from ase.io import write
from ase.units import GPa

from nequix.core.errors import DataError
from nequix.data.convert import convert
from nequix.data.frames import read_frames
from nequix.data.label_keys import LabelKeys
from nequix.data.opening import open_source, read_structures
from tests.data import vasp
from tests.data.sets import strained_copper

STRESS = -0.1 * GPa * np.array(vasp.KBAR)[[0, 3, 5, 3, 1, 4, 5, 4, 2]].reshape(3, 3)


@pytest.fixture(params=["vasprun.xml", "OUTCAR"])
def output(request, tmp_path):
    kinds = {"vasprun.xml": vasp.write_vasprun, "OUTCAR": vasp.write_outcar}
    return kinds[request.param](tmp_path / request.param)


def test_vasp_labels_have_nequix_units_and_signs(output):
    (structure,) = open_source(output)
    assert structure.energy == vasp.EXTRAPOLATED  # as in MPtrj and in ASE
    np.testing.assert_array_equal(structure.forces, vasp.FORCES)  # raw, although the first atom is fixed
    np.testing.assert_allclose(structure.stress, STRESS, rtol=1e-12)
    assert structure.name == f"{output.name}:0"
    (free,) = open_source(output, LabelKeys.of(energy="free_energy"))
    assert free.energy == vasp.FREE


def test_every_entrance_reads_the_same_labels(output, tmp_path):
    assert convert([output], tmp_path / "converted") == 1
    for structure in (
        *read_structures([output]),
        *open_source(tmp_path / "converted"),
        open_source(output)[0],
    ):
        assert structure.energy == vasp.EXTRAPOLATED
        np.testing.assert_array_equal(structure.forces, vasp.FORCES)
        np.testing.assert_allclose(structure.stress, STRESS, rtol=1e-12)


@pytest.mark.parametrize("name", ["frames.traj", "frames.json", "frames.xyz.bz2", "frames.extxyz.xz"])
def test_frames_of_a_file_are_read_by_index_and_in_order(tmp_path, name):
    frames = strained_copper(3)
    frames[1].set_constraint(FixAtoms([0]))
    path = tmp_path / name
    write(path, frames, format={".traj": "traj", ".json": "json"}.get(path.suffix, "extxyz"))
    source = open_source(path)
    assert len(source) == len(list(source)) == 3
    for index, structure in enumerate(source.read(1), 1):
        assert structure.name == f"{name}:{index}"
        np.testing.assert_allclose(structure.forces, frames[index].calc.results["forces"], atol=1e-8)
        np.testing.assert_allclose(source[index].energy, frames[index].calc.results["energy"])


def test_unknown_format_is_refused_without_leaving_a_folder(tmp_path):
    path = tmp_path / "notes.text"
    path.write_text("hello\n")
    with pytest.raises(DataError, match="not of a format that ASE knows"):
        convert([path], tmp_path / "out")
    broken = tmp_path / "broken.extxyz"
    broken.write_text("1\nProperties=species:S:1:pos:R:3\nQq 0 0 0\n")
    with pytest.raises(DataError, match="species 'Qq'"):
        convert([broken], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a":1}\n{"a":2}\n', "a material is a number, not a JSON object"),
        ('[{"structure": {}, "energy": -1}]', "the document is an array, not a JSON object"),
        ('{"structure": [1], "force": [[0]]}', "a material is an array"),
        ("{}", "contains no frame"),
    ],
)
def test_other_json_says_which_json_is_read(tmp_path, text, message):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(DataError, match=f"other.json: {message}.*; JSON is read in two layouts, MPtrj's"):
        list(open_source(path))


def _frame(species, comment="Properties=species:S:1:pos:R:3"):
    rows = "".join(f"{symbol} {index} 0 0\n" for index, symbol in enumerate(species))
    return f"{len(species)}\n{comment}\n{rows}"


@pytest.mark.parametrize(
    ("species", "fix"),
    [("14", "write Si if that is its atomic number"), ("Si1", "write Si if that is meant"),
     ("?", "write the symbol of an element"), ("X", "write its element's symbol")],
)  # fmt: skip
def test_unknown_species_is_named_with_its_frame_and_atom(tmp_path, species, fix):
    path = tmp_path / "a.extxyz"
    path.write_text(_frame(["Si", "Si"]) + _frame(["Si", species]))
    assert len(open_source(path)[0].numbers) == 2
    with pytest.raises(DataError, match=rf"a\.extxyz:1: atom 1 .*{fix}"):
        open_source(path)[1]


def test_deuterium_is_hydrogen_with_its_mass(tmp_path):
    path = tmp_path / "heavy.extxyz"
    comment = "Properties=id:I:1:species:S:1:pos:R:3"
    path.write_text(f"3\n{comment}\n0 O 0 0 0\n1 D 0 0 1\n2 h 0 1 0\n")
    (atoms,) = read_frames(path)
    assert atoms.get_chemical_symbols() == ["O", "H", "H"]
    np.testing.assert_array_equal(atoms.get_masses(), [15.999, 2.014, 1.008])
    write(tmp_path / "again.extxyz", atoms)
    (again,) = read_frames(tmp_path / "again.extxyz")
    np.testing.assert_array_equal(again.get_masses(), atoms.get_masses())
    assert open_source(path)[0].numbers.tolist() == [8, 1, 1]


@pytest.mark.parametrize("key", ["stress", "virial"])
def test_six_components_in_extended_xyz_are_in_the_documented_order(tmp_path, key):
    path = tmp_path / "six.extxyz"
    comment = f'Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3 {key}="0.1 0.2 0.3 0.04 0.05 0.06"'
    path.write_text(_frame(["Si"], comment))
    expected = np.array([[0.1, 0.06, 0.05], [0.06, 0.2, 0.04], [0.05, 0.04, 0.3]])
    np.testing.assert_allclose(open_source(path)[0].stress, expected if key == "stress" else -expected / 64)
    path.write_text(_frame(["Si"], comment.replace(" 0.06", "")))
    with pytest.raises(
        DataError, match=rf"six\.extxyz:0: {key} has 5 numbers, .* six in the order xx yy zz yz xz xy"
    ):
        open_source(path)[0]


def test_cell_vectors_after_the_atoms_are_read(tmp_path):
    path = tmp_path / "vectors.xyz"
    frame = "1\n\nSi 0 0 0\nVEC1 4 0 0\nVEC2 0 4 0\nVEC3 0 0 4\n"
    path.write_text(2 * frame)
    assert [np.linalg.det(structure.cell) for structure in open_source(path)] == pytest.approx([64, 64])
    assert len(open_source(path)) == len(list(read_frames(path))) == 2
