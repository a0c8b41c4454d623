"""Where the native kernels' time goes, and how much of it the multiply-adds by themselves would take.

    python benchmarks/roofline.py [--atoms 216] [--rate 3.65e9] [--output docs/native-roofline.png]

Needs Linux's perf. One thread evaluates diamond; samples are counted by function. Multiply-adds are counted
from the path table and the coupling tensors, a vector of 16 float32 each. The rate is that of the processor,
of independent multiply-adds in registers.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np
from plain import diamond, published_shape

from nequix.core.coupling import coupling
from nequix.core.paths import plan
from nequix.graphs.graph import graph_from_atoms
from nequix.native.model import NativeModel
from nequix.native.radial import DEGREES

LANES = 16
STAGES = ("derivatives", "messages", "radial polynomials", "matrix products", "edges, norm, gate")


def counted(spec) -> dict[str, float]:
    """Count vector multiply-adds of an edge, all layers."""
    total = dict.fromkeys(STAGES[:3], 0.0)
    for t, layer in enumerate(plan(spec)):
        for path in layer.paths:
            tensor = coupling(path.l1, path.l2, path.l3)
            pairs, terms = int((tensor != 0).any(axis=1).sum()), int((tensor != 0).sum())
            vectors, components = path.mul / LANES, 2 * path.l1 + 1
            total["messages"] += vectors * (pairs + components)
            adjoint = pairs + terms / 2 if path.l2 else 0  # two vectors share a term
            total["derivatives"] += vectors * (pairs + adjoint + components * (3 if t else 2) + 1)
            total["radial polynomials"] += vectors * (3 * DEGREES["float32"] - 1)
    return total


def sampled(atoms: int) -> dict[str, float]:
    """Count samples by stage while a child evaluates."""
    with tempfile.TemporaryDirectory() as folder:
        perf = shutil.which("perf") or "perf"
        data = str(Path(folder) / "perf.data")
        child = [sys.executable, __file__, "--evaluate", "--atoms", str(atoms)]
        subprocess.run([perf, "record", "-q", "-o", data, *child], check=True, capture_output=True)
        given = [
            "perf",
            "report",
            "-i",
            data,
            "--stdio",
            "-g",
            "none",
            "--no-children",
            "--dsos",
            "libnequix.so",
        ]
        report = subprocess.run(given, check=True, capture_output=True, text=True).stdout
    found = dict.fromkeys(STAGES, 0.0)
    for share, function in re.findall(r"^\s+([\d.]+)%.*\)::(\w+)<", report, re.MULTILINE):
        stages = {"backward_path": 0, "forward_path": 1, "radial_weights": 2}
        stage = 3 if function.startswith("multiply") else stages.get(function, 4)
        found[STAGES[stage]] += float(share)
    return {stage: share / sum(found.values()) for stage, share in found.items()}


def evaluate(atoms: int, seconds: float = 8.0) -> float:
    """Evaluate with one thread for some seconds; return the least processor time, ms/atom."""
    weights = published_shape()
    graph = graph_from_atoms(diamond(atoms), weights.spec)
    model, times, end = NativeModel(weights), [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.process_time()
        model.evaluate_graph(graph, threads=1)
        times.append(time.process_time() - start)
    return 1e3 * min(times) / graph.n_nodes


def draw(measured: dict[str, float], floor: dict[str, float], output: str) -> None:
    """Draw both times of every stage, ms/atom and core."""
    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 2.6), layout="constrained")
    places = np.arange(len(STAGES))[::-1]
    axes.barh(places + 0.2, [measured[stage] for stage in STAGES], 0.38, label="measured", color="#3b6ea5")
    bars = [floor.get(stage, 0.0) for stage in STAGES]
    axes.barh(places - 0.2, bars, 0.38, label="only multiply-adds", color="#c9a227")
    axes.set_yticks(places, STAGES)
    axes.set_xlabel("ms/atom and core, energy + forces + stress, float32")
    axes.legend(frameon=False)
    figure.savefig(output, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atoms", type=int, default=216)
    parser.add_argument("--rate", type=float, default=3.65e9, help="vector multiply-adds a second and core")
    parser.add_argument("--output", default="docs/native-roofline.png")
    parser.add_argument("--evaluate", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    total = evaluate(options.atoms)
    if options.evaluate:
        return
    weights = published_shape()
    graph = graph_from_atoms(diamond(options.atoms), weights.spec)
    edges = graph.n_edges / graph.n_nodes
    floor = {stage: 1e3 * n * edges / options.rate for stage, n in counted(weights.spec).items()}
    measured = {stage: total * share for stage, share in sampled(options.atoms).items()}
    for stage in STAGES:
        floor_time = f"{floor[stage]:.3f}" if stage in floor else "-"
        print(f"{stage:20} {measured[stage]:.3f} ms/atom and core; only multiply-adds {floor_time}")
    print(f"{'all':20} {total:.3f}; only multiply-adds {sum(floor.values()):.3f}")
    draw(measured, floor, options.output)


if __name__ == "__main__":
    main()
