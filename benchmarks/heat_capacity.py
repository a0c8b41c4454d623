"""Heat capacities at 300 K of binaries, against DFT: phonons of many materials of which little else is known.

    python benchmarks/heat_capacity.py run --data FOLDER --work DIR [--n 100]      # resumable
    python benchmarks/heat_capacity.py report --data FOLDER --work DIR -o docs/results/figures

MatCalc's sample of Alexandria (PBE; CC BY 4.0), drawn at random: relaxed with their symmetry, displaced in
supercells at least 12 A thick. ``--work`` holds a folder for each model.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms
from rich.progress import Progress

from nequix.calculator import NequixCalculator
from nequix.evaluation.digests import describe_paths
from nequix.evaluation.phonons.harmonic import DISPLACEMENT, by_displacements, properties
from nequix.evaluation.phonons.task import FMAX, STEPS
from nequix.evaluation.relaxation import relax_symmetric
from nequix.evaluation.run import run_items
from nequix.evaluation.run_directory import RunDirectory
from nequix.evaluation.task import Engine, ItemResult
from nequix.execution import Execution

FILE = "matcalc_benchmarks/alexandria_binary_cv300.extxyz.gz"
THICKNESS = 12.0
"""A, of supercells, between any two opposite faces."""

IMAGINARY = -0.1
"""THz; a lower frequency at a commensurate q-point makes a material count as unstable."""


@dataclass(frozen=True)
class HeatCapacity:
    """Heat capacities of some structures of a file, J/K/mol of the given cell; see ``Task``."""

    file: Path
    n: int
    name: str = "heat capacity"

    def settings(self) -> dict[str, Any]:
        return {
            "data": describe_paths([self.file]),
            "thickness_A": THICKNESS,
            "displacement_A": DISPLACEMENT,
            "fmax_eV_per_A": FMAX,
        }

    def items(self) -> list[str]:
        return [str(i) for i in np.random.default_rng(0).permutation(len(self._read(":")))[: self.n]]

    def evaluate(self, item: str, calculator: NequixCalculator) -> ItemResult:
        atoms = self._read(item)[0]
        relaxed = relax_symmetric(atoms, calculator, FMAX, STEPS)
        cell = relaxed.atoms.cell
        heights = cell.volume / np.linalg.norm([np.cross(*np.delete(cell, i, 0)) for i in range(3)], axis=1)
        phonons = Phonopy(
            PhonopyAtoms(atoms.get_chemical_symbols(), cell=cell.array, positions=relaxed.atoms.positions),
            np.diag(np.ceil(THICKNESS / heights).astype(int)),
            primitive_matrix=np.eye(3),
        )
        by_displacements(phonons, calculator.potential)
        found = {
            "formula": atoms.get_chemical_formula(),
            "n_atoms": len(atoms),
            "dft": atoms.info["heat_capacity"],
        }
        return ItemResult(found | asdict(properties(phonons)) | {"converged": relaxed.converged})

    def _read(self, index: str) -> list[Any]:
        read = ase.io.read(self.file, index)
        return read if isinstance(read, list) else [read]


def run(options: argparse.Namespace) -> None:
    """Evaluate what has no result yet."""
    task = HeatCapacity(options.data / FILE, options.n)
    engine = Engine(options.model, Execution("torch", "native", "float64"))
    store, items = RunDirectory(options.work / options.model), task.items()
    identity = {
        "task": task.name,
        "settings": task.settings(),
        "engine": engine.describe(),
    }
    with store.begin(identity), Progress() as bar:
        row = bar.add_task(options.model, total=len(items), completed=sum(map(store.done, items)))
        run_items(task, engine, store, items, options.workers, lambda _: bar.advance(row))


def report(options: argparse.Namespace) -> None:
    """Print a row for each model, and draw heat capacities against DFT's."""
    from matplotlib.figure import Figure

    folders = sorted(path.parent for path in options.work.glob("*/run.json"))
    if not folders:
        raise SystemExit(f"{options.work} holds no runs; run first")
    figure = Figure((4.2 * len(folders), 4), layout="constrained")
    items = HeatCapacity(options.data / FILE, options.n).items()
    columns = (
        "materials",
        "failed",
        "not relaxed",
        "unstable",
        "MAE, J/K/mol",
        "of stable ones",
        "of an atom",
    )
    print(f"| model | {' | '.join(columns)} | mean error |")
    print(f"|---|{'---:|' * (len(columns) + 1)}")
    for axes, folder in zip(figure.subplots(1, len(folders), squeeze=False)[0], folders, strict=True):
        store = RunDirectory(folder)
        outcomes = [store.read(item) for item in items if store.done(item)]
        values = [outcome.values for outcome in outcomes if outcome.error is None]
        ours, dft, atoms, lowest = (
            np.array([v[key] for v in values]) for key in ("heat_capacity", "dft", "n_atoms", "min_frequency")
        )
        stable = lowest > IMAGINARY
        errors = ours - dft
        numbers = (
            np.abs(errors).mean(),
            np.abs(errors[stable]).mean(),
            np.abs(errors / atoms).mean(),
            errors.mean(),
        )
        moving = sum(not v["converged"] for v in values)
        counts = len(outcomes), len(outcomes) - len(values), moving, int((~stable).sum())
        print(f"| `{folder.name}` | {' | '.join([*map(str, counts), *(f'{x:.2f}' for x in numbers)])} |")
        for chosen, color, label in ((stable, "C0", "stable"), (~stable, "C1", "with imaginary modes")):
            axes.plot((dft / atoms)[chosen], (ours / atoms)[chosen], ".", color=color, label=label)
        axes.axline((15, 15), slope=1, color="0.6", lw=0.8)
        axes.set(xlabel="DFT: heat capacity at 300 K, J/K/mol of atoms", ylabel=folder.name)
    figure.axes[0].legend(frameon=False)
    if options.output:
        figure.savefig(options.output / "heat-capacity.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["run", "report"])
    parser.add_argument("--data", type=Path, required=True, help="the folder of the data sets")
    parser.add_argument("--work", type=Path, required=True, help="where results are kept")
    parser.add_argument("--model", default="nequix-mp-1")
    parser.add_argument("--n", type=int, default=100, help="materials")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    {"run": run, "report": report}[options.what](options)


if __name__ == "__main__":
    main()
