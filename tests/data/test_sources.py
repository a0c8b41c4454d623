"""Every kind of source gives the same structures, by index, one after the other, and after pickling."""

import gzip
import json
import os
import pickle
import shutil
import subprocess
import sys
import tracemalloc
import zipfile

import ase.db
import numpy as np
import pytest
from ase import units

from nequix.core.errors import DataError
from nequix.data import extxyz
from nequix.data.convert import convert
from nequix.data.label_keys import LabelKeys
from nequix.data.opening import open_source
from nequix.data.sources import Subset, split
from tests.data.sets import real, relabelled, saved, strained_copper

N = 8


@pytest.fixture(scope="module")
def frames():
    return strained_copper(N)


@pytest.fixture(scope="module")
def plain(frames, tmp_path_factory):
    return saved(tmp_path_factory.mktemp("plain") / "set.extxyz", frames)


def make_gz(plain, frames, folder):
    target = folder / "set.xyz.gz"
    target.write_bytes(gzip.compress(plain.read_bytes()))
    return target


def make_zip(plain, frames, folder):
    target = folder / "set.extxyz.zip"
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("__MACOSX/._mp-1.extxyz", b"no structures")
        for number, part in enumerate((frames[:3], frames[3:])):
            archive.write(saved(folder / "part.extxyz", part), f"mp-{number}.extxyz")
    return target


def make_db(plain, frames, folder):
    with ase.db.connect(folder / "set.db") as database:
        for atoms in frames:
            database.write(atoms)
    return folder / "set.db"


def make_shards(plain, frames, folder):
    convert([plain], folder / "shards", shard_size=3)
    return folder / "shards"


def make_folder(plain, frames, folder):
    (folder / "many").mkdir()
    for number, part in enumerate(([frames[0]], frames[1:])):
        saved(folder / "many" / f"part{9 + number}.extxyz", part)  # part10 comes after part9
    return folder / "many"


@pytest.mark.parametrize("make", [make_gz, make_zip, make_db, make_shards, make_folder])
def test_every_kind_holds_the_same_structures(make, plain, frames, tmp_path):
    expected = list(open_source(plain))
    source = open_source(make(plain, frames, tmp_path))
    assert len(source) == N
    again = pickle.loads(pickle.dumps(source))  # noqa: S301
    readings = (
        list(source),
        [source[i] for i in range(N)],
        [again[i - N] for i in range(N)],
        [*source.read(5)],
    )
    for structures in readings:  # extended XYZ has eight decimals
        for one, other in zip(expected[-len(structures) :], structures, strict=True):
            for field in ("numbers", "positions", "cell", "pbc", "energy", "forces", "stress"):
                np.testing.assert_allclose(getattr(one, field), getattr(other, field), rtol=0, atol=1e-7)
    with pytest.raises(IndexError):
        source[N]


def test_several_paths_are_joined(plain):
    source = open_source([plain, plain])
    assert len(source) == 2 * N
    assert source[N + 2].energy == source[2].energy
    assert [s.name for s in source.read(N - 1)] == [f"set.extxyz:{i}" for i in (N - 1, *range(N))]


def test_folders_of_several_kinds_are_refused(plain, frames, tmp_path):
    folder = make_shards(plain, frames, tmp_path)
    for name in ("notes.txt", "metadata.npz", "data.00000.aselmdb-lock"):
        (folder / name).touch()
    assert len(open_source(folder)) == N
    shutil.copy(plain, folder)
    with pytest.raises(DataError, match=r"3 like data\.00000\.aselmdb and 1 like set\.extxyz\), expected"):
        open_source(folder)


APPEND = """
import sys
import numpy as np
from ase import Atoms
from ase_db_backends.aselmdb import LMDBDatabase
with LMDBDatabase(sys.argv[1], use_lock_file=False) as database:
    database.write(Atoms("Al"), data={"noise": np.random.default_rng(0).bytes(12_000_000).hex()})
"""


def test_shards_that_change_meanwhile_are_read_on(plain, frames, tmp_path):
    path = make_shards(plain, frames, tmp_path) / "data.00001.aselmdb"
    source = open_source(path)
    energies = [structure.energy for structure in source]
    os.utime(path, (1, 1))
    assert [structure.energy for structure in source] == energies
    subprocess.run([sys.executable, "-c", APPEND, path], check=True)  # more than LMDB maps of a small file
    assert [structure.energy for structure in source] == energies
    first = open_source(path.with_name("data.00000.aselmdb"))
    path.write_bytes(path.with_name("data.00000.aselmdb").read_bytes())  # in place, and smaller
    assert [structure.energy for structure in source] == [structure.energy for structure in first]
    shutil.copy(first.path, tmp_path / "copy.aselmdb")
    os.replace(tmp_path / "copy.aselmdb", path)  # beside the lock file that appending has left
    assert [structure.energy for structure in source] == [structure.energy for structure in first]


