"""phonopy's files as plain arrays, so that phonopy itself never opens a file of a data set.

phonopy's own loader builds any Python object that a YAML file names, takes array sizes from the file, and
picks up ``FORCE_SETS`` and ``FORCE_CONSTANTS`` from the working directory. Nothing of this may happen here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nequix.core.errors import DataError
from nequix.io import strict_yaml
from nequix.io.limits import check_regular, read_bounded, read_text

if TYPE_CHECKING:
    from jaxtyping import Float
    from phonopy.interface.phonopy_yaml import PhonopyYamlData
    from phonopy.structure.atoms import PhonopyAtoms

MAX_ATOMS = 20_000
"""Atoms of a supercell; its matrix is checked against it before phonopy builds the cell."""


def read_phonopy_yaml(path: Path) -> PhonopyYamlData:
    """Read a phonopy YAML file, compressed or not.

    Args:
        path: ``phonopy.yaml``, ``phonopy_disp.yaml``, ``phonopy_params.yaml`` or another one of this kind.

    Raises:
        DataError: If it is not YAML of plain values, or has no unit cell.
        Exception: What phonopy raises for values of a wrong kind.
    """
    from phonopy.interface.phonopy_yaml import load_phonopy_yaml

    values = strict_yaml.parse(read_bounded(path), str(path))
    if not isinstance(values, dict):
        raise DataError(f"{path}: not a phonopy YAML file (its top level has no keys); is it the right file?")
    data = load_phonopy_yaml(values)
    if data.unitcell is None:
        raise DataError(f"{path}: not a phonopy YAML file (there is no unit_cell); is it the right file?")
    check_supercell(len(data.unitcell), data.supercell_matrix, path)
    return data


def check_supercell(n_atoms: int, matrix: Any, path: Path) -> None:
    """Reject a supercell of too many atoms, or of none.

    Args:
        n_atoms: Atoms of the unit cell.
        matrix: Of the supercell, shape (3, 3) or (3,); None for the identity.
        path: The file, for the message.

    Raises:
        DataError: If it is not a matrix, or there are more than :data:`MAX_ATOMS` atoms.
    """
    matrix = np.eye(3) if matrix is None else np.asarray(matrix, float)
    matrix = np.diag(matrix) if matrix.shape == (3,) else matrix
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        raise DataError(f"{path}: the supercell_matrix is not 3 x 3 whole numbers; repair the file")
    # The surrounding box, which phonopy fills with atoms first, may be larger than the supercell.
    size = max(abs(np.linalg.det(matrix)), np.prod(np.abs(matrix).sum(axis=0)))
    if not 0 < n_atoms * size <= MAX_ATOMS * 8 or n_atoms * abs(np.linalg.det(matrix)) > MAX_ATOMS:
        raise DataError(
            f"{path}: the supercell_matrix {matrix.astype(int).tolist()} of {n_atoms} atoms is singular or "
            f"stands for more than {MAX_ATOMS} atoms; repair the file"
        )


def check_dataset(dataset: Any, n_atoms: int, path: Path) -> None:
    """Require displacements and forces of the supercell's atoms; phonopy's compiled code checks less.

    Args:
        dataset: A phonopy data set with forces.
        n_atoms: Atoms of the supercell.
        path: The file, for the message.

    Raises:
        DataError: If an array has another shape, is not finite, or another atom is displaced.
    """
    if "first_atoms" in dataset:
        pairs = [(x["displacement"], x.get("forces")) for x in dataset["first_atoms"]]
        places = [x["number"] for x in dataset["first_atoms"]]
        shapes = ((3,), (n_atoms, 3))
    else:
        pairs, places = [(dataset["displacements"], dataset["forces"])], []
        shape = (len(dataset["displacements"]), n_atoms, 3)
        shapes = (shape, shape)
    if not pairs or not all(type(place) is int and 0 <= place < n_atoms for place in places):
        raise DataError(f"{path}: displaces an atom that is not one of the supercell's {n_atoms}")
    for number, pair in enumerate(pairs, 1):
        for name, value, shape in zip(("displacement", "forces"), pair, shapes, strict=True):
            array = np.asarray(value if value is not None else [])
            if array.shape != shape or not np.isfinite(array).all():
                raise DataError(
                    f"{path}: displacement {number}: {name} of shape {array.shape}, expected {shape} of "
                    "finite numbers; copy the file again"
                )


def read_force_sets(path: Path, n_atoms: int) -> dict[str, Any]:
    """Read ``FORCE_SETS``, of displacements of single atoms (type 1) or of all (type 2).

    Args:
        path: The file.
        n_atoms: Atoms of the supercell.

    Returns:
        A phonopy data set.

    Raises:
        DataError: If its size is not that of whole displacements of this supercell.
    """
    lines = [text for text in (row.partition("#")[0].strip() for row in read_text(path).splitlines()) if text]
    width = len(lines[0].split()) if lines else 0
    numbers = _numbers(" ".join(lines), path)
    if width == 6:
        if numbers.size % (6 * n_atoms):
            raise DataError(f"{path}: {len(lines)} lines, not a multiple of the supercell's {n_atoms}")
        table = numbers.reshape(-1, n_atoms, 6)
        return {"displacements": table[:, :, :3].copy(), "forces": table[:, :, 3:].copy()}
    if width != 1 or numbers.size < 2 or numbers[0] != n_atoms:
        first = lines[0][:40] if lines else ""
        raise DataError(f"{path}: begins with {first!r}, expected the supercell's number of atoms {n_atoms}")
    row = 4 + 3 * n_atoms
    if numbers[1] < 1 or numbers.size != 2 + row * numbers[1]:
        raise DataError(
            f"{path}: {numbers.size - 2} numbers, expected {row} for each of {numbers[1]:.0f} displacements: "
            "truncated, or of another supercell; copy the file again"
        )
    table = numbers[2:].reshape(-1, row)
    places = table[:, 0]
    if not ((places >= 1) & (places <= n_atoms) & (places == places.round())).all():
        raise DataError(f"{path}: displaces an atom that is not one of the supercell's {n_atoms}")
    sets = [
        {"number": int(place) - 1, "displacement": x[1:4].copy(), "forces": x[4:].reshape(n_atoms, 3).copy()}
        for place, x in zip(places, table, strict=True)
    ]
    return {"natom": n_atoms, "first_atoms": sets}


def read_force_constants(path: Path, primitive_to_supercell: np.ndarray, n_atoms: int) -> np.ndarray:
    """Read ``FORCE_CONSTANTS`` or ``force_constants.hdf5``.

    Args:
        path: The file; the ending ``.hdf5`` decides.
        primitive_to_supercell: Place in the supercell of each atom of the primitive cell.
        n_atoms: Atoms of the supercell.

    Returns:
        Force constants of shape (n, n_atoms, 3, 3), with n the atoms of the supercell or of the primitive
        cell, eV/A^2.

    Raises:
        DataError: If they are not of this supercell and primitive cell.
    """
    if path.suffix == ".hdf5":
        constants, places = _read_hdf5(path, (len(primitive_to_supercell), n_atoms), n_atoms)
    else:
        constants, places = _read_text(path)
    check_force_constants(constants, len(primitive_to_supercell), n_atoms, path)
    if (
        len(constants) != n_atoms
        and places is not None
        and not np.array_equal(places, primitive_to_supercell)
    ):
        raise DataError(
            f"{path}: rows are of the atoms {(places[:4] + 1).tolist()}, expected "
            f"{(primitive_to_supercell[:4] + 1).tolist()} of this primitive cell; set primitive_matrix as in "
            "the calculation"
        )
    return constants


def check_force_constants(constants: np.ndarray, n_primitive: int, n_atoms: int, path: Path) -> None:
    """Require force constants of a supercell, full or compact, and finite.

    Args:
        constants: The force constants.
        n_primitive: Atoms of the primitive cell.
        n_atoms: Atoms of the supercell.
        path: The file, for the message.

    Raises:
        DataError: If they have another shape, or NaN or infinity.
    """
    if constants.shape not in ((n_atoms, n_atoms, 3, 3), (n_primitive, n_atoms, 3, 3)):
        raise DataError(
            f"{path}: force constants of shape {constants.shape}, expected {n_atoms} x {n_atoms} or "
            f"{n_primitive} x {n_atoms} atoms of this supercell; use the file of this calculation"
        )
    if not np.isfinite(constants).all():
        raise DataError(f"{path}: force constants are not finite; copy the file again")


def _read_text(path: Path) -> tuple[Float[np.ndarray, "n m 3 3"], np.ndarray]:
    first, _, rest = read_text(path).lstrip().partition("\n")
    counts = first.split()
    if len(counts) not in (1, 2) or not all(count.isdecimal() and len(count) < 9 for count in counts):
        raise DataError(f"{path}: begins with {first[:40]!r}, expected the numbers of atoms")
    n, m = int(counts[0]), int(counts[-1])
    numbers = _numbers(rest, path)
    if numbers.size != 11 * n * m or not n:
        raise DataError(
            f"{path}: {numbers.size} numbers, expected {11 * n * m} of {n} x {m} atoms: truncated or "
            "damaged; copy the file again"
        )
    table = numbers.reshape(n, m, 11)
    return table[:, :, 2:].reshape(n, m, 3, 3).copy(), table[:, 0, 0].astype(int) - 1


def _read_hdf5(path: Path, compact: tuple[int, int], n_atoms: int) -> tuple[np.ndarray, np.ndarray | None]:
    import h5py

    check_regular(path)
    with h5py.File(path, "r") as handle:
        name = next((name for name in ("fc2", "force_constants") if name in handle), None)
        if name is None:
            raise DataError(f"{path}: has neither fc2 nor force_constants; is it the right file?")
        places = _array(handle, "p2s_map", [compact[:1]], path) if "p2s_map" in handle else None
        constants = _array(handle, name, [(*compact, 3, 3), (n_atoms, n_atoms, 3, 3)], path)
        if "physical_unit" in handle:
            unit = handle["physical_unit"]
            text = str(unit[0]) if isinstance(unit, h5py.Dataset) and unit.shape == (1,) else ""
            if "eV/angstrom^2" not in text:
                raise DataError(
                    f"{path}: force constants in {text[:40] or 'no unit'}, expected eV/angstrom^2"
                )
    return np.array(constants, float), None if places is None else np.array(places, int)


def _array(handle: Any, name: str, shapes: list[tuple[int, ...]], path: Path) -> np.ndarray:
    """Read a data set that lies in the file itself and has one of some shapes."""
    import h5py

    if not isinstance(handle.get(name, getlink=True), h5py.HardLink):
        raise DataError(f"{path}: {name} is a link to somewhere else, which is not followed")
    stored = handle[name]
    if not isinstance(stored, h5py.Dataset) or stored.external or stored.is_virtual:
        raise DataError(f"{path}: {name} is not an array in this file")
    if stored.shape not in shapes or stored.dtype.kind not in "iuf":
        expected = " or ".join(map(str, shapes))
        raise DataError(
            f"{path}: {name} has shape {stored.shape} and type {stored.dtype}, expected {expected}"
        )
    return stored[:]


def read_unit_cell(path: Path) -> PhonopyAtoms:
    """Read the unit cell of ``POSCAR-unitcell``.

    Args:
        path: The file.

    Raises:
        DataError: If it claims more atoms than it has lines.
        Exception: What phonopy raises for another format.
    """
    from phonopy.interface.vasp import read_vasp_from_strings

    text = read_text(path)
    rows = text.splitlines()
    counts = [int(word) for row in rows[5:7] for word in row.split() if word.isdecimal() and len(word) < 19]
    if sum(counts) > len(rows):
        raise DataError(f"{path}: claims {sum(counts)} atoms, but has {len(rows)} lines; copy the file again")
    return read_vasp_from_strings(text)


def _numbers(text: str, path: Path) -> np.ndarray:
    try:
        return np.array(text.split(), float)
    except ValueError as error:
        raise DataError(f"{path}: {str(error)[:80]}; is the file complete, and the right one?") from None
