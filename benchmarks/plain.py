"""Time energy, forces and stress of a diamond cell with two kernels of an engine, in turn, and their memory.

    python benchmarks/plain.py [--atoms 216] [--rounds 5] [--against e3nn] [--engines jax torch]

Each engine runs in a process of its own that evaluates kernel A, kernel B, A, B, ...; what counts is the
ratio of each pair, since it survives a machine whose speed drifts. Peak memory comes from one more process a
kernel. The model has the published shape and random weights: its speed is that of the published models.
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import statistics
import subprocess
import sys
import time

from ase.build import bulk
from rich.console import Console
from rich.table import Table

from nequix.core.parameters import initialise
from nequix.core.spec import ModelSpec
from nequix.graphs.graph import graph_from_atoms
from nequix.io.weights import Provenance, Weights


def diamond(n_atoms: int):
    repeats = max(1, round((n_atoms / 8) ** (1 / 3)))
    atoms = bulk("C", "diamond", 3.57, cubic=True) * (repeats, repeats, repeats)
    atoms.rattle(0.05, seed=0)
    return atoms


def published_shape() -> Weights:
    numbers = (*range(1, 84), *range(89, 95))
    spec = ModelSpec(atomic_numbers=numbers, avg_n_neighbors=57.4, scale=0.8, shift=0.0)
    return Weights(spec, initialise(spec, seed=0), Provenance())


def measure(engine: str, kernels: list[str], n_atoms: int, rounds: int) -> dict:
    """Run kernels in turn; report seconds by kernel, the edges and this process's peak memory."""
    potential = importlib.import_module(f"nequix.{engine}").Potential
    weights = published_shape()
    graph = graph_from_atoms(diamond(n_atoms), weights.spec)
    potentials = {kernel: potential(weights, kernel=kernel) for kernel in kernels}
    seconds: dict[str, list[float]] = {kernel: [] for kernel in kernels}
    for _ in range(rounds + 1):
        for kernel, ready in potentials.items():
            start = time.perf_counter()
            ready.evaluate(graph)
            seconds[kernel].append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # kilobytes on Linux
    first = {kernel: times.pop(0) for kernel, times in seconds.items()}
    return {"seconds": seconds, "first": first, "peak": peak, "edges": graph.n_edges, "atoms": graph.n_nodes}


def isolated(engine: str, kernels: list[str], n_atoms: int, rounds: int) -> dict:
    """Measure in a fresh process."""
    options = ["--worker", engine, "--kernels", *kernels, "--atoms", str(n_atoms), "--rounds", str(rounds)]
    run = subprocess.run([sys.executable, __file__, *options], capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(run.stderr)
    return json.loads(run.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atoms", type=int, default=216)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", default="e3nn")
    parser.add_argument("--engines", nargs="+", default=["jax", "torch"])
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--kernels", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(measure(options.worker, options.kernels, options.atoms, options.rounds)))
        return
    table = Table(
        "engine", "kernel", "median s", "ms/atom", "first call s", "peak GiB", "times plain (median, range)"
    )
    pair = ["plain", options.against]
    for engine in options.engines:
        timed = isolated(engine, pair, options.atoms, options.rounds)
        ratios = [b / a for a, b in zip(*(timed["seconds"][kernel] for kernel in pair), strict=True)]
        for kernel in pair:
            alone = isolated(engine, [kernel], options.atoms, 1)
            median = statistics.median(timed["seconds"][kernel])
            versus = "1" if kernel == "plain" else ""
            versus = versus or f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
            cells = [median, 1000 * median / timed["atoms"], timed["first"][kernel], alone["peak"] / 2**30]
            table.add_row(engine, kernel, *(f"{cell:.2f}" for cell in cells), versus)
    Console().print(
        f"{timed['atoms']} atoms of diamond, {timed['edges']} edges, float32, energy + forces + stress"
    )
    Console().print(table)


if __name__ == "__main__":
    main()