def test_archives_of_compressed_files_are_read(plain, tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("set.extxyz.gz", gzip.compress(plain.read_bytes()))
        archive.writestr("more.extxyz", plain.read_bytes())
    source = open_source(tmp_path / "set.zip")
    assert [s.energy for s in source] == [source[i].energy for i in range(2 * N)]
    assert [s.energy for s in source] == 2 * [s.energy for s in open_source(plain)]


def test_archives_of_an_unknown_compression_are_refused(plain, tmp_path):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(plain, "mp-1.extxyz")
        offset = archive.start_dir
    content = bytearray(path.read_bytes())
    content[8:10] = content[offset + 10 : offset + 12] = (19).to_bytes(2, "little")  # the method's number
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"set\.zip/mp-1\.extxyz.*not supported.*unpack"):
        open_source(path)[0]


def test_archives_with_a_password_are_refused(plain, tmp_path):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(plain, "mp-1.extxyz")
    data = bytearray(path.read_bytes())
    data[6] |= 1  # the flag of encryption, before the file and in the directory
    data[data.find(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"set\.zip: mp-1\.extxyz has a password; unpack"):
        len(open_source(path))


def test_frames_may_be_separated_by_blank_lines(plain, frames, tmp_path):
    text = plain.read_text().splitlines(keepends=True)
    n = len(frames[0]) + 2
    (tmp_path / "blank.xyz").write_text("".join([*text[:n], "\n", *text[n:], "\n\n"]))
    source = open_source(tmp_path / "blank.xyz")
    assert len(source) == N
    assert source[1].energy == pytest.approx(frames[1].calc.results["energy"], abs=1e-7)


@pytest.mark.parametrize("make", [make_gz, make_zip])
def test_file_written_over_is_read_again(plain, frames, tmp_path, make):
    path = make(plain, frames, tmp_path)
    before = open_source(path)
    assert before[-1].energy == list(before)[-1].energy != 7.0
    changed = [relabelled(atoms, energy=7.0) for atoms in frames[:4]]
    after = open_source(make(saved(tmp_path / "changed.extxyz", changed), changed, tmp_path))
    assert [after[index].energy for index in range(len(after))] == 4 * [7.0]


def test_compressed_files_are_decompressed_once_however_many(plain, tmp_path, monkeypatch):
    compressed = gzip.compress(plain.read_bytes())
    paths = [tmp_path / f"{number}.xyz.gz" for number in range(6)]
    for path in paths:
        path.write_bytes(compressed)
    source, opened, unpack = open_source(paths), [], extxyz.open_bounded
    monkeypatch.setattr(extxyz, "open_bounded", lambda path: opened.append(path) or unpack(path))
    for _ in range(2):
        for index in range(0, len(source), 3):
            source[index]
    assert sorted(opened) == sorted(map(str, paths))


@pytest.mark.parametrize("ending", [".extxyz", ".extxyz.gz"])
def test_truncated_files_are_errors(plain, tmp_path, ending):
    data = gzip.compress(plain.read_bytes()) if ending.endswith("gz") else plain.read_bytes()
    path = tmp_path / f"cut{ending}"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"ends within frame|cannot be decompressed"):
        list(open_source(path))


@pytest.mark.parametrize("name", ["set.xyz", "set.db", "set.aselmdb", "set.zip", "set.json"])
def test_files_of_something_else_are_errors(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"this is not a data set\n" * 300)
    with pytest.raises(DataError, match=name):
        list(open_source(path))


@pytest.mark.parametrize("name", ["none.xyz", "set.pdf", "empty"])
def test_unknown_sources_are_refused(tmp_path, name):
    (tmp_path / "set.pdf").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=name):
        open_source(tmp_path / name)


def test_split_holds_out_the_same_part_for_the_same_seed(plain):
    source = open_source(plain)
    train, held = split(source, 0.25, seed=3)
    assert (len(train), len(held)) == (6, 2)
    assert sorted([*train.indices, *held.indices]) == list(range(N))
    np.testing.assert_array_equal(split(source, 0.25, seed=3)[1].indices, held.indices)
    assert len(split(source, 0.0, seed=0)[1]) == 0
    with pytest.raises(DataError, match=r"leaves none; .*hold out none \(valid_fraction: 0\)"):
        split(Subset(source, [1]), 0.5, seed=0)
    with pytest.raises(DataError, match="contains no structure"):
        split(Subset(source, []), 0.1, seed=0)


