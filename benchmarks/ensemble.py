"""The price of an ensemble: K members together against one alone and K one after the other.

    python benchmarks/ensemble.py --model nequix-mp-1 --members 4 --mode last-layer

Members are the model with the parameters that the mode trains changed at random. One alone, all together
and all in turn, each with its own calculator, take turns on a rattled crystal; ratios are those of each turn.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.build import bulk

from nequix import NequixCalculator, NequixEnsembleCalculator
from nequix.core.registry import load_weights
from nequix.core.weights import Weights
from nequix.finetune.modes import MODES, trained_names


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="nequix-mp-1")
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--mode", default="last-layer", choices=list(MODES))
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--repeat", type=int, default=2, help="of a cubic cell of NaCl, 8 atoms")
    parser.add_argument(
        "--engines", nargs="+", default=["torch-native", "jax-native", "torch-plain", "jax-plain"]
    )
    options = parser.parse_args()
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat(options.repeat)
    atoms.rattle(0.05, seed=0)
    print(f"{options.model}, {len(atoms)} atoms, {options.members} members, {options.mode}")
    print("| backend | kernel | one alone, ms | together / one | together / in turn |")
    print("|---|---|---:|---:|---:|")
    for engine in options.engines:
        compare(options, *engine.split("-"), atoms)


if __name__ == "__main__":
    main()
