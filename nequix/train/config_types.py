"""What numbers in a configuration may be; a value beyond is named with its line."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

from ase.data import atomic_numbers

from nequix.core.suggest import did_you_mean


@dataclass(frozen=True)
class Range:
    """An interval; infinity and NaN are in none.

    Attributes:
        least: The smallest value.
        below: All values are smaller.
        positive: Whether ``least`` itself is left out.
    """

    least: float = 0
    below: float = float("inf")
    positive: bool = False

    def __contains__(self, value: float) -> bool:
        return self.least <= value < self.below and not (self.positive and value == self.least)

    def __str__(self) -> str:
        told = f"above {self.least:g}" if self.positive else f"from {self.least:g} on"
        return told if self.below == float("inf") else f"{told} and below {self.below:g}"

    def read(self, value: Any) -> Any:
        """Return the number that a value stands for; others stay as they are.

        Args:
            value: What a file holds.
        """
        return value

    def wanted(self, kind: str, value: Any) -> str:
        """Say what would be right.

        Args:
            kind: ``int`` or ``float``.
            value: What was wrong.
        """
        return f"{kind} {self}"


class Elements(Range):
    """Atomic numbers, for which symbols stand as well."""

    def read(self, value: Any) -> Any:
        """Return the atomic number of a symbol; others stay as they are.

        Args:
            value: What a file holds.
        """
        return atomic_numbers.get(value, value) if isinstance(value, str) else value

    def wanted(self, kind: str, value: Any) -> str:
        """Say what would be right.

        Args:
            kind: ``int``.
            value: What was wrong.
        """
        hint = did_you_mean(value, atomic_numbers) if isinstance(value, str) else ""
        if value is False:  # YAML takes No for it
            hint = "; nobelium needs quotes: 'No'"
        return f"a chemical symbol or an atomic number from {self.least} to {self.below - 1}{hint}"


class Finite(Range):
    """All numbers but infinity and NaN."""

    def __contains__(self, value: float) -> bool:
        return math.isfinite(value)

    def __str__(self) -> str:
        return "that is finite"


Element = Annotated[int, Elements(1, 119)]
Number = Annotated[float, Finite()]
Count = Annotated[int, Range(1)]
Index = Annotated[int, Range(0)]
Positive = Annotated[float, Range(positive=True)]
NotNegative = Annotated[float, Range()]
Fraction = Annotated[float, Range(below=1)]
Share = Annotated[float, Range(below=1, positive=True)]
