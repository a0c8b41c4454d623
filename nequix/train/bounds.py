"""What numbers in a configuration may be; a value beyond is named with its line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


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


Count = Annotated[int, Range(1)]
Index = Annotated[int, Range(0)]
Positive = Annotated[float, Range(positive=True)]
NotNegative = Annotated[float, Range()]
Fraction = Annotated[float, Range(below=1)]
Share = Annotated[float, Range(below=1, positive=True)]
