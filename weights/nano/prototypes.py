"""Crystal prototypes: symmetry and sites, from which a structure of any elements is made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
from ase.spacegroup import crystal

THIRD = 1 / 3


@dataclass(frozen=True)
class Prototype:
    """A crystal structure without its elements.

    Attributes:
        name: Its usual name.
        group: Number of the space group.
        sites: A fractional position for every symmetry class of atoms.
        labels: Which of the elements sits on each of them: ``0``, ``1``, ...
        counts: Atoms of each element in a formula unit.
        ratio: ``c / a``.
        hexagonal: Whether the angle between ``a`` and ``b`` is 120 degrees.
    """

    name: str
    group: int
    sites: tuple[tuple[float, float, float], ...]
    labels: str
    counts: tuple[int, ...]
    ratio: float = 1.0
    hexagonal: bool = False

    def build(self, elements: tuple[str, ...]) -> Atoms:
        """Make the primitive cell, the closest atoms as far apart as their covalent radii ask for.

        Args:
            elements: A symbol for each label.
        """
        cellpar = [1, 1, self.ratio, 90, 90, 120 if self.hexagonal else 90]
        symbols = [elements[int(label)] for label in self.labels]
        atoms = crystal(
            symbols,
            list(self.sites),
            spacegroup=self.group,
            cellpar=[10 * x for x in cellpar[:3]] + cellpar[3:],
            primitive_cell=True,
        )
        plain = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
        return rescale(plain, closeness(plain))


def rescale(atoms: Atoms, factor: float) -> Atoms:
    """Return a copy with all lengths multiplied.

    Args:
        atoms: The structure.
        factor: The factor.
    """
    copy = atoms.copy()
    copy.set_cell(atoms.cell * factor, scale_atoms=True)
    return copy


def closeness(atoms: Atoms) -> float:
    """Return the largest ratio of the sum of two covalent radii and the distance of their atoms.

    Args:
        atoms: The structure; without neighbours, the ratio is zero.
    """
    radii = covalent_radii[atoms.numbers]
    reach = 3.5 * (atoms.get_volume() / len(atoms)) ** THIRD if atoms.pbc.any() else 6.0
    i, j, d = neighbor_list("ijd", atoms, reach)
    return float(np.max((radii[i] + radii[j]) / d)) if len(d) else 0.0


_O = (0.0, 0.0, 0.0)
_H = (0.5, 0.5, 0.5)
_Q = (0.25, 0.25, 0.25)
_T = (0.75, 0.75, 0.75)
_C = (0.0, 0.0, 0.5)

UNARY = (
    Prototype("fcc", 225, (_O,), "0", (1,)),
    Prototype("bcc", 229, (_O,), "0", (1,)),
    Prototype("hcp", 194, ((THIRD, 2 * THIRD, 0.25),), "0", (1,), 1.62, True),
    Prototype("sc", 221, (_O,), "0", (1,)),
    Prototype("diamond", 227, (_O,), "0", (1,)),
    Prototype("dhcp", 194, (_O, (THIRD, 2 * THIRD, 0.25)), "00", (1,), 3.24, True),
    Prototype("omega", 191, (_O, (THIRD, 2 * THIRD, 0.5)), "00", (1,), 0.62, True),
    Prototype("A15", 223, (_O, (0.25, 0.0, 0.5)), "00", (1,)),
    Prototype("beta-tin", 141, (_O,), "0", (1,), 0.55),
    Prototype("A7", 166, ((0.0, 0.0, 0.23),), "0", (1,), 2.7, True),
    Prototype("graphite", 194, ((0.0, 0.0, 0.25), (THIRD, 2 * THIRD, 0.25)), "00", (1,), 2.72, True),
)
"""Structures of one element."""

BINARY = (
    Prototype("rocksalt", 225, (_O, _H), "01", (1, 1)),
    Prototype("CsCl", 221, (_O, _H), "01", (1, 1)),
    Prototype("zincblende", 216, (_O, _Q), "01", (1, 1)),
    Prototype(
        "wurtzite", 186, ((THIRD, 2 * THIRD, 0.0), (THIRD, 2 * THIRD, 0.375)), "01", (1, 1), 1.633, True
    ),
    Prototype("NiAs", 194, (_O, (THIRD, 2 * THIRD, 0.25)), "01", (1, 1), 1.5, True),
    Prototype("h-BN", 194, ((THIRD, 2 * THIRD, 0.25), (THIRD, 2 * THIRD, 0.75)), "01", (1, 1), 2.66, True),
    Prototype("fluorite", 225, (_O, _Q), "01", (1, 2)),
    Prototype("rutile", 136, (_O, (0.305, 0.305, 0.0)), "01", (1, 2), 0.65),
    Prototype("CdI2", 164, (_O, (THIRD, 2 * THIRD, 0.25)), "01", (1, 2), 1.62, True),
    Prototype("MoS2", 187, (_O, (THIRD, 2 * THIRD, 0.25)), "01", (1, 2), 1.9, True),
    Prototype("cuprite", 224, (_O, _Q), "10", (2, 1)),
    Prototype("antifluorite", 225, (_O, _Q), "10", (2, 1)),
    Prototype("ReO3", 221, (_O, (0.5, 0.0, 0.0)), "01", (1, 3)),
    Prototype("BiF3", 225, (_O, _H, _Q), "011", (1, 3)),
)
"""Compounds of a cation and an anion, in this order."""

TERNARY = (
    Prototype("perovskite", 221, (_O, _H, (0.5, 0.5, 0.0)), "012", (1, 1, 3)),
    Prototype("half-Heusler", 216, (_O, _Q, _H), "012", (1, 1, 1)),
    Prototype("delafossite", 166, (_O, _C, (0.0, 0.0, 0.11)), "012", (1, 1, 2), 5.9, True),
    Prototype("alpha-NaFeO2", 166, (_O, _C, (0.0, 0.0, 0.242)), "012", (1, 1, 2), 4.9, True),
    Prototype("antiperovskite", 221, (_O, _H, (0.5, 0.5, 0.0)), "120", (3, 1, 1)),
    Prototype("chalcopyrite", 122, (_O, _C, (0.25, 0.25, 0.125)), "012", (1, 1, 2), 2.0),
    Prototype("K2PtCl6", 225, (_Q, _O, (0.24, 0.0, 0.0)), "012", (2, 1, 6)),
)
"""Compounds of two cations and an anion, in this order."""

INTERMETALLIC = (
    Prototype("L1_2", 221, (_O, (0.0, 0.5, 0.5)), "01", (1, 3)),
    Prototype("L1_0", 123, (_O, _H), "01", (1, 1), 1.38),
    Prototype("B2", 221, (_O, _H), "01", (1, 1)),
    Prototype("D0_3", 225, (_O, _H, _Q), "011", (1, 3)),
    Prototype("B32", 227, (_O, _H), "01", (1, 1)),
    Prototype("C11_b", 139, (_O, (0.0, 0.0, 1 / 3)), "01", (1, 2), 3.2),
    Prototype("AlB2", 191, (_O, (THIRD, 2 * THIRD, 0.5)), "01", (1, 2), 1.08, True),
    Prototype("C15", 227, (_O, (0.625, 0.625, 0.625)), "01", (1, 2)),
    Prototype("Cr3Si", 223, (_O, (0.25, 0.0, 0.5)), "01", (1, 3)),
    Prototype("CaCu5", 191, (_O, (THIRD, 2 * THIRD, 0.0), (0.5, 0.0, 0.5)), "011", (1, 5), 0.8, True),
    Prototype("D0_19", 194, ((THIRD, 2 * THIRD, 0.25), (1 / 6, THIRD, 0.75)), "01", (1, 3), 0.81, True),
    Prototype("WC", 187, (_O, (THIRD, 2 * THIRD, 0.5)), "01", (1, 1), 0.98, True),
)
"""Compounds of two metals."""

HEUSLER = (
    Prototype("Heusler", 225, (_O, _H, _Q), "012", (1, 1, 2)),
    Prototype("half-Heusler", 216, (_O, _Q, _H), "012", (1, 1, 1)),
    Prototype("inverse Heusler", 216, (_O, _H, _Q, _T), "0212", (1, 1, 2)),
)
"""Compounds of three metals."""
