"""Ensembles: the price of K members, and a calibration on real DFT data.

    python benchmarks/ensemble.py price --model nequix-mp-1 --members 4 --mode last-layer
    python benchmarks/ensemble.py calibrate --data FOLDER -o docs/results/figures
    python benchmarks/ensemble.py judge --ensemble RUN --test Si_test.extxyz.gz Cu_test.extxyz.gz -o RUN

Members are the model with the parameters that the mode trains changed at random. A single one, all together
and all in turn, each with its own calculator, take turns on a rattled crystal; ratios are those of each turn.

The calibration is that of three published models of one specification: ``nequix-mp-1`` and its two phonon
fine-tunings. They are not resampled members, but differ as fine-tunings of one parent do. An ensemble that
``nequix finetune --ensemble`` made is judged, with the calibration in its folder, on other files.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from scipy.stats import spearmanr

from nequix import NequixCalculator, NequixEnsembleCalculator
from nequix.backends import import_backend
from nequix.data.batch import graph_of
from nequix.data.opening import open_source
from nequix.finetune.calibration import calibrate, energy_pairs, force_pairs, miscalibration_area, reliability
from nequix.finetune.modes import MODES, trained_names
from nequix.io.catalogue import load_weights
from nequix.io.ensemble import read_ensemble
from nequix.io.weights import Weights


def changed(weights: Weights, mode: str, seed: int) -> Weights:
    """Return a model with other values of what a mode trains."""
    rng, own = np.random.default_rng(seed), set(trained_names(weights.spec, mode))
    values = {
        name: (x * (1 + 0.05 * rng.normal(size=x.shape))).astype(x.dtype) if name in own else x
        for name, x in weights.parameters.items()
    }
    return dataclasses.replace(weights, parameters=values)


def seconds(calculators: Sequence[NequixCalculator], atoms: Atoms) -> float:
    """Time the calculators, one after the other."""
    start = time.perf_counter()
    for calculator in calculators:
        calculator.calculate(atoms)
    return time.perf_counter() - start


def moved(atoms: Atoms, step: int) -> Atoms:
    """Return the structure slightly moved, so that nothing is remembered but the neighbour list."""
    other = atoms.copy()
    other.positions += 1e-4 * step
    other.positions[0] += 1e-3 * (step % 7)
    return other


def compare(options: argparse.Namespace, backend: str, kernel: str, atoms: Atoms) -> None:
    """Print a row of the table."""
    weights = load_weights(options.model)
    models = [changed(weights, options.mode, seed) for seed in range(options.members)]
    try:
        each = [NequixCalculator(model, backend, kernel=kernel) for model in models]
        together = NequixEnsembleCalculator(models, backend, kernel=kernel)
    except ImportError as error:
        print(f"| {backend} | {kernel} | not run: {error} |")
        return
    times: dict[str, list[float]] = {"one": [], "together": [], "in turn": []}
    for turn in range(options.turns + 1):
        structure = moved(atoms, turn)
        now = {
            "one": seconds(each[:1], structure),
            "together": seconds([together], structure),
            "in turn": seconds(each, structure),
        }
        if turn:  # the first one compiles
            for name, value in now.items():
                times[name].append(value)
    ratios = [
        sorted(a / b for a, b in zip(times["together"], times[name], strict=True))
        for name in ("one", "in turn")
    ]
    cells = [f"{statistics.median(r):.2f} ({r[0]:.2f}-{r[-1]:.2f})" for r in ratios]
    single = 1000 * statistics.median(times["one"])
    print(f"| {backend} | {kernel} | {single:.3g} | {' | '.join(cells)} |", flush=True)


PUBLISHED = ("nequix-mp-1", "nequix-mp-1-pft", "nequix-mp-1-pft-nocotrain")

SETS = {
    "Alexandria": ["mattersim_benchmarks/alexandria-random-1k.extxyz.gz"],
    "mlearn": [f"mlearn/{element}_test.extxyz.gz" for element in ("Li", "Si", "Cu", "Mo")],
}


def price(options: argparse.Namespace) -> None:
    """Print a table of paired times."""
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat(options.repeat)
    atoms.rattle(0.05, seed=0)
    print(f"{options.model}, {len(atoms)} atoms, {options.members} members, {options.mode}")
    print("| backend | kernel | single, ms | together / one | together / in turn |")
    print("|---|---|---:|---:|---:|")
    for engine in options.engines:
        compare(options, *engine.split("-"), atoms)


def calibrate_published(options: argparse.Namespace) -> None:
    """Print a table of calibrations, one a set, and draw the reliability of each."""
    members = [load_weights(name) for name in PUBLISHED]
    potential = import_backend("torch").EnsemblePotential(members)
    columns = ("scale", "area", "area_scaled", "limit")
    print(f"| | structures | rank correlation | {' | '.join(f'forces {c} | energy {c}' for c in columns)} |")
    print(f"|---|---:|---:|{'---:|' * 2 * len(columns)}")
    for name, files in SETS.items():
        structures = list(open_source([options.data / file for file in files]))
        predictions = [potential.evaluate(graph_of(structure, potential.spec)) for structure in structures]
        found = calibrate(name, structures, predictions)
        values = [getattr(found, f"{kind}_{c}") for c in columns for kind in ("forces", "energy")]
        cells = [f"{found.forces_rank_correlation:.2f}", *(f"{value:.3g}" for value in values)]
        print(f"| {name} | {found.n_structures} | {' | '.join(cells)} |", flush=True)
        figure = reliability(
            found, force_pairs(structures, predictions), energy_pairs(structures, predictions)
        )
        figure.savefig(options.output / f"ensemble-reliability-{name}.png", dpi=110)


def judge(options: argparse.Namespace) -> None:
    """Print how far an ensemble's own calibration holds on other files, and draw the reliability there."""
    members, calibration = read_ensemble(options.ensemble)
    if calibration is None:
        raise SystemExit(f"{options.ensemble} is not calibrated; train it with more structures for --valid")
    potential = import_backend("torch").EnsemblePotential(members)
    print(f"scales {calibration.forces_scale:.3g} and {calibration.energy_scale:.3g} of {calibration.data}")
    columns = ["force MAE, meV/A", "rank correlation", "area, forces: raw", "calibrated", "energy: raw"]
    columns += ["calibrated", "structures beyond the limit, %: forces", "energy"]
    print(f"| | {' | '.join(columns)} |")
    print(f"|---|{'---:|' * len(columns)}")
    for path in options.test:
        structures = list(open_source([path]))
        predictions = [potential.evaluate(graph_of(structure, potential.spec)) for structure in structures]
        forces, energy = force_pairs(structures, predictions), energy_pairs(structures, predictions)
        largest = np.array([result.forces_spread.max() for result in predictions])
        beyond = [
            np.mean(largest > calibration.forces_limit),
            np.mean(energy.spreads > calibration.energy_limit),
        ]
        cells = [
            f"{1000 * forces.errors.mean():.3g}",
            f"{spearmanr(forces.spreads, forces.errors).statistic:.2f}",  # pyright: ignore[reportAttributeAccessIssue]
            *(f"{miscalibration_area(forces, scale):.3g}" for scale in (1, calibration.forces_scale)),
            *(f"{miscalibration_area(energy, scale):.3g}" for scale in (1, calibration.energy_scale)),
            *(f"{100 * share:.3g}" for share in beyond),
        ]
        name = path.name.split(".")[0]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
        figure = reliability(calibration, forces, energy)
        figure.savefig(options.output / f"ensemble-reliability-{name}.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["price", "calibrate", "judge"])
    parser.add_argument("--data", type=Path, help="the folder of the data sets")
    parser.add_argument("--ensemble", type=Path, help="the folder of an ensemble to judge")
    parser.add_argument("--test", type=Path, nargs="+", help="files to judge it on")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--model", default="nequix-mp-1")
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--mode", default="last-layer", choices=list(MODES))
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--repeat", type=int, default=2, help="of a cubic cell of NaCl, 8 atoms")
    parser.add_argument(
        "--engines", nargs="+", default=["torch-native", "jax-native", "torch-plain", "jax-plain"]
    )
    options = parser.parse_args()
    {"price": price, "calibrate": calibrate_published, "judge": judge}[options.what](options)


if __name__ == "__main__":
    main()
