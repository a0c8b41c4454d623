"""Allowed ranges of numbers in a configuration."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

from ase.data import atomic_numbers

from nequix.core.suggest import did_you_mean


@dataclass(frozen=True)
class Range:
    """An interval; it never contains infinity or NaN.

    Attributes:
        least: The smallest value.
        below: All values are smaller.
        positive: Whether ``least`` itself is excluded.
    """

    least: float = 0
    below: float = float("inf")
    positive: bool = False

    def __contains__(self, value: float) -> bool:
        return self.least <= value < self.below and not (self.positive and value == self.least)

    def __str__(self) -> str:
        limits = f"above {self.least:g}" if self.positive else f"from {self.least:g} on"
        return limits if self.below == float("inf") else f"{limits} and below {self.below:g}"

    def read(self, value: Any) -> Any:
        """Convert a value to a number if it represents one; otherwise return it unchanged.

        Args:
            value: The value in the file.
        """
        return value

    def wanted(self, kind: str, value: Any) -> str:
        """Describe the allowed values.

        Args:
            kind: ``int`` or ``float``.
            value: The wrong value.
        """
        return f"{kind} {self}"


class Elements(Range):
    """Atomic numbers, also given as symbols."""

    def read(self, value: Any) -> Any:
        """Return the atomic number of a symbol; return other values unchanged.

        Args:
            value: The value in the file.
        """
        return atomic_numbers.get(value, value) if isinstance(value, str) else value

    def wanted(self, kind: str, value: Any) -> str:
        """Describe the allowed values.

        Args:
            kind: ``int``.
            value: The wrong value.
        """
        hint = did_you_mean(value, atomic_numbers) if isinstance(value, str) else ""
        if value is False:  # YAML parses No as false
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
