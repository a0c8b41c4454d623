"""Which elements go into which prototype: sensible compounds by chance, the same for the same seed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from weights.nano.prototypes import BINARY, HEUSLER, INTERMETALLIC, TERNARY, UNARY, Prototype

STATES: dict[str, tuple[int, ...]] = {
    "H": (1,), "Li": (1,), "Na": (1,), "K": (1,), "Rb": (1,), "Cs": (1,),
    "Be": (2,), "Mg": (2,), "Ca": (2,), "Sr": (2,), "Ba": (2,),
    "Sc": (3,), "Y": (3,), "La": (3,), "Ti": (2, 3, 4), "Zr": (4,), "Hf": (4,),
    "V": (2, 3, 4, 5), "Nb": (3, 4, 5), "Ta": (4, 5), "Cr": (2, 3, 6), "Mo": (4, 6), "W": (4, 6),
    "Mn": (2, 3, 4), "Re": (4, 6), "Fe": (2, 3), "Ru": (3, 4), "Co": (2, 3), "Rh": (3,), "Ir": (3, 4),
    "Ni": (2,), "Pd": (2,), "Pt": (2, 4), "Cu": (1, 2), "Ag": (1,), "Au": (1, 3), "Zn": (2,), "Cd": (2,),
    "B": (3,), "Al": (3,), "Ga": (3,), "In": (1, 3), "Si": (4,), "Ge": (2, 4), "Sn": (2, 4), "Pb": (2, 4),
    "C": (4,), "P": (3, 5), "As": (3,), "Sb": (3,), "Bi": (3,), "Te": (4,),
}  # fmt: skip
"""Common positive oxidation states."""

ANIONS: dict[str, tuple[int, float]] = {
    "O": (2, 6.0), "S": (2, 3.0), "Se": (2, 2.0), "Te": (2, 1.5), "F": (1, 3.0), "Cl": (1, 2.5),
    "Br": (1, 1.5), "I": (1, 1.5), "N": (3, 2.5), "P": (3, 1.5), "As": (3, 1.0), "Sb": (3, 0.7),
    "H": (1, 1.5), "C": (4, 1.0),
}  # fmt: skip
"""Charge of the anion, and how often it is drawn."""

ELEMENTS = tuple(sorted({*STATES, *ANIONS}))
"""All elements that occur."""

METALS = tuple(e for e in STATES if e not in ("H", "B", "C", "P", "As", "Te"))
"""Elements of intermetallic compounds; a few are semiconductors."""


GASES = ("H", "N", "O", "F", "Cl", "Br")
"""Elements that do not form crystals of atoms; they occur in compounds and molecules."""


@dataclass(frozen=True)
class Base:
    """A crystal that structures are derived from.

    Attributes:
        prototype: Its structure.
        elements: A symbol for each of its labels.
    """

    prototype: Prototype
    elements: tuple[str, ...]

    @property
    def name(self) -> str:
        """Prototype and elements."""
        return f"{self.prototype.name.replace(' ', '-')}:{'-'.join(self.elements)}"


def bases(n_unary: int, n_ionic: tuple[int, int], n_metallic: tuple[int, int], seed: int) -> list[Base]:
    """Draw the base crystals: elements in six structures each, compounds by chance.

    Args:
        n_unary: Crystals of elements; no more than there are.
        n_ionic: Compounds of cations and anions: binary, ternary.
        n_metallic: Compounds of metals: binary, ternary.
        seed: Of the draw.
    """
    rng = np.random.default_rng([seed, 1])
    solids = [element for element in ELEMENTS if element not in GASES]
    drawn = [base for element in solids for base in _unaries(element, rng)][:n_unary]
    seen = set(drawn)
    kinds = (
        (n_ionic[0], lambda: _ionic(BINARY, rng)),
        (n_ionic[1], lambda: _ionic(TERNARY, rng)),
        (n_metallic[0], lambda: _metallic(INTERMETALLIC, rng)),
        (n_metallic[1], lambda: _metallic(HEUSLER, rng)),
    )
    for number, draw in kinds:
        wanted = len(seen) + number
        while len(seen) < wanted:
            base = draw()
            if base not in seen:
                seen.add(base)
                drawn.append(base)
    return drawn


def _unaries(element: str, rng: np.random.Generator) -> list[Base]:
    """Take the three common structures and three others."""
    others = rng.choice(np.arange(3, len(UNARY)), 3, replace=False)
    return [Base(UNARY[i], (element,)) for i in (0, 1, 2, *sorted(others.tolist()))]


def _ionic(prototypes: tuple[Prototype, ...], rng: np.random.Generator) -> Base:
    """Draw a compound: nine of ten times one whose charges balance."""
    anions, weights = list(ANIONS), np.array([weight for _, weight in ANIONS.values()])
    cations = list(STATES)
    balanced = rng.random() < 0.9
    while True:
        prototype = prototypes[rng.integers(len(prototypes))]
        anion = str(rng.choice(anions, p=weights / weights.sum()))
        metals = tuple(str(x) for x in rng.choice(cations, len(prototype.counts) - 1, replace=False))
        if anion not in metals and (not balanced or _balances(prototype, metals, anion)):
            return Base(prototype, (*metals, anion))


def _balances(prototype: Prototype, metals: tuple[str, ...], anion: str) -> bool:
    wanted = prototype.counts[-1] * ANIONS[anion][0]
    sums = {0}
    for metal, count in zip(metals, prototype.counts, strict=False):
        sums = {have + count * state for have in sums for state in STATES[metal]}
    return wanted in sums


def _metallic(prototypes: tuple[Prototype, ...], rng: np.random.Generator) -> Base:
    prototype = prototypes[rng.integers(len(prototypes))]
    metals = rng.choice(METALS, len(prototype.counts), replace=False)
    return Base(prototype, tuple(str(metal) for metal in metals))


def pairs(number: int, seed: int) -> list[tuple[str, str]]:
    """Draw pairs of elements, for diatomic molecules; every element is in one at least.

    Args:
        number: How many.
        seed: Of the draw.
    """
    rng = np.random.default_rng([seed, 2])
    partners = rng.permutation(len(ELEMENTS))
    first = [tuple(sorted((e, ELEMENTS[p]))) for e, p in zip(ELEMENTS, partners, strict=True)]
    every = [*combinations(ELEMENTS, 2), *((e, e) for e in ELEMENTS)]
    more = [every[i] for i in rng.permutation(len(every))]
    return list(dict.fromkeys((str(a), str(b)) for a, b in [*first, *more]))[:number]
