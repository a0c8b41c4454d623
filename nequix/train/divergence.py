"""Divergence monitor: stop a run if the loss is not finite or explodes."""

from __future__ import annotations

import json
import statistics
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nequix.core.errors import DataError
from nequix.io.files import write_atomic
from nequix.train.config_types import Count, Positive

WINDOW = 100
"""Number of steps for the median that defines the usual loss."""

LEAST = 20
"""Number of steps before the usual loss is defined."""


@dataclass(frozen=True)
class StopConfig:
    """When a loss counts as exploding.

    Attributes:
        factor: Multiple of the usual loss that is too large; the usual loss is the median of recent steps.
        steps: Number of consecutive steps that must exceed it. A single structure with absurd labels spoils
            one or two.
    """

    factor: Positive = 20.0
    steps: Count = 10


class DivergenceMonitor:
    """Checks every step.

    Args:
        config: When a loss counts as exploding.
        path: The file that lists the structures of the bad steps.
        losses: Losses of the steps so far, if the run is resumed.
    """

    def __init__(self, config: StopConfig, path: Path, losses: Iterable[float] = ()) -> None:
        self._config, self._path = config, path
        self._usual: deque[float] = deque(losses, WINDOW)
        self._bad: list[dict[str, Any]] = []

    def judge(self, step: int, values: dict[str, float], names: Sequence[str]) -> None:
        """Record and check a step.

        Args:
            step: The step.
            values: Its metrics, ``loss`` among them.
            names: Its structures.

        Raises:
            DataError: If the run has to stop; the structures of the bad steps are then listed in the file.
        """
        record = {"step": step, "metrics": {name: repr(value) for name, value in values.items()}}
        if not np.isfinite(list(values.values())).all():
            self._bad.append({**record, "names": list(names)})
            self._stop(f"step {step}: the loss is not finite ({values})")
        usual = statistics.median(self._usual) if len(self._usual) >= LEAST else float("inf")
        if values["loss"] <= self._config.factor * usual:
            self._bad.clear()
            self._usual.append(values["loss"])
            return
        self._bad.append({**record, "usual_loss": usual, "names": list(names)})
        if len(self._bad) >= self._config.steps:
            self._stop(
                f"step {step}: the loss explodes: {len(self._bad)} steps above {self._config.factor:g} times "
                f"the usual {usual:.4g}, now {values['loss']:.4g}"
            )

    def _stop(self, reason: str) -> None:
        write_atomic(self._path, [json.dumps(self._bad, indent=1).encode()])
        raise DataError(
            f"{reason}; the structures are listed in {self._path}: check them with `nequix data check`, or "
            "lower the learning rate in another folder"
        )
