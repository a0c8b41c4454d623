"""phonopy's files: nothing in them runs, refers or grows, and they mean what phonopy says that they mean."""

import bz2
import gzip
import lzma

import h5py
import numpy as np
import phonopy
import pytest
from ase.build import bulk
from phonopy.file_IO import write_FORCE_CONSTANTS, write_force_constants_to_hdf5, write_FORCE_SETS
from phonopy.interface.vasp import write_vasp
from phonopy.structure.atoms import PhonopyAtoms

from nequix.core.errors import DataError
from nequix.evaluation.phonons import harmonic
from nequix.evaluation.phonons.data import read_reference
from nequix.finetune.phonons import PhononSource
from tests.evaluation.pairs import PairPotential

WRITTEN = 1e-7
"""eV/A^2; forces are written with ten decimals, and divided by displacements of 0.01 A."""

COMPRESS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def calculated():
    atoms = bulk("Cu", "hcp", a=2.6)
    cell = PhonopyAtoms(atoms.get_chemical_symbols(), cell=atoms.cell.array, positions=atoms.positions)
    phonons = phonopy.Phonopy(cell, [2, 2, 1], primitive_matrix="P")
    phonons.generate_displacements(distance=0.01)
    phonons.forces = harmonic.supercell_forces(PairPotential(0.3), phonons.supercells_with_displacements)
    phonons.produce_force_constants(calculate_full_force_constants=False, show_drift=False)
    phonons.symmetrize_force_constants(show_drift=False, use_symfc_projector=True)
    return phonons


@pytest.fixture(scope="module")
def phonons():
    return calculated()


@pytest.fixture
def folder(phonons, tmp_path):
    """Write a folder with each kind of file; a test removes the unwanted ones."""
    folder = tmp_path / "hcp"
    folder.mkdir()
    phonons.save(folder / "phonopy_disp.yaml", settings={"force_sets": False})
    write_FORCE_SETS(phonons.dataset, folder / "FORCE_SETS")
    return folder


def write_constants(phonons, folder, name):
    (folder / "FORCE_SETS").unlink()
    p2s = phonons.primitive.p2s_map
    write = write_force_constants_to_hdf5 if name.endswith("hdf5") else write_FORCE_CONSTANTS
    write(phonons.force_constants, folder / name, p2s_map=p2s)


@pytest.mark.parametrize("name", ["FORCE_CONSTANTS", "force_constants.hdf5"])
def test_force_constants_are_those_that_phonopy_wrote(phonons, folder, name):
    sets = read_reference(folder).force_constants
    np.testing.assert_allclose(sets, phonons.force_constants, rtol=0, atol=WRITTEN)
    write_constants(phonons, folder, name)
    constants = read_reference(folder).force_constants
    np.testing.assert_allclose(constants, phonons.force_constants, rtol=0, atol=1e-12)


def test_displacements_of_all_atoms(phonons, folder):
    rng = np.random.default_rng(0)
    n = len(phonons.supercell)
    displacements = rng.normal(0, 0.01, (12, n, 3))
    spring = np.kron(np.eye(n) - 1 / n, np.eye(3))
    forces = -(displacements.reshape(12, -1) @ spring).reshape(12, n, 3)
    table = np.concatenate([displacements, forces], -1).reshape(-1, 6)
    np.savetxt(folder / "FORCE_SETS", table, "%.15f", header="displacement and force")
    (folder / "phonopy_disp.yaml").unlink()
    plain = phonopy.Phonopy(phonons.unitcell, phonons.supercell_matrix, primitive_matrix="P")
    plain.save(folder / "phonopy.yaml")
    constants = read_reference(folder).force_constants
    np.testing.assert_allclose(constants[0, 0], np.eye(3) * (1 - 1 / n), atol=1e-9)


def test_the_old_layout(phonons, folder):
    (folder / "phonopy_disp.yaml").unlink()
    write_vasp(folder / "POSCAR-unitcell", phonons.unitcell)
    rows = "\n".join(f"- {row}" for row in phonons.supercell.cell.tolist())
    (folder / "disp.yaml").write_text(f"natom: {len(phonons.supercell)}\nlattice:\n{rows}\n")
    reference = read_reference(folder)
    np.testing.assert_array_equal(reference.supercell_matrix, phonons.supercell_matrix)
    np.testing.assert_allclose(reference.force_constants, phonons.force_constants, atol=WRITTEN)


def test_the_working_directory_is_not_read(folder, monkeypatch):
    """phonopy's loader takes FORCE_SETS from there if the file has none: that of another crystal."""
    monkeypatch.chdir(folder)
    assert read_reference(folder / "phonopy_disp.yaml").force_constants is None
    with pytest.raises(DataError, match="no force constants, and no forces"):
        PhononSource([folder / "phonopy_disp.yaml"])