# MPtrj as first published.


def mptrj_frame(atoms, scale=1.0):
    sites = [
        {"species": [{"element": symbol, "occu": 1}], "abc": abc.tolist(), "properties": {"magmom": 0.0}}
        for symbol, abc in zip(atoms.symbols, atoms.get_scaled_positions(), strict=True)
    ]
    energy = atoms.calc.results["energy"]
    return {
        "structure": {"lattice": {"matrix": atoms.cell.tolist(), "a": 1.0}, "sites": sites},
        "uncorrected_total_energy": energy,
        "corrected_total_energy": energy - 1.0,
        "energy_per_atom": (energy - 1.0) / len(atoms),
        "force": atoms.calc.results["forces"].tolist(),
        "stress": (-atoms.get_stress(voigt=False) / (0.1 * units.GPa)).tolist(),
        "magmom": None,
        "mp_id": "mp-1",
    }


@pytest.fixture(scope="module")
def mptrj(frames, tmp_path_factory):
    path = tmp_path_factory.mktemp("mptrj") / "MPtrj_2022.9_full.json"
    materials = {"mp-1": frames[:3], "mp-2": frames[3:]}
    content = {
        material: {f"{material}-0-{step}": mptrj_frame(atoms) for step, atoms in enumerate(part)}
        for material, part in materials.items()
    }
    content["mp-1"]["mp-1-0-1"]["stress"] = None
    path.write_text(json.dumps(content))
    return path


def test_mptrj_is_converted_to_our_units_and_sign(mptrj, frames):
    structures = list(open_source(mptrj))
    assert [s.name for s in structures[:4]] == ["mp-1-0-0", "mp-1-0-1", "mp-1-0-2", "mp-2-0-0"]
    for structure, atoms in zip(structures, frames, strict=True):
        assert structure.energy == pytest.approx(atoms.calc.results["energy"], abs=1e-12)  # uncorrected
        np.testing.assert_allclose(structure.forces, atoms.calc.results["forces"], atol=1e-12)
        if structure.name != "mp-1-0-1":
            np.testing.assert_allclose(structure.stress, atoms.get_stress(voigt=False), rtol=1e-8)
    assert structures[1].stress is None


def test_mptrj_can_give_the_corrected_energy(mptrj, frames):
    for key in ("corrected_total_energy", "energy_per_atom"):
        first = next(iter(open_source(mptrj, LabelKeys.of(energy=key))))
        assert first.energy == pytest.approx(frames[0].calc.results["energy"] - 1.0)


def test_mptrj_has_no_virial(mptrj):
    with pytest.raises(DataError, match=r"holds stresses, in kB, and no virial"):
        open_source(mptrj, LabelKeys.of(virial="virial"))


def test_mptrj_has_no_random_access(mptrj):
    with pytest.raises(DataError, match="convert it first"):
        len(open_source(mptrj))
    with pytest.raises(DataError, match="convert it first"):
        open_source(mptrj)[0]


@pytest.mark.parametrize("start", [0, 1, N - 1, N, N + 2, 2 * N, 2 * N + 1])
def test_mptrj_is_passed_over_where_sources_are_joined(mptrj, plain, start):
    energies = [structure.energy for structure in [*open_source(mptrj), *open_source(plain)]]
    assert [structure.energy for structure in open_source([mptrj, plain]).read(start)] == energies[start:]


def test_mptrj_is_never_held_in_memory(mptrj, tmp_path):
    material = json.loads(mptrj.read_text())["mp-2"]
    path = tmp_path / "large.json"
    with open(path, "w") as handle:
        handle.write("{")
        handle.write(", ".join(f'"mp-{i}": {json.dumps(material)}' for i in range(150)))
        handle.write("}")
    tracemalloc.start()
    count = sum(1 for _ in open_source(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 150 * (N - 3)
    assert peak < 2e6 < path.stat().st_size


def test_mptrj_cut_short_is_an_error(mptrj, tmp_path):
    path = tmp_path / "cut.json"
    path.write_bytes(mptrj.read_bytes()[:-2000])
    with pytest.raises(DataError, match="not one complete JSON document"):
        list(open_source(path))


def test_real_mptrj_sample_is_read(tmp_path):
    path = real("mattersim_benchmarks/mptrj-random-1k.extxyz.gz")
    source = open_source(path)
    assert len(source) == 1000
    assert source[0].name == "mptrj-random-1k.extxyz.gz:0 (mp-1080834-0-1)"
    shutil.copy(path, tmp_path / "copy.xyz.gz")
    assert open_source(tmp_path / "copy.xyz.gz")[999].energy == source[999].energy
