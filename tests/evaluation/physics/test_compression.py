"""The documented range under compression: docs/weights.md and docs/results/compression.json."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from nequix.backends import load_model
from nequix.graphs.graph import batch, graph_from_atoms
from nequix.io.catalogue import list_models

DOCS = Path(__file__).parents[3] / "docs"
ROWS = json.loads((DOCS / "results" / "compression.json").read_bytes())
MAGNESIA = [row for row in ROWS if row["crystal"] == "MgO"]


def test_the_page_states_the_range_of_every_model():
    page = (DOCS / "weights.md").read_text()
    header = next(line for line in page.splitlines() if line.startswith("| | `nequix"))
    names = re.findall(r"`([^`]+)`", header)
    ranges = re.findall(r"\*\*(\d+) GPa\*\*", page)
    assert sorted(names) == sorted(list_models())
    for name, stated in zip(names, ranges, strict=True):
        smallest = min(row["pressure"] for row in ROWS if row["model"] == name and row["turns"])
        assert int(stated) == 10 * (smallest // 10)


@pytest.mark.parametrize("row", MAGNESIA, ids=lambda row: row["model"])
def test_the_pressure_turns_over_where_the_page_says(row):
    potential = load_model(row["model"], "torch")
    crystal = bulk("MgO", "rocksalt", a=np.sqrt(2) * row["lattice"])
    frames = []
    for ratio in (row["ratio"] + 0.01, row["ratio"], row["ratio"] - 0.01):
        atoms = crystal.copy()
        atoms.set_cell(ratio ** (1 / 3) * atoms.cell, scale_atoms=True)
        frames.append(graph_from_atoms(atoms, potential.spec))
    before, turning, after = -np.trace(potential.evaluate(batch(frames)).stress, axis1=1, axis2=2)
    assert before < turning > after
