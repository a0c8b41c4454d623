"""One labelled structure, and how its raw labels are read from an ``ase.Atoms``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nequix.core.errors import DataError

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
LABELS: tuple[str, ...] = ("energy", "forces", "stress")
"""What a structure may be labelled with, beside products of the Hessian."""

ENERGIES = "energies"
"""The key of the energies of atoms, ASE's; no calculation has them, only another potential."""

KEY_OPTIONS = (
    "--energy-key, --forces-key or --stress-key of `nequix data` and `nequix evaluate errors`, "
    "data.energy_key and so on in the configuration of `nequix train` and `nequix finetune`; elsewhere, "
    "`nequix data convert` the data first"
)
"""How a key is named, for messages."""

_WEIGHTS = ("energy_weight", "forces_weight", "stress_weight")


@dataclass(frozen=True)
class LabelKeys:
    """Under which keys labels are found, the first present one counting.

    Attributes:
        energy: eV, of the whole structure.
        forces: eV/A.
        stress: eV/A^3, positive under tension (ASE's sign); six numbers are xx yy zz yz xz xy.
        virial: eV, ``-volume * stress``; read where there is no stress.
    """

    energy: tuple[str, ...] = ("energy", "REF_energy", "dft_energy", "DFT_energy")
    forces: tuple[str, ...] = ("forces", "force", "REF_forces", "dft_forces", "DFT_forces")
    stress: tuple[str, ...] = ("stress", "REF_stress", "dft_stress", "DFT_stress")
    virial: tuple[str, ...] = ("virial", "virials", "REF_virial", "REF_virials", "dft_virial", "DFT_virial")

    @classmethod
    def of(cls, energy: str | None = None, forces: str | None = None, stress: str | None = None) -> LabelKeys:
        """Take these keys alone for the labels that are given, and the usual ones for the others.

        Args:
            energy: Key of the energy.
            forces: Key of the forces.
            stress: Key of the stress, or a usual one of the virial; the other is then not looked for.
        """
        given: dict[str, tuple[str, ...]] = {}
        for label, key in (("energy", energy), ("forces", forces), ("stress", stress)):
            if key is not None:
                given[label] = (key,)
        if stress is not None:
            virial = stress in cls().virial  # another unit and sign: it must not be read as a stress
            given |= {"stress": (), "virial": (stress,)} if virial else {"virial": ()}
        return cls(**given)

    def named(self) -> dict[str, str]:
        """Return the key of each label that is looked for under one key alone."""
        found = {"energy": self.energy, "forces": self.forces, "stress": (*self.stress, *self.virial)}
        return {label: keys[0] for label, keys in found.items() if len(keys) == 1}


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
        return float(abs(np.linalg.det(self.cell)))

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

    ``atoms.get_forces()`` is not asked: it returns zeros for constrained atoms, which are no labels.

    Args:
        atoms: With labels in its calculator's results, ``info`` or ``arrays``.
        name: What messages shall call it.
        keys: Where the labels are; the usual keys by default.
        extra: More values to look for labels in, as a database's row has.

    Raises:
        DataError: If a label has a wrong shape, is no number, or is there twice with different values.
    """
    keys = keys or LabelKeys()
    results = getattr(atoms.calc, "results", {})
    places = (results, atoms.info, atoms.arrays, extra or {})
    n = len(atoms)
    cell = np.array(atoms.cell, float)
    energy = _find(name, keys.energy, places, ((), (1,)))
    forces = _find(name, keys.forces, places, ((n, 3), (3 * n,)))
    stress = _tensor(_find(name, keys.stress, places, ((3, 3), (9,), (6,))))
    if stress is None:
        virial = _tensor(_find(name, keys.virial, places, ((3, 3), (9,), (6,))))
        volume = abs(np.linalg.det(cell))
        stress = None if virial is None or volume == 0 else -virial / volume
    return Structure(
        numbers=np.array(atoms.numbers),
        positions=np.array(atoms.positions, float),
        cell=cell,
        pbc=np.array(atoms.pbc, bool),
        energy=None if energy is None else float(energy.reshape(())),
        forces=None if forces is None else forces.reshape(n, 3),
        stress=stress,
        name=_with_identifier(name, atoms.info, extra or {}),
        weights=_weights(name, atoms.info, extra or {}),
        energies=_find(name, (ENERGIES,), (results, atoms.arrays), ((n,),)),
        unread=_unread(keys, places),
    )


def _find(
    name: str, keys: Iterable[str], places: Iterable[Mapping[str, Any]], shapes: tuple[tuple[int, ...], ...]
) -> Float[np.ndarray, "..."] | None:
    """Return the value under the first key that is present; all present ones must agree."""
    first, where = None, ""
    for key in keys:
        value = next((place[key] for place in places if place.get(key) is not None), None)
        if value is None:
            continue
        try:
            array = np.array(value, float)
        except (TypeError, ValueError):
            raise DataError(f"{name}: {key} = {value!r:.60} is no number; mend the source") from None
        if array.shape not in shapes:
            raise DataError(
                f"{name}: {key} has shape {array.shape}, expected {' or '.join(map(str, shapes))}; mend the "
                f"source{'' if key == ENERGIES else ', or name another key'}"
            )
        if np.isnan(array).all() and array.size:
            continue  # how some programs, and the predictions of this one, write that there is none
        if first is None:
            first, where = array, key
        elif not _agree(first, array):
            raise DataError(f"{name}: {where} and {key} differ; say which to read: {KEY_OPTIONS}")
    return first


def _agree(one: Float[np.ndarray, "..."], other: Float[np.ndarray, "..."]) -> bool:
    if one.size != other.size:  # six components of a tensor and nine
        one, other = _full(one), _full(other)
    return np.allclose(one.ravel(), other.ravel(), rtol=1e-6, atol=1e-6)


def _unread(keys: LabelKeys, places: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Name what is neither a label that was looked for nor a part of the structure itself."""
    read = {*keys.energy, *keys.forces, *keys.stress, *keys.virial, ENERGIES, *_WEIGHTS, *_IDENTIFIERS}
    return tuple(sorted({str(key) for place in places for key in place} - read - {"numbers", "positions"}))


def _tensor(values: Float[np.ndarray, "..."] | None) -> Float[np.ndarray, "3 3"] | None:
    return None if values is None else _full(values)


def _full(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "3 3"]:
    if values.size == 6:
        values = values[[0, 5, 4, 5, 1, 3, 4, 3, 2]]  # Voigt's order: xx yy zz yz xz xy
    return values.reshape(3, 3)


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
        energy, forces, stress = map(float, values)
    except (TypeError, ValueError):
        raise DataError(f"{name}: {_WEIGHTS} = {values} must be numbers") from None
    if not all(0 <= value < np.inf for value in (energy, forces, stress)):
        raise DataError(f"{name}: {_WEIGHTS} = {values} must be finite and not negative")
    return energy, forces, stress


def refuse_not_finite(structure: Structure) -> None:
    """Refuse a structure with a label that is infinite or no number, which would spoil any sum.

    Args:
        structure: The structure.

    Raises:
        DataError: Naming the structure and the label.
    """
    for label in (*LABELS, ENERGIES):
        value = getattr(structure, label)
        if value is not None and not np.isfinite(value).all():
            raise DataError(
                f"{structure.name}: {label} is not finite; mend the source, or find more such with "
                "`nequix data check`"
            )


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
