"""Files that were made to harm, or that were damaged, of every kind that a command reads."""

import bz2
import gzip
import json
import lzma
import os
import sqlite3
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import write

from tests.calculator.small import salt

ZEROS = 64 << 20  # bytes that a bomb expands to; what refuses it stops long before
DEEP = 100_000
PAYLOAD = "!!python/object/apply:os.mkdir [{marker!r}]"
COMPRESS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@dataclass(frozen=True)
class Hostile:
    """A file.

    Attributes:
        name: Its name; what it is read as depends on it.
        make: Makes it in a folder, under that name.
        message: What the error says.
    """

    name: str
    make: Callable[[Path], None]
    message: str = ""

    def __str__(self) -> str:
        return self.name


def content(name: str, data: bytes | str, message: str = "") -> Hostile:
    data = data.encode() if isinstance(data, str) else data
    return Hostile(name, lambda path: path.write_bytes(data), message)


def labelled(seed: int = 0) -> Atoms:
    atoms = salt()
    atoms.rattle(0.05, rng=np.random.default_rng(seed))
    atoms.calc = SinglePointCalculator(
        atoms, energy=-3.0 * len(atoms), forces=0.1 * atoms.positions - 0.1 * atoms.positions.mean(0)
    )
    return atoms


def _database(path: Path, column: str, value: str | bytes) -> None:
    with connect(path, use_lock_file=False) as database:
        database.write(labelled(), data={"a": 1}, key_value_pairs={"b": 2})
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE systems SET {column} = ?", (value,))  # noqa: S608
    connection.close()


def _rows(path: Path, value: bytes) -> None:
    import lmdb

    environment = lmdb.open(os.fspath(path), subdir=False, map_size=1 << 20, lock=False)
    with environment, environment.begin(write=True) as transaction:
        transaction.put(b"nextid", zlib.compress(b"2"))
        transaction.put(b"1", value)


def _trajectory(path: Path, values: dict) -> None:
    """Write a trajectory of one frame with the given JSON."""
    text = json.dumps(values).encode()
    head = b"- of Ulm" + b"ASE-Trajectory  " + struct.pack("<qqq", 3, 1, 48)
    path.write_bytes(head + struct.pack("<qq", 56, len(text)) + text)


def _zip(path: Path, name: str, data: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)


def _cut(path: Path, part: float = 0.5) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])


def _cut_extxyz(path: Path) -> None:
    write(path, [labelled(seed) for seed in range(20)], format="extxyz")
    _cut(path, 0.47)


def _cut_database(path: Path) -> None:
    with connect(path, use_lock_file=False) as database:
        for seed in range(20):
            database.write(labelled(seed))
    _cut(path, 0.3)


BIG = '{"__ndarray__": [[20000000000], "float64", [0.0]]}'
DTYPE = '{"__ndarray__": [[1], "O", [0]]}'
FRAME = {"version": 1, "ase_version": "3", "pbc": [True] * 3, "cell": np.eye(3).tolist()}
CONSTRAINT = json.dumps([{"name": "slice2enlist", "kwargs": {"s": 10**12, "n": 10**12}}])
POSCAR = "{}\n1.0\n4 0 0\n0 4 0\n0 0 4\nNa\n{}\nDirect\n0 0 0\n"
VASPRUN = """<?xml version="1.0"?>
<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<modeling><atominfo><atoms>1</atoms></atominfo>&b;</modeling>"""

