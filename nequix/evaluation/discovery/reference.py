"""What predictions are compared with: the benchmark's summary of WBM, and energies of the elements."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from nequix.core.errors import DataError
from nequix.data.extxyz import reading
from nequix.evaluation.discovery.structures import ID, open_structures
from nequix.io import checked, strict_json
from nequix.io.limits import open_bounded

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

FORMATION, HULL = "e_form_per_atom_mp2020_corrected", "e_above_hull_mp2020_corrected_ppd_mp"
ENERGY, CORRECTION, SITES = "uncorrected_energy", "e_correction_per_atom_mp2020", "n_sites"
UNIQUE = "unique_prototype"

COLUMNS = (ID, FORMATION, HULL, ENERGY, CORRECTION, SITES, UNIQUE)
"""The columns of the summary that are read."""

DECIMALS = 4
"""To which the benchmark rounds energies of elements and predictions."""


@dataclass(frozen=True, eq=False)
class Reference:
    """Energies of the reference in the order of its file, eV/atom; NaN where missing.

    Attributes:
        names: Identifiers of the materials.
        formation: Formation energies, corrected if the file's are.
        above_hull: Energies above the hull.
        raw: Uncorrected total energies.
        correction: What the scheme of corrections (MP2020) adds to a total energy.
        unique: Whether the prototype is a new one.
    """

    names: tuple[str, ...]
    formation: Float[np.ndarray, " n"]
    above_hull: Float[np.ndarray, " n"]
    raw: Float[np.ndarray, " n"]
    correction: Float[np.ndarray, " n"]
    unique: Bool[np.ndarray, " n"]


def read_reference(path: Path) -> Reference:
    """Read the benchmark's summary (CSV), or labelled structures (extended XYZ), which have no hull.

    Args:
        path: A CSV file, compressed or not; or extended XYZ with ``formation_energy_per_atom``, uncorrected,
            and ``energy``.

    Raises:
        DataError: If it lacks formation energies.
    """
    rows = _read_csv(path) if ".csv" in path.suffixes else _read_xyz(path)
    _refuse_repeated([str(row[ID]) for row in rows], path)
    names = (SITES, FORMATION, HULL, ENERGY, CORRECTION)
    n_sites, formation, above_hull, energy, correction = (_column(rows, name, path) for name in names)
    wrong = np.flatnonzero((n_sites < 1) | (n_sites % 1 > 0))
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{path}: {SITES} of {rows[row][ID]!s:.60} is {n_sites[row]:g}, expected a whole number"
        )
    return Reference(
        tuple(str(row[ID]) for row in rows),
        formation,
        above_hull,
        energy / n_sites,
        correction,
        np.array([str(row.get(UNIQUE, True)).lower() == "true" for row in rows], bool),
    )


def _refuse_repeated(names: Sequence[str], path: Path) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError(f"{path}: {name[:60]} occurs twice; leave one out")
        seen.add(name)


def _read_csv(path: Path) -> list[dict[str, Any]]:
    try:
        with reading(path.name), io.TextIOWrapper(open_bounded(path), "utf-8-sig", newline="") as handle:
            rows = _read_rows(handle)
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as CSV ({error}); is it complete, and CSV?") from None
    missing = [name for name in (ID, FORMATION) if not rows or name not in rows[0]]
    if missing:
        raise DataError(f"{path}: has no column {missing[0]!r}; expected the benchmark's wbm-summary.csv.gz")
    return rows


def _read_rows(handle: TextIO) -> list[dict[str, Any]]:
    """Read the columns that are used; others are not kept."""
    reader = csv.reader(handle)
    header = next(reader, [])
    columns = [(header.index(name), name) for name in COLUMNS if name in header]
    return [{name: row[at] if at < len(row) else None for at, name in columns} for row in reader if row]


def _read_xyz(path: Path) -> list[dict[str, Any]]:
    rows = []
    for name, atoms in open_structures(path).by_name():
        formation = atoms.info.get("formation_energy_per_atom")
        if formation is None or "energy" not in getattr(atoms.calc, "results", {}):
            raise DataError(f"{path}: {name} lacks formation_energy_per_atom, or energy")
        energy = atoms.get_potential_energy()
        rows.append({ID: name, FORMATION: formation, ENERGY: energy, SITES: len(atoms), CORRECTION: 0.0})
    return rows


def _column(rows: Sequence[Mapping[str, Any]], name: str, path: Path) -> Float[np.ndarray, " n"]:
    values = np.full(len(rows), np.nan)
    for index, row in enumerate(rows):
        value = row.get(name)
        if value is None or value == "":
            continue
        try:
            values[index] = np.nan if isinstance(value, bool) else float(value)
            if isinstance(value, bool) or np.isinf(values[index]):
                raise ValueError("not a finite number")
        except (TypeError, ValueError):
            raise DataError(
                f"{path}: {name} of {str(row[ID])[:60]} is {str(value)[:40]!r}, expected a finite number"
            ) from None
    return values


def read_elements(path: Path) -> dict[str, float]:
    """Read energies of the elements' reference phases, eV/atom.

    Args:
        path: The benchmark's ``mp-elemental-reference-entries.json``, compressed or not, or JSON of numbers.

    Raises:
        DataError: If it is neither.
    """
    try:
        held = strict_json.read_object(path)
        return {_symbol(name): round(_energy_per_atom(entry), DECIMALS) for name, entry in held.items()}
    except DataError:  # a ValueError, too, that says all by itself
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path}: expected an entry or an energy for each element ({error!r}); see docs/evaluate.md"
        ) from error


def _energy_per_atom(entry: Any) -> float:
    if not isinstance(entry, dict):
        return checked.number({"energy": entry}, "energy")
    adjustments = entry.get("energy_adjustments")
    if adjustments:
        added = sum(
            checked.number(a, "value")
            if "value" in a
            else checked.number(a, "adj_per_atom") * checked.number(a, "n_atoms", 0)
            for a in adjustments
        )
    else:
        added = checked.number(entry, "correction") if entry.get("correction") is not None else 0.0
    composition = checked.section(entry, "composition")
    n_atoms = sum(checked.number(composition, symbol, 0) for symbol in composition)
    if not n_atoms:
        raise ValueError("a composition without atoms")
    return (checked.number(entry, "energy") + added) / n_atoms


def _symbol(name: str) -> str:
    from ase.data import atomic_numbers

    if not atomic_numbers.get(name):
        raise ValueError(f"{name[:20]!r} is not the symbol of an element")
    return name


def formation_energy(
    energy: float, numbers: Iterable[int], elements: Mapping[str, float], correction: float = 0.0
) -> float:
    """Return a formation energy, eV/atom: ``E / n + correction - sum_x c_x E_x``.

    Args:
        energy: Total, uncorrected, eV.
        numbers: Atomic numbers of its atoms.
        elements: Energies of the elements' reference phases, eV/atom.
        correction: Added to the total energy, eV/atom.

    Raises:
        DataError: If there is no energy of an element.
    """
    from ase.data import chemical_symbols

    symbols = [chemical_symbols[number] for number in numbers]
    missing = sorted(set(symbols) - set(elements))
    if missing:
        raise DataError(f"no reference energy of {', '.join(missing)}; add it to the file of --elements")
    return (energy - sum(elements[symbol] for symbol in symbols)) / len(symbols) + correction
