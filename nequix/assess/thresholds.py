"""The thresholds of a decision, recorded before any data are read."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from nequix.core.errors import DataError
from nequix.core.migrations import Format
from nequix.io import checked, strict_json
from nequix.io.files import make_folder, write_atomic
from nequix.io.header import shorten
from nequix.io.limits import MAX_SETTINGS

PROTOCOL = "protocol.json"
"""File in the run directory that records them."""

FORMAT = Format("protocol")
"""Versions of :data:`PROTOCOL`."""


@dataclass(frozen=True)
class Thresholds:
    """Thresholds of acceptable errors, and how errors are sampled.

    Attributes:
        zero_shot_force: Force MAE of the model as it is, meV/A.
        tuned_energy: Energy MAE after fine-tuning, offsets removed, meV/atom.
        tuned_force: Force MAE after fine-tuning, meV/A; at most ``zero_shot_force``.
        confidence: Confidence level of the intervals.
        samples: Bootstrap samples of structures.
        seed: Random seed of the samples.

    Raises:
        DataError: If a threshold is not a positive number, or ``tuned_force`` is above ``zero_shot_force``.
    """

    zero_shot_force: float = 100.0
    tuned_energy: float = 20.0
    tuned_force: float = 50.0
    confidence: float = 0.95
    samples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("zero_shot_force", "tuned_energy", "tuned_force"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise DataError(f"{name} = {value}, expected a positive number")
        if self.tuned_force > self.zero_shot_force:
            raise DataError(
                f"tuned_force = {self.tuned_force:g} meV/A, expected at most zero_shot_force = "
                f"{self.zero_shot_force:g}: fine-tuning would be advised towards a target that is met "
                "already; lower tuned_force, or raise zero_shot_force"
            )

    def record(self, folder: Path) -> str:
        """Record the protocol in the run directory, once, before the data are read.

        Args:
            folder: The folder; created if needed.

        Returns:
            When it was first recorded.

        Raises:
            DataError: If another protocol is recorded there, as thresholds are not changed after the fact, or
                the folder cannot be made.
        """
        make_folder(folder)
        path, own = folder / PROTOCOL, asdict(self)
        if not path.exists():
            recorded = datetime.now(UTC).isoformat(timespec="seconds")
            record = {"version": FORMAT.version, "recorded": recorded, **own}
            write_atomic(path, [json.dumps(record, indent=1).encode() + b"\n"])
            return recorded
        try:
            held = strict_json.read_object(path, MAX_SETTINGS)
            held = FORMAT.upgrade(held, held.pop("version", 1))
            recorded = checked.text(held, "recorded")
            del held["recorded"]
        except ValueError as error:
            raise DataError(f"{path}: cannot be read ({shorten(error)}); choose another folder") from None
        if held != own:
            different = ", ".join(
                f"{name} = {held.get(name)} (got {value})"
                for name, value in own.items()
                if held.get(name) != value
            )
            raise DataError(
                f"{path}: recorded {recorded} with {different}; thresholds are not changed after the data "
                "are known: choose another folder for another protocol"
            )
        return recorded
