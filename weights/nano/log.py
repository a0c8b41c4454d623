"""The log that is kept of runs, thinned, and its figure: ``python -m weights.nano.log RUN [RUN ...]``."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from nequix.io.files import write_atomic
from nequix.train.figures import draw
from nequix.train.history import COLUMNS, History

EVERY = 100
"""Steps of which the means are kept."""


def thin(rows: Sequence[dict[str, str]], every: int = EVERY) -> list[dict[str, str]]:
    """Take the means over blocks of steps, and all validations.

    Args:
        rows: Of a run's history.
        every: Steps of a block.
    """
    steps = [row for row in rows if row["loss"]]
    kept = [row for row in rows if row["valid_loss"]]
    for start in range(0, len(steps), every):
        block = steps[start : start + every]
        means = {
            name: f"{np.mean([float(row[name]) for row in block]):.5g}"
            for name in COLUMNS[1:]
            if block[0].get(name)
        }
        kept.append({**dict.fromkeys(COLUMNS, ""), **means, "step": block[-1]["step"]})
    return sorted(kept, key=lambda row: (int(row["step"]), row["valid_loss"]))


def joined(runs: Sequence[Path]) -> list[dict[str, str]]:
    """Put the thinned histories of runs that followed one another into one, its steps counted from the first.

    Args:
        runs: Their folders.
    """
    rows: list[dict[str, str]] = []
    for run in runs:
        done = int(rows[-1]["step"]) if rows else 0
        own = thin(History(run / "history.csv").rows())
        rows += [{**row, "step": str(done + int(row["step"]))} for row in own]
    return rows


def main(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, each begun with the model before.")],
    folder: Annotated[Path, typer.Option("-o", help="Where to write.")] = Path(__file__).parent,
) -> None:
    """Write ``history.csv``, thinned, and the learning curves."""
    rows = joined(runs)
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(folder / "history.csv", [text.getvalue().encode()])
    draw(folder, rows, None)


if __name__ == "__main__":
    typer.run(main)
