"""One frame of extended XYZ as an ``ase.Atoms``, with the elements and tensors that ASE's reader rejects."""

from __future__ import annotations

import io
import re
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from nequix.core.errors import DataError, reason
from nequix.data.xyz_limits import check_frame

if TYPE_CHECKING:
    from ase import Atoms

ISOTOPES = {"D": ("H", 2.014), "T": ("H", 3.016)}
"""Symbols of isotopes: their element, and their mass in atomic mass units."""

_PROPERTIES = re.compile(r'Properties\s*=\s*"?([^\s"]+)')
_TENSOR = re.compile(r'(?<!\w)(stress|virial)(\s*=\s*)(["{])([^"{}]*)(["}])')
_VOIGT = (0, 5, 4, 5, 1, 3, 4, 3, 2)  # xx yy zz yz xz xy as nine components


def parse_atoms(text: bytes, where: str) -> Atoms:
    """Read one frame of extended XYZ.

    Deuterium (D) and tritium (T) are hydrogen with their own masses. Six numbers of a ``stress`` or a
    ``virial`` are xx yy zz yz xz xy.

    Args:
        text: The frame's lines.
        where: What messages call it.

    Raises:
        DataError: If it is not a complete frame of extended XYZ, or a species is not an element.
    """
    from ase.io.extxyz import read_xyz

    try:
        lines = text.decode().lstrip().split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: is not text ({error}); is the file extended XYZ?") from None
    if len(lines) > 1:
        check_frame(lines[:3], where)
        lines[1] = _TENSOR.sub(partial(_nine_components, where), lines[1])
    masses = None
    try:
        try:
            atoms = next(read_xyz(io.StringIO("\n".join(lines)), 0))
        except KeyError:  # an unknown species: one of an isotope, or an error that ASE does not explain
            lines, masses = _without_isotopes(lines, where)
            atoms = next(read_xyz(io.StringIO("\n".join(lines)), 0))
    except DataError:
        raise
    except Exception as error:  # ASE's reader raises whatever its parsing met
        raise DataError(f"{where}: cannot be read ({reason(error)}); correct the file") from error
    if masses is not None and not atoms.has("masses"):
        usual = atoms.get_masses()
        masses = [usual[i] if mass is None else mass for i, mass in enumerate(masses)]
        atoms.set_array("masses", np.array(masses), float, ())
    return atoms


def _nine_components(where: str, match: re.Match[str]) -> str:
    """Write out six components of a tensor as nine, which is what ASE reads."""
    key, equals, opening, values, closing = match.groups()
    numbers = values.replace(",", " ").split()
    if len(numbers) == len(set(_VOIGT)):
        values = " ".join(numbers[index] for index in _VOIGT)
    elif len(numbers) != len(_VOIGT) and not values.startswith("_JSON"):
        raise DataError(
            f"{where}: {key} has {len(numbers)} numbers, expected the nine components of a tensor, or six "
            "in the order xx yy zz yz xz xy; correct the file"
        )
    return f"{key}{equals}{opening}{values}{closing}"


def _without_isotopes(lines: list[str], where: str) -> tuple[list[str], list[float | None]]:
    """Replace symbols of isotopes by their element's; return the lines, and the isotopes' masses."""
    from ase.data import atomic_numbers

    column = _species_column(lines[1])
    changed, masses = lines[:2], []
    for atom, line in enumerate(lines[2 : 2 + int(lines[0])]):
        fields = line.split()
        symbol = fields[column].capitalize() if len(fields) > column else ""
        element, mass = ISOTOPES.get(symbol, (symbol, None))
        if element not in atomic_numbers:
            raise DataError(
                f"{where}: atom {atom} (counted from 0) has the species {symbol!r}, which is not an "
                f"element's symbol; {_suggest(symbol)}"
            )
        fields[column] = element
        changed.append(" ".join(fields))
        masses.append(mass)
    return [*changed, *lines[2 + int(lines[0]) :]], masses


def _suggest(species: str) -> str:
    """Explain how to correct a species."""
    from ase.data import atomic_numbers, chemical_symbols

    if species.isdigit() and 0 < int(species) < len(chemical_symbols):
        symbol = chemical_symbols[int(species)]
        return f"write {symbol} if that is its atomic number, or name the column Z (Z:I:1 in Properties)"
    letters = re.match(r"[A-Za-z]{1,2}", species)
    symbol = letters.group().capitalize() if letters else ""
    if symbol in atomic_numbers:
        return f"write {symbol} if that is meant"
    return "write the symbol of an element"


def _species_column(comment: str) -> int:
    """Return the column that has the species."""
    match = _PROPERTIES.search(comment)
    parts = match.group(1).split(":") if match else ["species", "S", "1"]
    column = 0
    for name, count in zip(parts[::3], parts[2::3], strict=False):
        if name == "species":
            break
        column += int(count)
    return column
