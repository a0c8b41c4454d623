"""The phononDB-PBE structures and their DFT conductivities, in k_SRME's or Matbench-Discovery's files."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nequix.core.errors import DataError
from nequix.data.frames import read_frames
from nequix.data.structure import check_atoms
from nequix.io import strict_json

if TYPE_CHECKING:
    from ase import Atoms
    from jaxtyping import Float

STRUCTURES = "*phononDB-PBE*structures.extxyz*"
"""Pattern of the file of structures, as k_SRME and Matbench-Discovery name it."""

REFERENCE = "*kappas*phononDB*PBE*noNAC.json*"
"""Pattern of the file of DFT conductivities by mode."""


@dataclass(frozen=True)
class Reference:
    """The DFT conductivity of one material at 300 K.

    Attributes:
        kappa: W/(m K), mean of three directions.
        modes: As :class:`nequix.evaluation.conductivity.Conductivity`.
        q_points: In reciprocal lattice vectors.
        weights: Mesh points that each q-point stands for.
        frequencies: THz.
    """

    kappa: float
    modes: Float[np.ndarray, "n_q n_bands"]
    q_points: Float[np.ndarray, "n_q 3"]
    weights: Float[np.ndarray, " n_q"]
    frequencies: Float[np.ndarray, "n_q n_bands"]


@functools.cache
def read_structures(folder: Path) -> dict[str, Atoms]:
    """Read the structures of the task by identifier, their supercells and meshes in ``info``.

    Args:
        folder: Where the file is.

    Raises:
        DataError: If it is not there, cannot be read, or lacks something.
    """
    path = _find(folder, STRUCTURES)
    structures: dict[str, Atoms] = {}
    for index, atoms in enumerate(read_frames(path)):
        info = atoms.info
        for ours, theirs in (("mp_id", "material_id"), ("q_mesh", "q_point_mesh")):
            if theirs in info:
                info[ours] = info[theirs]
        missing = [key for key in ("mp_id", "q_mesh", "fc2_supercell", "fc3_supercell") if key not in info]
        if missing:
            raise DataError(f"{path}: frame {index} has no {', '.join(missing)}; fetch the file again")
        check_atoms(atoms, f"{path}: frame {index}")
        for key in ("q_mesh", "fc2_supercell", "fc3_supercell"):
            _check_counts(info[key], key, f"{path}: frame {index}")
        if str(info["mp_id"]) in structures:
            raise DataError(f"{path}: two structures are called {info['mp_id']!s:.60}; leave one out")
        info.setdefault("name", atoms.get_chemical_formula(empirical=True))
        structures[str(info["mp_id"])] = atoms
    return structures


@functools.cache
def read_reference(folder: Path) -> dict[str, Reference]:
    """Read the DFT conductivities by identifier.

    Args:
        folder: Where the file is.

    Raises:
        DataError: If it is not there, or lacks something.
    """
    path = _find(folder, REFERENCE)
    try:
        columns = strict_json.read_object(path)
        names = columns["mp_id" if "mp_id" in columns else "material_id"]
        found = {str(name): _reference(columns, row) for row, name in names.items()}
        if len(found) < len(names):
            raise ValueError("two materials have one identifier")
        return found
    except DataError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, StopIteration) as error:
        raise DataError(
            f"{path}: cannot be read ({type(error).__name__}: {error}); fetch it again"
        ) from error


def _reference(columns: dict[str, Any], row: str) -> Reference:
    def column(*names: str) -> np.ndarray:
        value = np.asarray(next(columns[name] for name in names if name in columns)[row])
        if value.dtype.kind not in "iuf" or not np.isfinite(value).all():
            raise ValueError(f"{names[0]} of {row} is not made of finite numbers")
        return value.astype(float)

    found = Reference(
        float(column("kappa_TOT_ave", "kappa_tot_avg").ravel()[0]),
        column("mode_kappa_TOT_ave", "mode_kappa_tot_avg")[0],
        column("qpoints", "q_points"),
        column("weights", "mode_weights"),
        column("frequencies", "phonon_freqs"),
    )
    n_points = len(found.weights)
    shapes = [found.q_points.shape == (n_points, 3), found.modes.shape == found.frequencies.shape]
    if not all(shapes) or found.modes.shape[:1] != (n_points,) or found.modes.ndim != 2:
        raise ValueError(f"q-points, weights, frequencies and modes of {row} do not fit each other")
    if not (found.weights > 0).all() or found.kappa < 0:
        raise ValueError(f"a weight or the conductivity of {row} is negative")
    return found


def _check_counts(values: Any, key: str, where: str) -> None:
    """Refuse a mesh or supercell that is not made of positive whole numbers: three, or a matrix."""
    numbers = np.asarray(values)
    shape = numbers.shape in ((3,), (9,), (3, 3))
    if not shape or numbers.dtype.kind not in "iuf" or not (np.isfinite(numbers) & (numbers % 1 == 0)).all():
        raise DataError(f"{where}: {key} = {values!r:.60}, expected three whole numbers, or a matrix of them")
    if (numbers.ndim == 1 and len(numbers) == 3 and (numbers < 1).any()) or not numbers.any():
        raise DataError(f"{where}: {key} = {values!r:.60}, expected positive numbers")


def find_files(folder: Path) -> tuple[Path, Path]:
    """Return the files of the structures and of the reference.

    Args:
        folder: Holds them.

    Raises:
        DataError: If one is missing.
    """
    return _find(folder, STRUCTURES), _find(folder, REFERENCE)


def _find(folder: Path, pattern: str) -> Path:
    # A hidden file is none: `nequix data get` leaves its locks there.
    found = sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))
    if not found:
        raise DataError(
            f"{folder}: no file {pattern}; give the folder of k_SRME's or Matbench-Discovery's files"
        )
    return found[0]


def estimate_cost(atoms: Atoms) -> float:
    """Estimate what a material costs, in arbitrary units.

    Bands count most, through pairs of displaced atoms and triplets of phonons; of structures with as many,
    those with fewer neighbours are cheaper.

    Args:
        atoms: One of :func:`read_structures`.
    """
    matrix = np.array(atoms.info.get("primitive_matrix", np.eye(3)), float)
    n_bands = 3 * len(atoms) * abs(np.linalg.det(matrix))
    density = len(atoms) / atoms.get_volume()
    return float(n_bands**3 * density)