STRUCTURES = (
    content("empty.extxyz", b""),
    content("noise.extxyz", bytes(range(256)) * 40),
    content("count.extxyz", "1000000000000\n\nNa 0 0 0\n", "ends within frame 0"),
    content("digits.extxyz", "9" * 10_000 + "\n\nNa 0 0 0\n"),
    content("negative.extxyz", "-1\n\nNa 0 0 0\n"),
    content(
        "columns.extxyz",
        "1\nProperties=species:S:1:pos:R:3:big:R:2000000000\nNa 0 0 0\n",
        "claims 2000000004 columns",
    ),
    content(
        "columns2.extxyz", f"1\nProperties=species:S:1:pos:R:3{':a:R:1' * 10_000}\nNa 0 0 0\n", "columns"
    ),
    content("species.extxyz", "1\nProperties=species:S:1:pos:R:3\n[Na] 0 0 0\n"),
    content("nan.extxyz", '1\nLattice="nan 0 0 0 4 0 0 0 4" pbc="T T T"\nNa 0 0 0\n'),
    Hostile("cut.extxyz", _cut_extxyz, "ends within frame"),
    *(
        content(f"bomb.extxyz{end}", pack(bytes(ZEROS)), "times its compressed size")
        for end, pack in COMPRESS.items()
    ),
    *(
        content(f"cut.extxyz{end}", pack(b"1\n\nNa 0 0 0\n" * 99)[:-20], "cannot be decompressed")
        for end, pack in COMPRESS.items()
    ),
    Hostile(
        "bomb.zip",
        lambda path: _zip(path, "a.extxyz", bytes(ZEROS)),
        "times its compressed size|not of a format",
    ),
    content("noise.zip", b"PK\x03\x04" + bytes(100)),
    content("noise.db", b"SQLite format 3\0" + bytes(4000)),
    content("text.db", "hello"),
    Hostile("cut.db", _cut_database),
    Hostile("array.db", lambda path: _database(path, "key_value_pairs", f'{{"a": {BIG}}}'), "array of shape"),
    Hostile("object.db", lambda path: _database(path, "data", f'{{"a": {DTYPE}}}'), "array of O"),
    Hostile("deep.db", lambda path: _database(path, "data", "[" * DEEP), "nested more than 64 levels deep"),
    content("noise.aselmdb", bytes(range(256)) * 64),
    Hostile("bomb.aselmdb", lambda path: _rows(path, zlib.compress(bytes(ZEROS))), "times its size"),
    Hostile("array.aselmdb", lambda path: _rows(path, zlib.compress(BIG.encode())), "array of shape"),
    content("deep.json", "[" * DEEP),
    content("deep2.json", '{"a": ' * DEEP),
    content("list.json", "[1, 2]"),
    content("array.json", f'{{"1": {{"numbers": {BIG}}}, "ids": [1], "nextid": 2}}', "array of shape"),
    content("bomb.json.gz", gzip.compress(b" " * ZEROS), "times its compressed size"),
    content("pickle.traj", b"\x80\x04cos\nmkdir\n(Vran\ntR."),
    Hostile(
        "array.traj",
        lambda path: _trajectory(path, {**FRAME, "numbers.": {"ndarray": [[10**11], "int64", 0]}}),
    ),
    Hostile(
        "constraint.traj",
        lambda path: _trajectory(path, {**FRAME, "constraints": CONSTRAINT}),
        "a constraint",
    ),
    content("frames.traj", b"- of UlmASE-Trajectory  " + struct.pack("<qqq", 3, 1 << 60, 48), "claims"),
    content("POSCAR", POSCAR.format("Na", 10**12), "claims"),
    content("POSCAR2", POSCAR.format("Na", "1 -1 x")),
    content("vasprun.xml", VASPRUN, "entities"),
    content(
        "OUTCAR", "vasp.6\n   number of dos      NEDOS =    301   number of ions     NIONS =  90000000000\n"
    ),
    content("a.cif", "data_a\n_cell_length_a 4\nloop_\n_symmetry_equiv_pos_as_xyz\n" + "'x,y,z'\n" * 5000),
    content("b.cif", b"\xff\xfe\x00" * 100),
    content("a.cell", "%BLOCK LATTICE_CART\n4 0 0\n0 4 0\n0 0 4\n%ENDBLOCK LATTICE_CART\n", "not read"),
    content("inp", "PDBCoordinates = '/dev/zero'\n", "not read"),
    content("a.xsd", "<a>" * DEEP),
    Hostile("pipe.extxyz", lambda path: os.mkfifo(path), "a pipe or a device"),
    Hostile("zero.extxyz", lambda path: path.symlink_to("/dev/zero"), "a pipe or a device"),
    Hostile("absent.extxyz", lambda path: None, "no such file"),
)
"""Read as structures."""

ALIASES = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)
)

