"""Reference phonons: displaced supercells and their DFT forces, in phonopy's files."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nequix.core.errors import DataError

if TYPE_CHECKING:
    from phonopy import Phonopy

FORCES = ("FORCE_SETS", "FORCE_CONSTANTS", "force_constants.hdf5")
"""Files of a material's folder that have forces or force constants; the first one there counts."""

UNITS = ("angstrom", "eV/angstrom^2")
"""phonopy's names of the units of length and of force constants that are read."""

_OPENERS: dict[str, Callable[[bytes], bytes]] = {
    ".yaml": bytes,
    ".xz": lzma.decompress,
    ".bz2": bz2.decompress,
    ".gz": gzip.decompress,
}


def find_references(folder: Path) -> dict[str, Path]:
    """Name the references of a folder.

    Args:
        folder: Holds a folder with one of :data:`FORCES` for each material, or a phonopy YAML file,
            compressed or not, with displacements and forces, as MDR has them.

    Raises:
        DataError: If there is none.
    """
    found = {path.parent.name: path.parent for name in FORCES for path in sorted(folder.glob(f"*/{name}"))}
    for path in sorted(folder.glob("[!.]*.yaml*")):  # none that is hidden
        found[path.name.partition(".yaml")[0]] = path
    if not found:
        raise DataError(f"{folder}: no folder with {FORCES[0]} and no phonopy YAML file; check the path")
    return dict(sorted(found.items()))


def file_of(path: Path) -> Path:
    """Return the file with the forces or force constants of a reference.

    Args:
        path: One of :func:`find_references`.
    """
    return next((path / name for name in FORCES if (path / name).is_file()), path)


def read_reference(path: Path) -> Phonopy:
    """Read one reference, its force constants made from its forces and symmetrised, without charges (NAC).

    Args:
        path: One of :func:`find_references`.

    Raises:
        DataError: If it cannot be read, or is in other units than :data:`UNITS`.
    """
    import phonopy
    from phonopy.physical_units import get_calculator_physical_units

    if not path.is_dir() and path.suffix not in _OPENERS:
        raise DataError(
            f"{path}: neither a phonopy YAML file ({', '.join(_OPENERS)}) nor a folder with "
            f"{' or '.join(FORCES)}; give one of these, or rename it"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of primitive_matrix, which is what we want
            if path.is_dir():
                phonons = _read_folder(path)
            else:
                text = _OPENERS[path.suffix](path.read_bytes()).decode()
                phonons = phonopy.load(io.StringIO(text), is_nac=False)
        units = get_calculator_physical_units(phonons.calculator)
    except (OSError, KeyError, ValueError, RuntimeError, AttributeError, TypeError) as error:
        raise DataError(f"{path}: cannot be read as phonons ({type(error).__name__}: {error})") from error
    if (units.length_unit, units.force_constants_unit) != UNITS:
        raise DataError(
            f"{path}: in the units of {phonons.calculator} ({units.length_unit}, "
            f"{units.force_constants_unit}), expected {' and '.join(UNITS)}; convert the cell, the "
            "displacements and the forces to A and eV/A (VASP's units), and name no calculator in the file"
        )
    return phonons


def _read_folder(folder: Path) -> Phonopy:
    import phonopy

    files, forces = sorted(folder.glob("phonopy*.yaml*")), file_of(folder)
    kind = "force_sets_filename" if forces.name == FORCES[0] else "force_constants_filename"
    given: dict[str, Any] = {kind: forces, "is_nac": False}
    if files:
        return phonopy.load(files[0], **given)
    unit_cell = folder / "POSCAR-unitcell"
    return phonopy.load(
        unitcell_filename=unit_cell,
        supercell_matrix=_supercell_matrix(folder / "disp.yaml", unit_cell),
        **given,
    )


def _supercell_matrix(displacements: Path, unit_cell: Path) -> np.ndarray:
    """Infer the supercell's matrix from the old format, which has its lattice alone."""
    import yaml
    from phonopy.interface.vasp import read_vasp

    lattice = np.array(yaml.safe_load(displacements.read_bytes())["lattice"])
    exact = lattice @ np.linalg.inv(read_vasp(unit_cell).cell)
    if not np.allclose(exact, exact.round(), atol=1e-3):
        raise ValueError(f"{displacements.name} has no supercell of {unit_cell.name}")
    return exact.round().astype(int).T
