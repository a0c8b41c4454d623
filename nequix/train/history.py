"""The metrics of a run by step, in a CSV file."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from nequix.core.errors import FileError
from nequix.io.files import write_atomic

COLUMNS: tuple[str, ...] = ("step", "loss", "energy", "forces", "stress", "gradient_norm", "rate", "seconds")
COLUMNS = (*COLUMNS, "valid_loss", "valid_energy", "valid_forces", "valid_stress", "hessian", "valid_hessian")
COLUMNS = (*COLUMNS, "energies", "valid_energies")


class History:
    """A CSV file with one row per step.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> list[dict[str, str]]:
        """Read all complete rows; a truncated last row is ignored."""
        if not self.path.exists():
            return []
        with open(self.path, newline="") as handle:
            return list(csv.DictReader(line for line in handle if line.endswith("\n")))

    def cut(self, step: int) -> None:
        """Drop everything after the step that the run resumes from.

        Args:
            step: The last step to keep.
        """
        kept = [row for row in self.rows() if row["step"].isdigit() and int(row["step"]) <= step]
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows({name: row.get(name) for name in COLUMNS} for row in kept)
        write_atomic(self.path, [text.getvalue().encode()])

    def add(self, step: int, values: dict[str, float]) -> None:
        """Append a row.

        Args:
            step: The step.
            values: Values of some columns.

        Raises:
            FileError: If it cannot be written.
        """
        try:
            with open(self.path, "a", newline="") as handle:
                csv.DictWriter(handle, COLUMNS).writerow({"step": step, **values})
        except OSError as error:
            raise FileError(
                f"{self.path}: cannot be written ({error.strerror or error}); free disk space, then give the "
                "same command: it resumes from the last checkpoint"
            ) from error

    def close(self) -> None:
        """Do nothing: every row is already in the file."""
