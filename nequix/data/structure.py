"""One labelled structure, and how its raw labels are read from an ``ase.Atoms``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nequix.core.errors import DataError
from nequix.data.label_keys import LabelKeys
from nequix.data.label_table import ENERGIES, LABELS
from nequix.data.label_values import find_label, stress_label

if TYPE_CHECKING:
    from ase import Atoms
    from jaxtyping import Bool, Float, Int

_IDENTIFIERS = (
    "name",
    "frame_id",
    "mptrj_snapshot_id",
    "alexandria_id",
    "internal_id",
    "sid",
    "src_id",
)
_WEIGHTS = tuple(f"{label}_weight" for label in LABELS)


@dataclass(frozen=True, eq=False)
class HessianProduct:
    """A label of second derivatives: what the Hessian makes of one direction.

    Attributes:
        direction: A displacement of every atom; a unit vector stands for a column of the Hessian.
        product: The Hessian times the direction, eV/A^2 times the direction's unit.
    """

    direction: Float[np.ndarray, "n 3"]
    product: Float[np.ndarray, "n 3"]


@dataclass(frozen=True, eq=False)
class Structure:
    """A structure with the labels that it has; a label that is None is missing.

    Attributes:
        numbers: Atomic numbers.
        positions: A.
        cell: Rows are lattice vectors, A.
        pbc: Which of them are periodic.
        energy: eV.
        forces: eV/A, raw: never filtered by constraints.
        stress: eV/A^3, positive under tension.
        name: What messages call it: its file and number, and its identifier where it has one.
        weights: Factors of energy, forces and stress in the loss.
        hessian: A product of the Hessian.
        energies: eV, of every atom, as another potential divides its energy among them.
        unread: Names of what else its source holds, among which a label of another name may be.
    """

    numbers: Int[np.ndarray, " n"]
    positions: Float[np.ndarray, "n 3"]
    cell: Float[np.ndarray, "3 3"]
    pbc: Bool[np.ndarray, " 3"]
    energy: float | None
    forces: Float[np.ndarray, "n 3"] | None
    stress: Float[np.ndarray, "3 3"] | None
    name: str
    weights: tuple[float, float, float] = (1.0, 1.0, 1.0)
    hessian: HessianProduct | None = None
    energies: Float[np.ndarray, " n"] | None = None
    unread: tuple[str, ...] = ()

    def trusted(self) -> Structure:
        """Return the structure without the labels whose weight is zero: they are not to be trusted."""
        labels = dict.fromkeys(label for label, w in zip(LABELS, self.weights, strict=True) if not w > 0)
        return replace(self, **labels) if labels else self

    @property
    def volume(self) -> float:
        """``|det cell|``, A^3; zero without a three-dimensional cell."""
        return _volume(self.cell)

    @property
    def formula(self) -> str:
        """Elements and their counts, alphabetically."""
        from ase.data import chemical_symbols

        counts = zip(*np.unique(self.numbers, return_counts=True), strict=True)
        pairs = sorted((chemical_symbols[number], int(count)) for number, count in counts)
        return "".join(f"{symbol}{count if count > 1 else ''}" for symbol, count in pairs)


def from_atoms(
    atoms: Atoms, name: str, keys: LabelKeys | None = None, extra: Mapping[str, Any] | None = None
) -> Structure:
    """Read a structure and its raw labels.

    The labels are those stored with the structure. ``atoms.get_forces()`` is not called, because it returns
    zeros for constrained atoms. A stress needs a cell with a volume; without one it is ignored.

    Args:
        atoms: With labels in its calculator's results, ``info`` or ``arrays``.
        name: What messages call it.
        keys: Where the labels are; the usual keys by default.
        extra: More values to look for labels in, such as those of a database's row.

    Raises:
        DataError: If an atom has no element, or a label has a wrong shape, is not a number, or occurs twice
            with different values.

    Example:
        >>> from ase import Atoms
        >>> from_atoms(Atoms("H", info={"REF_energy": -13.6}), "atom").energy
        -13.6
    """
    keys = keys or LabelKeys()
    results = getattr(atoms.calc, "results", {})
    places = (results, atoms.info, atoms.arrays, extra or {})
    n = len(atoms)
    numbers = np.array(atoms.numbers)
    refuse_no_element(numbers, name)
    cell = np.array(atoms.cell, float)
    energy = find_label(name, keys.energy, places, ((), (1,)), per=max(n, 1), unit=" eV/atom")
    forces = find_label(name, keys.forces, places, ((n, 3), (3 * n,)), unit=" eV/A")
    return Structure(
        numbers=numbers,
        positions=np.array(atoms.positions, float),
        cell=cell,
        pbc=np.array(atoms.pbc, bool),
        energy=None if energy is None else float(energy.reshape(())),
        forces=None if forces is None else forces.reshape(n, 3),
        stress=stress_label(name, keys, places, _volume(cell)),
        name=_with_identifier(name, atoms.info, extra or {}),
        weights=_weights(name, atoms.info, extra or {}),
        energies=find_label(name, (ENERGIES,), (results, atoms.arrays), ((n,),)),
        unread=_unread(keys, places),
    )


def _volume(cell: Float[np.ndarray, "3 3"]) -> float:
    with np.errstate(invalid="ignore"):  # a cell that is not finite is refused or reported elsewhere
        return float(abs(np.linalg.det(cell)))


def refuse_no_element(numbers: Int[np.ndarray, " n"], name: str) -> None:
    """Reject atoms without an element, such as ASE's X (Z = 0).

    Args:
        numbers: Atomic numbers.
        name: What messages call the structure.

    Raises:
        DataError: Naming the first such atom.
    """
    from ase.data import chemical_symbols

    wrong = np.flatnonzero((numbers < 1) | (numbers >= len(chemical_symbols)))
    if len(wrong):
        atom, number = int(wrong[0]), int(numbers[wrong[0]])
        what = "X, a placeholder without an element" if number == 0 else "not an element"
        raise DataError(
            f"{name}: atom {atom} (counted from 0) has Z = {number}, {what} ({len(wrong)} such atoms); write "
            "its element's symbol into the file, or leave the structure out"
        )


def _unread(keys: LabelKeys, places: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Name what is neither a label that was looked for nor a part of the structure itself."""
    read = {*keys.energy, *keys.forces, *keys.stress, *keys.virial, ENERGIES, *_WEIGHTS, *_IDENTIFIERS}
    return tuple(sorted({str(key) for place in places for key in place} - read - {"numbers", "positions"}))


