"""The task ``speed``: one item for each size, all contenders in turn."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from typing import Any

from nequix.calculator import NequixCalculator
from nequix.core.errors import DataError
from nequix.evaluation.speed import clock
from nequix.evaluation.speed.contenders import Contender
from nequix.evaluation.task import ItemResult

SIZES = (8, 64, 216, 512, 1000)
"""Atoms of diamond."""


@dataclass(frozen=True)
class Speed:
    """Contenders on diamond cells.

    Attributes:
        contenders: The first one is the engine that the task is run with; the others are compared with it.
        sizes: Atoms of the cells.
        rounds: Turns of each contender.
        with_memory: Whether memory is measured, in more processes.
    """

    contenders: tuple[Contender, ...]
    sizes: tuple[int, ...] = SIZES
    rounds: int = 5
    with_memory: bool = True
    name: str = "speed"

    def __post_init__(self) -> None:
        labels = [contender.label for contender in self.contenders]
        twice = [label for label in labels if labels.count(label) > 1]
        if twice:
            raise DataError(f"{twice[0]} is there twice; name each contender once")
        if not self.sizes or min(self.sizes) < 1:
            raise DataError(f"sizes = {self.sizes}, expected positive numbers of atoms")

    def settings(self) -> dict[str, Any]:
        """List what the numbers depend on besides the model."""
        return {
            "contenders": [contender.label for contender in self.contenders],
            "sizes": self.sizes,
            "rounds": self.rounds,
            "memory": self.with_memory,
            "threads": os.environ.get("OMP_NUM_THREADS"),
            "cpus": os.cpu_count(),
            "machine": platform.machine(),
        }

    def items(self) -> list[str]:
        """Name the sizes, the smallest first."""
        return [f"atoms-{size:07d}" for size in sorted(set(self.sizes))]

    def evaluate(self, item: str, calculator: NequixCalculator) -> ItemResult:
        """Time all contenders at one size.

        Args:
            item: The size.
            calculator: Of the first contender.
        """
        size = int(item.rpartition("-")[2])
        ready: list[tuple[str, Any]] = [(self.contenders[0].label, calculator)]
        held: dict[str, dict[str, Any]] = {}
        for contender in self.contenders[1:]:
            try:
                ready.append((contender.label, contender.calculator()))
            except Exception as error:  # any error of any calculator: the others continue
                held[contender.label] = {"error": f"{type(error).__name__}: {error}"}
        held |= clock.race(ready, size, self.rounds)
        if self.with_memory:
            for contender in self.contenders:
                if "error" not in held[contender.label]:
                    held[contender.label] |= clock.memory(contender, size)
        return ItemResult({"n_atoms": len(clock.diamond(size)), "contenders": held})
