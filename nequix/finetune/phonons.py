"""Force constants of phonon calculations as labels: columns of the Hessian of a supercell."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nequix.core.errors import BackendUnavailable, DataError
from nequix.data.sources import Source, Subset
from nequix.data.structure import HessianProduct, Structure
from nequix.evaluation.phonons.data import file_of, find_references, read_reference
from nequix.io.installation import install_command

if TYPE_CHECKING:
    from jaxtyping import Float
    from phonopy import Phonopy


class PhononSource(Source):
    """Supercells without displacements, each with one column of its force constants.

    Every material has as many entries as the material with the largest primitive cell has columns, so that
    all have equal weight; the columns of smaller ones repeat.

    Args:
        paths: phonopy YAML files, folders with ``FORCE_SETS``, or folders of any of these.

    Attributes:
        names: Of the materials.

    Raises:
        DataError: If there is none, or one cannot be read or has no force constants.
        BackendUnavailable: If phonopy is not installed.
    """

    def __init__(self, paths: Sequence[str | os.PathLike[str]]) -> None:
        self.path: str = ", ".join(os.fspath(path) for path in paths)
        found = [item for path in paths for item in _references(Path(path))]
        if not found:
            raise DataError("no phonons: give at least one phonopy file or folder")
        self.names: tuple[str, ...] = tuple(name for name, _ in found)
        self._materials = [_read(path) for _, path in found]
        self._n_columns = max(3 * len(columns) for _, columns in self._materials)

    def __len__(self) -> int:
        return len(self._materials) * self._n_columns

    def split(self, fraction: float, seed: int) -> tuple[Source, Source]:
        """Hold out some materials with all of their columns; a single material is on both sides.

        Args:
            fraction: Fraction of the materials to hold out; at least one material unless it is zero.
            seed: Seed of the draw.
        """
        n = len(self.names)
        if fraction == 0:
            return self, self.each()
        order = np.random.default_rng(seed).permutation(n)
        held = order[: max(1, round(fraction * n))]
        kept = order[len(held) :] if n > len(held) else held
        return Subset(self, self._entries(np.sort(kept))), self.each(held)

    def each(self, materials: Sequence[int] | np.ndarray | None = None) -> Source:
        """Return every column of materials once.

        Args:
            materials: Indices of the materials; by default all.
        """
        chosen = range(len(self.names)) if materials is None else np.sort(materials)
        columns = [self._entries([m], 3 * len(self._materials[m][1])) for m in chosen]
        return Subset(self, np.concatenate(columns))

    def _entries(self, materials: Sequence[int] | np.ndarray, n: int | None = None) -> np.ndarray:
        within = np.arange(n or self._n_columns)
        return (np.asarray(materials)[:, None] * self._n_columns + within).ravel()

    def __getitem__(self, index: int) -> Structure:
        material, column = divmod(self._checked(index), self._n_columns)
        supercell, columns = self._materials[material]
        atom, axis = divmod(column % (3 * len(columns)), 3)
        place, constants = columns[atom]
        direction = np.zeros_like(supercell.positions)
        direction[place, axis] = 1.0
        return Structure(
            numbers=supercell.numbers,
            positions=supercell.positions,
            cell=supercell.cell,
            pbc=supercell.pbc,
            energy=None,
            forces=None,
            stress=None,
            name=f"{self.names[material]}, atom {place}, direction {'xyz'[axis]}",
            hessian=HessianProduct(direction, constants[:, axis, :]),
        )


def force_constants(phonons: Phonopy) -> list[tuple[int, Float[np.ndarray, "n 3 3"]]]:
    """Return the force constants of each atom of the primitive cell, eV/A^2.

    Args:
        phonons: A calculation with full or compact force constants.

    Returns:
        For each such atom its index in the supercell, and ``d2E / dx_0a dx_jb`` as ``[j, a, b]``.
    """
    constants = np.asarray(phonons.force_constants)
    atoms = [int(atom) for atom in phonons.primitive.p2s_map]
    full = len(constants) == len(phonons.supercell)
    return [(atom, np.array(constants[atom if full else row], float)) for row, atom in enumerate(atoms)]


def _references(path: Path) -> list[tuple[str, Path]]:
    """List the references of a path: itself, or those of a folder."""
    try:
        if path.is_file():
            return [(path.name.partition(".yaml")[0], path)]
        if file_of(path) != path:
            return [(path.name, path)]
        return list(find_references(path).items())
    except ModuleNotFoundError as error:
        raise _missing(error) from None


def _read(path: Path) -> tuple[Structure, list[tuple[int, np.ndarray]]]:
    try:
        phonons = read_reference(path)
        if phonons.force_constants is None:
            raise DataError("there are no force constants, and no forces to compute them from")
        # Force constants from files may have a drift: a force on a rigidly displaced crystal.
        phonons.symmetrize_force_constants(show_drift=False)
        columns = force_constants(phonons)
    except ModuleNotFoundError as error:
        raise _missing(error) from None
    except DataError as error:
        raise DataError(f"{path}: {error}" if str(path) not in str(error) else str(error)) from None
    if not all(np.isfinite(constants).all() for _, constants in columns):
        raise DataError(f"{path}: force constants are not finite; correct the file")
    cell = phonons.supercell
    numbers, positions, lattice = (np.array(x) for x in (cell.numbers, cell.positions, cell.cell))
    return Structure(numbers, positions, lattice, np.ones(3, bool), None, None, None, str(path)), columns


def _missing(error: ModuleNotFoundError) -> BackendUnavailable:
    return BackendUnavailable(f"phonons need {error.name}: {install_command('evaluate')}")
