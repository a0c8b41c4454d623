"""Time steps of the ASE calculator, neighbour list included, by the native and the plain kernel in turn.

    python benchmarks/native.py [--atoms 8 64 216 1000] [--engines torch jax] [--threads 2] [--rounds 5]
    python benchmarks/native.py --atoms 1000 --rattle 0.3       # disordered
    python benchmarks/native.py --atoms 1000 --dtype float64
    python benchmarks/native.py --atoms 8000 100000 --no-plain

Each line is a process of its own: diamond at 6 A, energy, forces and stress, atoms moved a little before
each step. What counts is the ratio of each pair of steps, since it survives a machine whose speed drifts; the
least time tells what the machine can do when it is idle. Processor time is that of all threads. The
model has the published shape and random weights.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table


def measure(options: argparse.Namespace) -> dict:
    """Run kernels in turn on one structure; report seconds, processor time and this process's peak memory."""
    import numpy as np
    from plain import diamond, published_shape

    from nequix import NequixCalculator
    from nequix.backends import import_backend

    began = time.perf_counter()
    import_backend(options.engines[0])
    imported = time.perf_counter() - began
    atoms, rng, weights = diamond(options.atoms[0]), np.random.default_rng(0), published_shape()
    atoms.positions += rng.normal(0, options.rattle, atoms.positions.shape)
    kernels = ["native"] + ([] if options.no_plain else ["plain"])
    steps: dict[str, list[float]] = {kernel: [] for kernel in kernels}
    busy: dict[str, list[float]] = {kernel: [] for kernel in kernels}
    calculators = {}
    for _ in range(options.rounds + 1):
        atoms.positions += rng.normal(0, 0.005, atoms.positions.shape)
        for kernel in kernels:
            start, started = time.perf_counter(), time.process_time()
            # The first call: tables and compilations included, imports and reading weights not.
            if kernel not in calculators:
                calculators[kernel] = NequixCalculator(
                    weights, options.engines[0], kernel=kernel, dtype=options.dtype, device="cpu"
                )
            calculators[kernel].calculate(atoms.copy())
            steps[kernel].append(time.perf_counter() - start)
            busy[kernel].append(time.process_time() - started)
    native = calculators["native"].potential.kernel
    return {
        "atoms": len(atoms),
        "steps": steps,
        "busy": busy,
        "import": imported,
        "calls": native.model.calls,
        "instructions": native.model.instructions,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,  # kilobytes on Linux
    }


def isolated(options: argparse.Namespace, engine: str, n_atoms: int, plain: bool) -> dict:
    """Measure in a fresh process."""
    given = ["--worker", "--engines", engine, "--atoms", str(n_atoms), "--rounds", str(options.rounds)]
    given += ["--rattle", str(options.rattle), "--dtype", options.dtype, *([] if plain else ["--no-plain"])]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    run = subprocess.run([sys.executable, __file__, *given], capture_output=True, text=True, env=environment)
    if run.returncode:
        raise SystemExit(run.stderr)
    return json.loads(run.stdout.splitlines()[-1])


def row(engine: str, timed: dict, single: dict) -> list[str]:
    """Make a line of the table."""
    native = timed["steps"]["native"][1:]
    per_atom = 1e3 / timed["atoms"]
    ratios = [b / a for a, b in zip(native, timed["steps"].get("plain", [])[1:], strict=False)]
    versus = f"{statistics.median(ratios):.1f} ({min(ratios):.1f}-{max(ratios):.1f})" if ratios else ""
    return [
        engine,
        str(timed["atoms"]),
        f"{statistics.median(native) * per_atom:.3f}",
        f"{min(native) * per_atom:.3f}",
        f"{min(timed['busy']['native'][1:]) * per_atom:.3f}",
        f"{single['steps']['native'][0]:.2f}",
        f"{single['import']:.1f}",
        f"{single['peak'] / 2**30:.2f}",
        versus,
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atoms", type=int, nargs="+", default=[8, 64, 216, 1000])
    parser.add_argument("--engines", nargs="+", default=["torch", "jax"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rattle", type=float, default=0.0, help="A, besides the 0.05 A of the crystal")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--no-plain", action="store_true")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(measure(options)))
        return
    table = Table(
        "engine",
        "atoms",
        "median ms/atom",
        "least",
        "processor ms/atom",
        "first call s",
        "import s",
        "peak GiB",
        "plain / native",
    )
    for n_atoms in options.atoms:
        for engine in options.engines:
            single = isolated(options, engine, n_atoms, plain=False)
            timed = single if options.no_plain else isolated(options, engine, n_atoms, plain=True)
            table.add_row(*row(engine, timed, single))
    console = Console(width=120)
    console.print(
        f"diamond, 6 A, {options.dtype}, rattled by 0.05 A and {options.rattle} A more, {options.threads} "
        f"threads, {single['instructions']}; load of the machine now: {os.getloadavg()[0]:.1f}"
    )
    console.print(table)


if __name__ == "__main__":
    main()
