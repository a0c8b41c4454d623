"""Time a training step against one written straight from e3nn-jax's primitives, in turn, and their memory.

    python benchmarks/training_step.py [--edges 8600] [--rounds 5]

A step is: energies, forces and stress of a batch of crystals, the loss, its gradient through the
forces, Muon. Both take the same parameters and the same structures; their losses and gradient norms must
agree. What counts is the ratio of each pair, since it survives a machine whose speed drifts. Peak memory
comes from one more process each.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ase.build import bulk
from e3nn_model import energies
from rich.console import Console
from rich.table import Table

from nequix.core.parameters import initialise
from nequix.core.spec import ModelSpec
from nequix.data.batch import Batch, collate, graph_of
from nequix.data.packing import Budget
from nequix.data.structure import Structure
from nequix.graphs.tiling import CHUNK_TILES, tiles_needed
from nequix.jax.kernels import select_kernel
from nequix.jax.potential import Arrays, forces_from_gradient, virial_from_gradient
from nequix.train.loss import LossConfig, Predictions, counts, error_sums, weighted_loss
from nequix.train.optimizer import OptimizerConfig, make_optimizer
from nequix.train.step import everywhere, initial_state, make_mesh, make_step, spread

LOSS = LossConfig(20, 20, 5)
OPTIMIZER = OptimizerConfig("muon", 0.01, 0.1, 0.2, 0.001, 100)
SPEC = ModelSpec(atomic_numbers=(*range(1, 84), *range(89, 95)), avg_n_neighbors=57.4, scale=0.8, shift=0.0)


def structures(n_edges: int) -> list[Structure]:
    """Draw rattled rocksalt crystals with invented labels until they have as many edges as wanted."""
    random, drawn, total = np.random.default_rng(0), [], 0
    pairs = [("MgO", 4.21), ("NaCl", 5.64), ("TiN", 4.24), ("LiF", 4.03), ("CaO", 4.81), ("KBr", 6.6)]
    while total < n_edges:
        name, a = pairs[len(drawn) % len(pairs)]
        atoms = bulk(name, "rocksalt", a, cubic=True)
        atoms.rattle(0.1, rng=random)
        total += round(len(atoms) ** 2 / atoms.get_volume() * 4 / 3 * np.pi * SPEC.cutoff**3)
        drawn.append(
            Structure(
                name=f"{name}-{len(drawn)}",
                numbers=atoms.numbers,
                positions=atoms.positions,
                cell=atoms.cell[:],
                pbc=atoms.pbc,
                energy=random.normal(),
                forces=random.normal(size=(len(atoms), 3)),
                stress=random.normal(0, 0.01, (3, 3)),
            )
        )
    return drawn


def compact(batch: Batch) -> Arrays:
    """Take the edges of a batch without those that fill tiles: the e3nn step needs none."""
    layout = batch.layout
    edges = ("vectors", "senders", "receivers")
    taken = {
        n: getattr(layout, n)[layout.slots] if n in edges else getattr(layout, n) for n in Arrays._fields
    }
    return Arrays(**{n: x.astype(np.float32) if x.dtype == float else x for n, x in taken.items()})


def e3nn_step(optimizer: optax.GradientTransformation) -> Callable:
    """Compile the step that anyone would write."""

    def loss(parameters: dict, frozen: dict, arrays: Arrays, labels: Any) -> jax.Array:
        def total(vectors: jax.Array) -> tuple[jax.Array, jax.Array]:
            atomic = energies(SPEC, {**parameters, **frozen}, arrays._replace(vectors=vectors))
            return atomic.sum(), atomic

        gradient, atomic = jax.grad(total, has_aux=True)(arrays.vectors)
        n_graphs = len(labels.volume)
        energy = jax.ops.segment_sum(atomic, arrays.node_graph, n_graphs)
        virial = virial_from_gradient(gradient, arrays, n_graphs)
        stress = virial / labels.volume[:, None, None]
        forces = forces_from_gradient(gradient, arrays)
        sums = error_sums(Predictions(energy, forces, stress, atomic), labels)
        return weighted_loss(LOSS, sums, counts(labels))

    @jax.jit
    def step(parameters: dict, frozen: dict, state: Any, arrays: Arrays, labels: Any) -> tuple:
        value, gradient = jax.value_and_grad(loss)(parameters, frozen, arrays, labels)
        updates, state = optimizer.update(gradient, state, parameters)
        return optax.apply_updates(parameters, updates), state, value, optax.tree.norm(gradient)

    return step


class Steps:
    """Both steps on one batch; each call takes one more step and waits for it."""

    def __init__(self, n_edges: int) -> None:
        drawn = structures(n_edges)
        batch = collate(drawn, SPEC, budget_of(drawn))
        self.n_edges, self.n_structures = len(batch.layout.slots), len(drawn)
        mesh = make_mesh()
        values = {n: jnp.asarray(x, jnp.float32) for n, x in initialise(SPEC, seed=0).items()}
        frozen = {"atom_energies": values.pop("atom_energies")}
        placed = spread(mesh, [batch], "float32", np.asarray(frozen["atom_energies"]))
        optimizer = make_optimizer(OPTIMIZER, SPEC, values, optax.constant_schedule(0.001))
        ours = make_step(SPEC, select_kernel("auto", "cpu"), LOSS, optimizer, 0.999, mesh)
        theirs, labels = e3nn_step(optimizer), jax.tree.map(lambda x: x[0], placed[1])
        state = everywhere(mesh, initial_state(values, frozen, optimizer))
        # A step gives its state's memory away, and the other one starts from the same values.
        plain = jax.tree.map(jnp.copy, (state.parameters, state.frozen, state.optimizer))
        arrays = everywhere(mesh, compact(batch))

        def nequix() -> tuple[float, float]:
            nonlocal state
            state, metrics = ours(state, *placed)
            return float(metrics["loss"]), float(metrics["gradient_norm"])

        def e3nn() -> tuple[float, float]:
            nonlocal plain
            parameters, momenta, value, norm = theirs(*plain, arrays, labels)
            plain = (parameters, plain[1], momenta)
            return float(value), float(norm)

        self.steps = {"nequix": nequix, "e3nn": e3nn}


def budget_of(drawn: list[Structure]) -> Budget:
    """Return the shapes that hold all structures at once."""
    graphs = [graph_of(structure, SPEC) for structure in drawn]
    tiles = sum(map(tiles_needed, graphs))
    return Budget(sum(g.n_nodes for g in graphs), -(-tiles // CHUNK_TILES) * CHUNK_TILES, len(graphs) + 1)


def measure(names: list[str], n_edges: int, rounds: int) -> dict:
    """Take steps in turn; report seconds by name, first calls, the peak memory of this process."""
    steps = Steps(n_edges)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    seen: dict[str, list] = {name: [] for name in names}
    for _ in range(rounds + 1):
        for name in names:
            start = time.perf_counter()
            seen[name].append(steps.steps[name]())
            seconds[name].append(time.perf_counter() - start)
    first = {name: times.pop(0) for name, times in seconds.items()}
    if len(names) > 1:
        np.testing.assert_allclose(*(seen[name] for name in names), rtol=1e-4)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # kilobytes on Linux
    return {"seconds": seconds, "first": first, "peak": peak, "edges": steps.n_edges}


def isolated(names: list[str], n_edges: int, rounds: int) -> dict:
    """Measure in a fresh process."""
    options = ["--worker", *names, "--edges", str(n_edges), "--rounds", str(rounds)]
    run = subprocess.run([sys.executable, __file__, *options], capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(run.stderr)
    return json.loads(run.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--edges", type=int, default=8600)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(measure(options.worker, options.edges, options.rounds)))
        return
    names = ["nequix", "e3nn"]
    timed = isolated(names, options.edges, options.rounds)
    ratios = [b / a for a, b in zip(*(timed["seconds"][name] for name in names), strict=True)]
    table = Table("step", "median s", "ms/edge", "first call s", "peak GiB", "times nequix (median, range)")
    for name in names:
        alone = isolated([name], options.edges, 1)
        median = statistics.median(timed["seconds"][name])
        versus = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        cells = [median, 1000 * median / timed["edges"], alone["first"][name], alone["peak"] / 2**30]
        table.add_row(name, *(f"{x:.3g}" for x in cells), "1" if name == "nequix" else versus)
    Console().print(f"{timed['edges']} edges, float32, published shape: loss through forces and stress, Muon")
    Console().print(table)


if __name__ == "__main__":
    main()
