"""How far crystals can be compressed before a model's pressure turns over.

    python benchmarks/compression.py -o docs/results/compression.json     # all published models, some minutes
    python benchmarks/compression.py --report docs/results/compression.json

Each crystal is scaled as a whole, from a tenth above its equilibrium volume to a quarter of it, in steps of
1 %. The pressure must rise all the way. Where it first falls, the model is beyond what it can be used for.
The table gives the ratio of volumes, the pressure and the distance between nearest neighbours there.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.units import GPa

from nequix.backends import load_model
from nequix.coverage.distances import shortest
from nequix.coverage.environments import environments_of
from nequix.data.structure import from_atoms
from nequix.graphs.graph import batch, graph_from_atoms
from nequix.io.catalogue import BUNDLED, ENTRIES, list_models
from nequix.io.files import write_atomic

CRYSTALS = {
    "MgO": bulk("MgO", "rocksalt", a=4.26),
    "NaCl": bulk("NaCl", "rocksalt", a=5.69),
    "GaAs": bulk("GaAs", "zincblende", a=5.75),
    "Si": bulk("Si", "diamond", a=5.47),
    "C": bulk("C", "diamond", a=3.57),
    "Cu": bulk("Cu", "fcc", a=3.63),
    "Al": bulk("Al", "fcc", a=4.04),
    "W": bulk("W", "bcc", a=3.17),
}
"""With PBE's lattice constants, roughly; each model's own equilibrium is found."""

RATIOS = np.arange(1.1, 0.2499, -0.01)
PER_BATCH = 8


def scaled(atoms: Atoms, ratio: float) -> Atoms:
    """Scale a crystal to a part of its volume."""
    copy = atoms.copy()
    copy.set_cell(ratio ** (1 / 3) * atoms.cell, scale_atoms=True)
    return copy


def pressures(potential, frames: list[Atoms]) -> np.ndarray:
    """Evaluate pressures, GPa."""
    found = []
    for start in range(0, len(frames), PER_BATCH):
        graphs = [graph_from_atoms(atoms, potential.spec) for atoms in frames[start : start + PER_BATCH]]
        found.append(-np.trace(potential.evaluate(batch(graphs)).stress, axis1=1, axis2=2) / 3 / GPa)
    return np.concatenate(found)


def equilibrium(potential, atoms: Atoms) -> Atoms:
    """Scale a crystal to where its pressure is zero: three steps of the secant method from two volumes."""
    low, high = 0.97, 1.03
    p_low, p_high = pressures(potential, [scaled(atoms, low), scaled(atoms, high)])
    for _ in range(4):
        middle = low - p_low * (high - low) / (p_high - p_low)
        low, p_low, high, p_high = high, p_high, middle, pressures(potential, [scaled(atoms, middle)])[0]
        if abs(p_high) < 0.01:
            break
    return scaled(atoms, high)


def measure(model: str) -> list[dict]:
    """Compress every crystal with one model."""
    potential = load_model(model, "torch")
    rows = []
    for name, atoms in CRYSTALS.items():
        start = equilibrium(potential, atoms)
        frames = [scaled(start, ratio) for ratio in RATIOS]
        pressure = pressures(potential, frames)
        falls = np.flatnonzero(np.diff(pressure) <= 0)
        last = int(falls[0]) if len(falls) else len(RATIOS) - 1
        pairs = shortest(environments_of(from_atoms(frames[last], name), potential.spec.cutoff).pairs)
        rows.append(
            {
                "model": model,
                "crystal": name,
                "lattice": round(float(start.cell.cellpar()[0]), 3),
                "turns": bool(len(falls)),
                "ratio": round(float(RATIOS[last]), 2),
                "pressure": round(float(pressure[last]), 1),
                "distance": min(pairs.values()),
                "half": round(float(pressure[np.abs(RATIOS - 0.5).argmin()]), 1),
                "lowest": round(float(pressure[last:].min()), 1),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def report(rows: list[dict]) -> None:
    """Print the table of the documentation."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    print(f"| | {' | '.join(f'`{model}`' for model in models)} |")
    print(f"|---|{'---:|' * len(models)}")
    for crystal in CRYSTALS:
        cells = []
        for model in models:
            row = next(r for r in rows if (r["model"], r["crystal"]) == (model, crystal))
            sign = "" if row["turns"] else "below "
            cells.append(f"{sign}{row['ratio']:.2f} ({row['pressure']:.0f} GPa, {row['distance']:.2f} A)")
        print(f"| {crystal} | {' | '.join(cells)} |")
    smallest = [min(r["pressure"] for r in rows if r["model"] == model and r["turns"]) for model in models]
    print(f"| **range** | {' | '.join(f'**{10 * int(x // 10)} GPa**' for x in smallest)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=[*ENTRIES, *BUNDLED], choices=list_models())
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    if options.report:
        report(json.loads(options.report.read_text()))
        return
    rows = [row for model in options.models for row in measure(model)]
    if options.output:
        write_atomic(options.output, [json.dumps(rows, indent=1).encode() + b"\n"])
    report(rows)


if __name__ == "__main__":
    main()
