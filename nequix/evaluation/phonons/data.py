"""Reference phonons: displaced supercells and their DFT forces, in phonopy's files."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nequix.core.errors import DataError
from nequix.evaluation.phonons.phonopy_files import (
    check_dataset,
    check_force_constants,
    check_supercell,
    read_force_constants,
    read_force_sets,
    read_phonopy_yaml,
    read_unit_cell,
)
from nequix.io import strict_yaml
from nequix.io.limits import COMPRESSED, read_bounded

if TYPE_CHECKING:
    from phonopy import Phonopy
    from phonopy.interface.phonopy_yaml import PhonopyYamlData
    from phonopy.structure.atoms import PhonopyAtoms

FORCES = ("FORCE_SETS", "FORCE_CONSTANTS", "force_constants.hdf5")
"""Files of a material's folder that have forces or force constants; the first one there counts."""

UNITS = ("angstrom", "eV/angstrom^2")
"""phonopy's names of the units of length and of force constants that are read."""


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
    """Read one reference with force constants made from its forces and symmetrised, without charges (NAC).

    phonopy gets arrays and opens no file (:mod:`nequix.evaluation.phonons.phonopy_files`).

    Args:
        path: One of :func:`find_references`.

    Raises:
        DataError: If it cannot be read, or is in other units than :data:`UNITS`.
    """
    from phonopy.physical_units import get_calculator_physical_units

    ending = path.suffix if path.suffix in COMPRESSED else ""
    if not path.is_dir() and Path(path.name.removesuffix(ending)).suffix != ".yaml":
        raise DataError(
            f"{path}: neither a phonopy YAML file (.yaml, or with {', '.join(COMPRESSED)} after it) nor "
            f"a folder with {' or '.join(FORCES)}; give one of these, or rename it"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of primitive_matrix, which is what we want
            phonons = _read_folder(path) if path.is_dir() else _read_file(path)
        units = get_calculator_physical_units(phonons.calculator)
    except DataError as error:
        raise DataError(f"{path}: {error}" if str(path) not in str(error) else str(error)) from None
    except ModuleNotFoundError:
        raise
    except Exception as error:  # phonopy raises whatever its parsing met
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"{path}: cannot be read as phonons ({reason[:300]})") from error
    if (units.length_unit, units.force_constants_unit) != UNITS:
        raise DataError(
            f"{path}: in the units of {phonons.calculator} ({units.length_unit}, "
            f"{units.force_constants_unit}), expected {' and '.join(UNITS)}; convert the cell, the "
            "displacements and the forces to A and eV/A (VASP's units), and name no calculator in the file"
        )
    return phonons


def _read_file(path: Path) -> Phonopy:
    data = read_phonopy_yaml(path)
    return _with_force_constants(_from_yaml(data), data, None, path)


def _read_folder(folder: Path) -> Phonopy:
    files, forces = sorted(folder.glob("phonopy*.yaml*")), file_of(folder)
    if files:
        data = read_phonopy_yaml(files[0])
        return _with_force_constants(_from_yaml(data), data, forces, files[0])
    from phonopy import Phonopy

    unit_cell, displacements = folder / "POSCAR-unitcell", folder / "disp.yaml"
    atoms = read_unit_cell(unit_cell)
    matrix = _supercell_matrix(displacements, atoms)
    check_supercell(len(atoms), matrix, displacements)
    return _with_force_constants(Phonopy(atoms, matrix, primitive_matrix="auto"), None, forces, forces)


def _from_yaml(data: PhonopyYamlData) -> Phonopy:
    from phonopy import Phonopy

    primitive = "auto" if data.primitive_matrix is None else data.primitive_matrix
    matrix = np.eye(3, dtype=int) if data.supercell_matrix is None else data.supercell_matrix
    cell: Any = data.unitcell
    if getattr(cell, "has_weighted_species", False):
        raise DataError("has sites of mixed species; give an ordered crystal")
    return Phonopy(cell, matrix, primitive_matrix=primitive, calculator=data.calculator)


def _with_force_constants(
    phonons: Phonopy, data: PhonopyYamlData | None, forces: Path | None, path: Path
) -> Phonopy:
    """Set the force constants of a file, or make them from forces: those of the YAML file come first."""
    n_atoms = len(phonons.supercell)
    dataset: Any = None if data is None else data.dataset
    constants = None if data is None else data.force_constants
    if not _has_forces(dataset) and forces is not None and forces.name == FORCES[0]:
        dataset, path = read_force_sets(forces, n_atoms), forces
    if constants is None and forces is not None and forces.name != FORCES[0]:
        constants = read_force_constants(forces, np.asarray(phonons.primitive.p2s_map), n_atoms)
    if constants is not None:
        check_force_constants(constants, len(phonons.primitive), n_atoms, path)
        phonons.force_constants = constants
    elif _has_forces(dataset):
        check_dataset(dataset, n_atoms, path)
        phonons.dataset = dataset
        several = "displacements" in dataset  # displacements of all atoms at once need symfc
        phonons.produce_force_constants(
            calculate_full_force_constants=False, fc_calculator="symfc" if several else None, show_drift=False
        )
        if not several:
            phonons.symmetrize_force_constants(show_drift=False, use_symfc_projector=True)
    return phonons


def _has_forces(dataset: Any) -> bool:
    if dataset is None:
        return False
    return "forces" in dataset or any("forces" in entry for entry in dataset.get("first_atoms", ()))


def _supercell_matrix(displacements: Path, unit_cell: PhonopyAtoms) -> np.ndarray:
    """Infer the supercell's matrix from the old format, which has only its lattice."""
    values = strict_yaml.parse(read_bounded(displacements), str(displacements))
    if not isinstance(values, dict) or "lattice" not in values:
        raise DataError(f"{displacements}: has no lattice; is it phonopy's disp.yaml?")
    exact = np.array(values["lattice"], float) @ np.linalg.inv(unit_cell.cell)
    if exact.shape != (3, 3) or not np.allclose(exact, exact.round(), atol=1e-3):
        raise DataError(f"{displacements}: its lattice is not a supercell of the unit cell beside it")
    return exact.round().astype(int).T