def _with_identifier(name: str, *places: Mapping[str, Any]) -> str:
    for key in _IDENTIFIERS:
        for place in places:
            if key in place:
                # A converted structure keeps the name that it had.
                return str(place[key]) if key == "name" else f"{name} ({place[key]})"
    return name


def _weights(name: str, *places: Mapping[str, Any]) -> tuple[float, float, float]:
    values = [next((place[key] for place in places if key in place), 1.0) for key in _WEIGHTS]
    try:
        if any(np.asarray(value).dtype.kind in "bUS" for value in values):
            raise TypeError("not a number")
        energy, forces, stress = map(float, values)
    except (TypeError, ValueError):
        raise DataError(f"{name}: {_WEIGHTS} = {values} must be numbers") from None
    if not all(0 <= value < np.inf for value in (energy, forces, stress)):
        raise DataError(f"{name}: {_WEIGHTS} = {values} must be finite and not negative")
    return energy, forces, stress


def check_atoms(atoms: Atoms, name: str) -> Atoms:
    """Return a structure whose atoms have an element and finite coordinates.

    Args:
        atoms: The structure; its labels are not read.
        name: What messages call it.

    Raises:
        DataError: If it has no atom, an atom without an element, or a coordinate that is not finite.
    """
    if not len(atoms):
        raise DataError(f"{name}: has no atom; leave it out")
    refuse_no_element(np.array(atoms.numbers), name)
    for what, values in (("positions", atoms.positions), ("cell", atoms.cell.array)):
        if not np.isfinite(values).all():
            raise DataError(f"{name}: {what} is not finite; correct the source or leave the structure out")
    return atoms


def refuse_not_finite(structure: Structure) -> None:
    """Reject a structure with a coordinate or label that is infinite or NaN, which would spoil any sum.

    Args:
        structure: The structure.

    Raises:
        DataError: Naming the structure and the quantity.
    """
    wrong = not_finite(structure)
    if wrong:
        raise DataError(
            f"{structure.name}: {', '.join(wrong)} is not finite; correct the source or leave the structure "
            "out; `nequix data check` lists all such structures"
        )


def not_finite(structure: Structure) -> tuple[str, ...]:
    """Name the coordinates and labels of a structure that are infinite or NaN somewhere.

    Args:
        structure: The structure.
    """
    values: dict[str, Any] = {
        name: getattr(structure, name) for name in ("positions", "cell", *LABELS, ENERGIES)
    }
    product = structure.hessian
    if product is not None:
        values |= {"direction": product.direction, "Hessian product": product.product}
    return tuple(name for name, value in values.items() if value is not None and not np.isfinite(value).all())


def to_atoms(structure: Structure) -> Atoms:
    """Convert to an ``ase.Atoms`` whose calculator's results hold the labels; :func:`from_atoms` reads it.

    Args:
        structure: The structure.
    """
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.stress import full_3x3_to_voigt_6_stress

    atoms = Atoms(structure.numbers, structure.positions, cell=structure.cell, pbc=structure.pbc)
    stress = None if structure.stress is None else full_3x3_to_voigt_6_stress(structure.stress)
    labels = {"energy": structure.energy, "forces": structure.forces, "stress": stress}
    labels[ENERGIES] = structure.energies
    atoms.calc = SinglePointCalculator(atoms, **{k: v for k, v in labels.items() if v is not None})
    atoms.info["name"] = structure.name
    if structure.weights != (1.0, 1.0, 1.0):
        atoms.info.update(zip(_WEIGHTS, structure.weights, strict=True))
    return atoms