DOCUMENTS = (
    content("tag.yaml", "{payload}\n", "not read"),
    content("nested.yaml", "a: [1, {b: {payload}}]\n", "not read|cannot be read as YAML"),
    content("aliases.yaml", ALIASES, "reference"),
    content("merge.yaml", "a: {<<: *b}\n", "reference"),
    content("deep.yaml", "[" * DEEP),
    content("deep2.yaml", "a:\n" + "".join(" " * n + "- a:\n" for n in range(1, 300)), "nested|YAML|keys"),
    content("long.yaml", "a: " + "9" * 100_000),
    content("null.yaml", "a: \0"),
    content("noise.yaml", bytes(range(128, 256)) * 10),
    content("two.yaml", "a: 1\n---\nb: 2\n"),
    content("large.yaml", "#" * (5 << 20) + "\n"),
    content("date.yaml", "a: 2001-99-99\n"),
    Hostile("pipe.yaml", lambda path: os.mkfifo(path), "a pipe or a device"),
    Hostile("zero.yaml", lambda path: path.symlink_to("/dev/zero"), "a pipe or a device"),
)
"""Read as YAML; ``{payload}`` makes a folder if it runs."""

OBJECTS = (
    content("deep.json", "[" * DEEP, "nest"),
    content("deep2.json", '{"a": ' * DEEP, "nest"),
    content("deep3.json", '{"a": ' * 200 + "1" + "}" * 200, "nest"),
    content("twice.json", '{"version": 1, "version": 1}', "appears twice"),
    content("list.json", "[1, 2]", "object"),
    content("nan.json", '{"Na": NaN}', "NaN"),
    content("digits.json", '{"Na": ' + "9" * 10_000 + "}"),
    content("cut.json", '{"Na": 1', "JSON|damaged"),
    content("noise.json", bytes(range(128, 256))),
    content("empty.json", ""),
    content("bomb.json.gz", gzip.compress(b" " * ZEROS), "times its compressed size|MiB"),
    content("cut.json.gz", gzip.compress(os.urandom(1000))[:-10], "cannot be decompressed"),
    Hostile("pipe.json", lambda path: os.mkfifo(path), "a pipe or a device"),
    Hostile("zero.json", lambda path: path.symlink_to("/dev/zero"), "a pipe or a device"),
)
"""Read as JSON objects."""

HEADER = (
    b'{"__metadata__": {"format": "nequix"}, "a": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}'
)

WEIGHTS = (
    content("empty.safetensors", b""),
    content("length.safetensors", struct.pack("<Q", 1 << 62) + b"{}"),
    content("deep.safetensors", struct.pack("<Q", DEEP) + b"[" * DEEP),
    content("pickle.safetensors", b"\x80\x04cos\nmkdir\n(Vran\ntR."),
    content("archive.safetensors", b"PK\x03\x04" + bytes(1000)),
    content("eight.safetensors", struct.pack("<Q", len(HEADER)) + HEADER + b"ab"),
    content("deep.nqx", b"[" * DEEP + b"\n"),
    content("noise.nqx", bytes(range(256)) * 100),
    Hostile("pipe.safetensors", lambda path: os.mkfifo(path), "a pipe or a device"),
    Hostile("zero.safetensors", lambda path: path.symlink_to("/dev/zero"), "a pipe or a device"),
)
"""Read as weights, coverage references and checkpoints."""

TABLES = (
    content("bomb.csv.gz", gzip.compress(bytes(ZEROS)), "times its compressed size"),
    content("lines.csv.gz", gzip.compress(b"," * ZEROS), "times its compressed size"),
    content("cut.csv.gz", gzip.compress(os.urandom(1000))[:-10], "cannot be decompressed"),
    content("field.csv", "material_id,e_form_per_atom_mp2020_corrected\n" + "a" * 200_000 + ",1\n", "CSV"),
    content("null.csv", "material_id,e_form_per_atom_mp2020_corrected\n\0,\0\n"),
    content("text.csv", "material_id,e_form_per_atom_mp2020_corrected\na,b\n", "expected a number"),
    content("quote.csv", 'material_id,e_form_per_atom_mp2020_corrected\n"a,1\n' * 3),
    content("noise.csv", bytes(range(128, 256)) * 10),
    Hostile("pipe.csv", lambda path: os.mkfifo(path), "a pipe or a device"),
    Hostile("zero.csv", lambda path: path.symlink_to("/dev/zero"), "a pipe or a device"),
)
"""Read as the table of a benchmark."""