PAYLOADS = (
    "!!python/object/apply:os.mkdir [{marker!r}]",
    "!!python/object/new:os.mkdir [{marker!r}]",
    "!!python/object/apply:subprocess.run [[mkdir, {marker!r}]]",
    "!!python/name:os.mkdir",
    "!!python/module:antigravity",
)


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("name", ["phonopy_disp.yaml", "phonopy_params.yaml", "disp.yaml", "a.yaml"])
def test_nothing_runs(phonons, folder, tmp_path, payload, name):
    marker = tmp_path / "ran"
    text = (folder / "phonopy_disp.yaml").read_text()
    (folder / "phonopy_disp.yaml").unlink()
    write_vasp(folder / "POSCAR-unitcell", phonons.unitcell)
    hostile = f"extra: {payload.format(marker=str(marker))}\n{text}".encode()
    target = tmp_path if name == "a.yaml" else folder
    paths = [target / name]
    paths[0].write_bytes(hostile)
    if name == "a.yaml":
        for ending, compress in COMPRESS.items():
            paths.append(tmp_path / f"a.yaml{ending}")
            paths[-1].write_bytes(compress(hostile))
    for path in paths:
        reference = path if name == "a.yaml" else folder
        for read in (read_reference, lambda reference: PhononSource([reference])):
            with pytest.raises(DataError, match=r"line 1: the tag .*not read"):
                read(reference)
    assert not marker.exists()


def test_force_constants_behind_links_are_not_read(phonons, folder, tmp_path):
    write_constants(phonons, folder, "force_constants.hdf5")
    (folder / "force_constants.hdf5").rename(tmp_path / "other.hdf5")
    with h5py.File(folder / "force_constants.hdf5", "w") as handle:
        handle["force_constants"] = h5py.ExternalLink(str(tmp_path / "other.hdf5"), "force_constants")
    with pytest.raises(DataError, match="link"):
        read_reference(folder)
    with h5py.File(folder / "force_constants.hdf5", "w") as handle:
        handle.create_dataset("force_constants", (10**5, 10**5, 3, 3), "f8", chunks=(10, 10, 3, 3))
    with pytest.raises(DataError, match="shape"):
        read_reference(folder)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("FORCE_SETS", lambda text: text[: len(text) // 2], "truncated"),
        ("FORCE_SETS", lambda text: text.replace("8", "800000000000", 1), "expected the supercell"),
        ("FORCE_SETS", lambda text: text.replace("1    \n\n1", "1    \n\n9", 1), "truncated|displaces"),
        ("FORCE_SETS", lambda text: "", "expected the supercell"),
        ("FORCE_SETS", lambda text: text + " x", "could not convert"),
        ("FORCE_CONSTANTS", lambda text: text[: len(text) // 2], "truncated"),
        ("FORCE_CONSTANTS", lambda text: text.replace("   8", "   80000000", 1), "truncated"),
        ("FORCE_CONSTANTS", lambda text: "\n".join(["1 1", "1 1", *["0 0 nan"] * 3]), "shape|finite"),
        ("phonopy_disp.yaml", lambda text: text.replace("[   2,", "[  200000,"), "stands for more"),
        ("phonopy_disp.yaml", lambda text: text.replace("[   2,", "[   0,"), "singular"),
        ("phonopy_disp.yaml", lambda text: text.replace("symbol: Cu", "symbol: [Cu]"), "read as phonons"),
        ("phonopy_disp.yaml", lambda text: "[" * 5000, "nest"),
    ],
)  # fmt: skip
def test_damage_is_named(phonons, folder, name, change, message):
    if name == "FORCE_CONSTANTS":
        write_constants(phonons, folder, name)
    path = folder / name
    path.write_text(change(path.read_text()))
    with pytest.raises(DataError, match=message) as raised:
        read_reference(folder)
    assert "\n" not in str(raised.value)
    assert str(folder) in str(raised.value)


@pytest.mark.parametrize("ending", COMPRESS)
def test_truncated_and_bloated_compressed_files(phonons, folder, tmp_path, ending):
    path = tmp_path / f"a.yaml{ending}"
    phonons.save(tmp_path / "whole.yaml", settings={"force_sets": True})
    whole = COMPRESS[ending]((tmp_path / "whole.yaml").read_bytes())
    path.write_bytes(whole)
    assert read_reference(path).force_constants is not None
    for damaged in (whole[:-9], whole[: len(whole) // 2], whole[:4], b"", b"\0" * 100):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"cannot be decompressed|not a phonopy YAML") as raised:
            read_reference(path)
        assert "\n" not in str(raised.value)
    path.write_bytes(COMPRESS[ending](bytes(64 << 20)))
    with pytest.raises(DataError, match="times its compressed size"):
        read_reference(path)
