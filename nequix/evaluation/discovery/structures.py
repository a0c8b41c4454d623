"""Files of structures in the benchmark's shapes, read by number and written one by one."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nequix.core.errors import DataError
from nequix.data.extxyz import frames, reading
from nequix.data.structure import check_atoms
from nequix.data.xyz_atoms import parse_atoms
from nequix.io import strict_json
from nequix.io.limits import COMPRESSED, check_regular, open_bounded, open_member, read_bounded

if TYPE_CHECKING:
    from ase import Atoms

ID = "material_id"
"""Where the benchmark's files have a material's identifier."""

_XYZ = (".extxyz", ".xyz")


class Structures:
    """Structures of a file: a zip of extended XYZ files, extended XYZ, or JSON of pymatgen's structures.

    A zip is read where it lies; another file is held in memory, its structures unparsed where each
    is a line or a frame. JSON has a record a line, or is a list of records, or a table by columns, as pandas
    writes it.

    Args:
        path: The file; all but a zip may be compressed (``.gz``, ``.bz2``).

    Raises:
        DataError: If it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with reading(path.name):
            if path.suffix == ".zip":
                check_regular(path)
                self._archive = zipfile.ZipFile(path)
                self._held: list[Any] = [n for n in self._archive.namelist() if n.endswith(_XYZ)]
            elif path.name.removesuffix(path.suffix if path.suffix in COMPRESSED else "").endswith(_XYZ):
                with open_bounded(path) as handle:
                    self._held = list(frames(handle, path.name))
            else:
                self._held = _records(read_bounded(path), path.name)
        if not self._held:
            raise DataError(
                f"{path}: contains no structure; expected a zip of .extxyz, .extxyz, .json or .jsonl"
            )

    def __len__(self) -> int:
        return len(self._held)

    def __getitem__(self, index: int) -> tuple[str, Atoms]:
        """Read a structure and its identifier.

        Args:
            index: Its number.

        Raises:
            DataError: If it cannot be read or has no identifier.
        """
        held = self._held[index]
        if isinstance(held, bytes) and held.lstrip().startswith(b"{"):
            held = _json(held, f"{self.path.name}, line {index + 1}")
        if isinstance(held, dict):
            return _from_record(held, f"{self.path.name}, record {index}")
        if isinstance(held, str):
            where = f"{self.path.name}/{held}"
            with reading(where), open_member(self._archive, self._archive.getinfo(held), where) as handle:
                name, texts = Path(held).stem, list(frames(handle, held))
            if len(texts) != 1:
                raise DataError(f"{self.path.name}/{held}: {len(texts)} structures, expected one")
            return _from_xyz(texts[0], f"{self.path.name}/{held}", name)
        return _from_xyz(held, f"{self.path.name}, frame {index}", None)

    def by_name(self) -> Iterator[tuple[str, Atoms]]:
        """Read all structures with their identifiers.

        Raises:
            DataError: If one cannot be read, or two have the same identifier.
        """
        seen: set[str] = set()
        for index in range(len(self)):
            name, atoms = self[index]
            if name in seen:
                raise DataError(f"{self.path}: two structures are called {name[:60]}; leave one out")
            seen.add(name)
            yield name, atoms


@lru_cache(maxsize=1)
def open_structures(path: Path) -> Structures:
    """Open a file of structures, once a process.

    Args:
        path: The file.

    Raises:
        DataError: If it cannot be read.
    """
    return Structures(path)


def to_pymatgen(
    numbers: Iterable[int], positions: np.ndarray, cell: np.ndarray, pbc: Iterable[bool] = (True,) * 3
) -> dict[str, Any]:
    """Describe a structure as pymatgen's ``Structure.as_dict`` does.

    Args:
        numbers: Atomic numbers.
        positions: A, of shape (atoms, 3).
        cell: Rows, A.
        pbc: Which directions are periodic.
    """
    from ase.cell import Cell
    from ase.data import chemical_symbols

    fractional = np.linalg.solve(cell.T, positions.T).T
    sites = [
        {
            "species": [{"element": chemical_symbols[number], "occu": 1}],
            "abc": abc.tolist(),
            "properties": {},
            "label": chemical_symbols[number],
            "xyz": xyz.tolist(),
        }
        for number, abc, xyz in zip(numbers, fractional, positions, strict=True)
    ]
    names = ("a", "b", "c", "alpha", "beta", "gamma")
    lattice = dict(zip(names, Cell(cell).cellpar().tolist(), strict=True))
    lattice |= {
        "matrix": cell.tolist(),
        "pbc": [bool(p) for p in pbc],
        "volume": abs(float(np.linalg.det(cell))),
    }
    kind = {"@module": "pymatgen.core.structure", "@class": "Structure", "charge": 0}
    return {**kind, "lattice": lattice, "properties": {}, "sites": sites}


def _records(text: bytes, where: str) -> list[Any]:
    """Cut JSON of one of three shapes into records; those of a line each stay unparsed, as there are many."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and all(line.lstrip().startswith(b"{") for line in lines):
        return lines
    held = _json(text, where)
    if isinstance(held, list):
        return held
    if isinstance(held, dict) and isinstance(held.get(ID), dict):
        return [{name: column.get(row) for name, column in held.items()} for row in held[ID]]
    if isinstance(held, dict) and ID in held:
        return [held]
    raise DataError(f"{where}: expected records or columns with {ID!r}; is it the benchmark's file?")


def _json(text: bytes, where: str) -> Any:
    try:
        return strict_json.parse(text)
    except ValueError as error:
        raise DataError(f"{where}: cannot be read as JSON ({error}); copy the file again") from None


def _from_record(record: Mapping[str, Any], where: str) -> tuple[str, Atoms]:
    from ase import Atoms

    found = [value for value in record.values() if isinstance(value, dict) and "sites" in value]
    if len(found) != 1 or ID not in record:
        raise DataError(f"{where}: expected {ID!r} and one structure, got {', '.join(map(str, record))}")
    try:
        species = [site["species"] for site in found[0]["sites"]]
        symbols = [one["element"] for (one,) in species]
        scaled = [site["abc"] for site in found[0]["sites"]]
        shares = [one.get("occu", 1) for (one,) in species]
        if any(share != 1 or isinstance(share, bool) for share in shares):
            raise ValueError("a site is not occupied by one whole atom")
        atoms = Atoms(symbols, scaled_positions=scaled, cell=found[0]["lattice"]["matrix"], pbc=True)
    except Exception as error:  # ASE raises whatever it met
        reason = f"{type(error).__name__}: {error}"[:200]
        raise DataError(f"{where}: not an ordered structure in pymatgen's form ({reason})") from error
    return _identifier(record[ID], where), check_atoms(atoms, where)


def _from_xyz(text: bytes, where: str, name: str | None) -> tuple[str, Atoms]:
    atoms = check_atoms(parse_atoms(text, where), where)
    name = atoms.info.get(ID, name)
    if name is None:
        raise DataError(f"{where}: has no {ID}; write it into the frame's comment line")
    return _identifier(name, where), atoms


def _identifier(value: Any, where: str) -> str:
    """Return an identifier as text: of a material it is text, or a whole number."""
    if isinstance(value, bool) or not isinstance(value, str | int | np.integer) or not str(value).strip():
        raise DataError(f"{where}: {ID} = {value!r:.60} is not an identifier; give text")
    return str(value)
