"""The DFT references of the battery, found in a folder by their files' names."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nequix.core.errors import DataError
from nequix.data.frames import read_frames
from nequix.data.structure import check_atoms
from nequix.evaluation.physics.dimers import Curve
from nequix.evaluation.physics.eos import GPA, Eos
from nequix.io import checked, strict_json

if TYPE_CHECKING:
    from ase import Atoms

PATTERNS = {
    "dimers": "*diatomics*dft*.json*",
    "eos": "*[uU]naries*.json*",
    "elastic": "*binary*elasticity*.extxyz*",
}
"""Patterns of the files' names: those of Matbench-Discovery, of the ACWF verification, and of MatCalc's
benchmark as extended XYZ."""


def find(folder: Path, kind: str) -> Path | None:
    """Look for a reference's file, folders within the folder included.

    Args:
        folder: Where to look.
        kind: A key of :data:`PATTERNS`.

    Returns:
        The first one by name; None if there is none.

    Raises:
        DataError: If the folder does not exist.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give the folder of the reference data")
    # A hidden file is none: `nequix data get` leaves its locks there.
    named = (path for path in folder.rglob(PATTERNS[kind]) if not path.name.startswith("."))
    return min(filter(Path.is_file, named), default=None)


@lru_cache(maxsize=1)
def read_dimers(path: Path) -> dict[str, Curve]:
    """Read the PBE curves of dimers as Matbench-Discovery publishes them.

    Args:
        path: The JSON file.

    Returns:
        A curve for each element's symbol.
    """
    try:
        held = strict_json.read_object(path)["PBE"]
        curves = {
            name.split("-")[0]: _read_curve(name, curve["distances"], curve["energies"])
            for name, curve in held.items()
        }
        if len(curves) < len(held):
            raise ValueError("two curves of one element")
        return curves
    except DataError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise DataError(
            f"{path}: no curves of dimers ({error!r}); expected PBE, then H-H and so on"
        ) from None


def _read_curve(name: str, distances: Any, energies: Any) -> Curve:
    values = [np.asarray(distances), np.asarray(energies)]
    numbers = all(type(x) in (int, float) for x in (*distances, *energies))
    if not numbers or any(x.ndim != 1 or not np.isfinite(x).all() for x in values):
        raise ValueError(f"{name[:20]}: not made of finite numbers")
    if len(values[0]) != len(values[1]) or not len(values[0]) or not (values[0] > 0).all():
        raise ValueError(f"{name[:20]}: expected a positive distance for each energy")
    return Curve.of(*values)


@dataclass(frozen=True)
class EosReference:
    """A reference equation of state.

    Attributes:
        n_atoms: Atoms that its volume holds.
        eos: All-electron.
        other: Of VASP; None where it is not given.
    """

    n_atoms: int
    eos: Eos
    other: Eos | None


@lru_cache(maxsize=1)
def read_eos(path: Path) -> dict[str, EosReference]:
    """Read the ACWF reference: as published, or as a table of ``natoms``, ``ae`` and ``vasp``.

    Args:
        path: The JSON file.

    Returns:
        A reference for each crystal's name.
    """
    held = strict_json.read_object(path)
    try:
        if "BM_fit_data" in held:
            atoms = held["num_atoms_in_sim_cell"]
            return {
                name: EosReference(checked.count(atoms, name, 1), _published(values), None)
                for name, values in held["BM_fit_data"].items()
                if values is not None
            }
        return {
            name: EosReference(
                checked.count(values, "natoms", 1),
                _eos(*values["ae"]),
                _eos(*values["vasp"]) if values.get("vasp") else None,
            )
            for name, values in held.items()
            if values.get("ae")
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: no equations of state ({error!r}); expected the ACWF reference") from None


def _published(values: dict[str, float]) -> Eos:
    volume, modulus, derivative = (
        checked.number(values, name) for name in ("min_volume", "bulk_modulus_ev_ang3", "bulk_deriv")
    )
    return _eos(volume, GPA * modulus, derivative)


def _eos(volume: Any, modulus: Any, derivative: Any) -> Eos:
    """Check the parameters of an equation of state: A^3, GPa, and the derivative of the latter."""
    values = {"volume": volume, "bulk modulus": modulus, "derivative": derivative}
    found = [checked.number(values, name) for name in values]
    if found[0] <= 0 or found[1] <= 0:
        raise ValueError(f"volume {found[0]:g} A^3, bulk modulus {found[1]:g} GPa: not positive")
    return Eos(*found)


@lru_cache(maxsize=1)
def read_elastic(path: Path) -> dict[str, Atoms]:
    """Read crystals with the moduli of DFT in ``info``.

    Args:
        path: An extended XYZ file with ``mp_id``, ``bulk_modulus_vrh`` and ``shear_modulus_vrh`` (GPa).

    Returns:
        A structure for each identifier.

    Raises:
        DataError: If it cannot be read, or lacks something.
    """
    needed = ("mp_id", "bulk_modulus_vrh", "shear_modulus_vrh")
    found = {}
    for index, atoms in enumerate(read_frames(path)):
        missing = [name for name in needed if name not in atoms.info]
        if missing:
            raise DataError(f"{path}: frame {index} has no {', '.join(missing)}")
        check_atoms(atoms, f"{path}: frame {index}")
        for name in needed[1:]:
            value = atoms.info[name]
            if isinstance(value, bool) or not isinstance(value, Real) or not np.isfinite(float(value)):
                raise DataError(f"{path}: frame {index}: {name} = {value!r:.60}, expected a finite number")
        if str(atoms.info["mp_id"]) in found:
            raise DataError(f"{path}: two structures are called {atoms.info['mp_id']!s:.60}; leave one out")
        found[str(atoms.info["mp_id"])] = atoms
    return found


def sample_elastic(structures: dict[str, Atoms], elements: set[int], count: int, max_atoms: int) -> list[str]:
    """Draw small crystals with sane moduli, the same for the same file.

    Args:
        structures: Of :func:`read_elastic`.
        elements: Atomic numbers that the model knows.
        count: How many, at most.
        max_atoms: Atoms of a crystal at most.
    """
    fit = [
        name
        for name, atoms in sorted(structures.items())
        if len(atoms) <= max_atoms
        and set(atoms.numbers.tolist()) <= elements
        and 1 < atoms.info["bulk_modulus_vrh"] < 600
        and 1 < atoms.info["shear_modulus_vrh"] < 600
    ]
    order = np.random.default_rng(0).permutation(len(fit))[:count]
    return sorted(fit[index] for index in order)
