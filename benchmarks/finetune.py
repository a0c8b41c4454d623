"""Fine-tune nequix-mp-1 on real DFT data: zero-shot against each mode, by number of structures.

    python benchmarks/finetune.py rates --data FOLDER --work DIR     # learning rates, on one draw of its own
    python benchmarks/finetune.py run --data FOLDER --work DIR       # resumable; a folder a fine-tuning
    python benchmarks/finetune.py report --work DIR -o docs          # a figure and a table

Every fine-tuning is what ``nequix finetune`` does, with the same number of gradients of structures whatever
the number of different ones; validation takes a tenth of the structures. Errors are those of structures held
out from all draws.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import time
from functools import partial
from pathlib import Path

import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import optax

from nequix.data.batch import composition
from nequix.data.loader import Loader
from nequix.data.opening import open_source
from nequix.data.sources import Source, Subset
from nequix.data.structure import to_atoms
from nequix.finetune.config import configure
from nequix.finetune.modes import MODES, trained_names
from nequix.finetune.opening import open_fine_tuning
from nequix.finetune.refit import baseline, least_change
from nequix.finetune.run import FineTuning
from nequix.io.catalogue import load_weights
from nequix.io.files import write_atomic
from nequix.io.weights import Weights, read_weights
from nequix.jax.compilation import cache_compilations
from nequix.jax.kernels import select_kernel
from nequix.train.loop import MODEL
from nequix.train.loss import predict
from nequix.train.optimizer import make_optimizer
from nequix.train.step import everywhere, initial_state, make_mesh, make_step, spread

PARENT = "nequix-mp-1"
SETS = {"MoNbTaW": ["hea_monbtaw/train_binaries.extxyz.gz"], "Mo": ["mlearn/Mo_train.extxyz.gz"]}
SIZES = (10, 50, 200)
N_TEST, N_SWEEP = 60, 40
ERRORS = {
    "energy": "energy, meV/atom",
    "energy_offset": "energy without offset, meV/atom",
    "forces": "force component, meV/A",
    "stress": "stress component, meV/A^3",
}
BATCH = 5


def parts(options: argparse.Namespace) -> tuple[Source, np.ndarray, np.ndarray, np.ndarray]:
    """Return a set, and which of its structures are for tests, for learning rates, for training."""
    source = open_source([options.data / name for name in SETS[options.set]])
    order = np.random.default_rng(0).permutation(len(source))
    cut = np.cumsum([N_TEST, N_SWEEP])
    return source, *np.split(order, cut)


class Errors:
    """Errors of models on some structures, with one compilation for all of them."""

    def __init__(self, source: Source, parent: Weights) -> None:
        self.loader = Loader(source, parent.spec, batch_size=BATCH, epochs=1, shuffle=False)
        self.mesh, kernel = make_mesh(), select_kernel("plain", "cpu")
        self.predict = jax.jit(partial(predict, parent.spec, kernel))

    def of(self, weights: Weights) -> dict[str, float]:
        """Return mean absolute errors: energy an atom with and without offset, force, stress."""
        energy, fractions, forces, stress = [], [], [], []
        parameters = {n: jnp.asarray(x, jnp.float32) for n, x in weights.parameters.items()}
        atoms = weights.parameters["atom_energies"]
        self.loader.restore({**self.loader.state(), "position": 0})
        for batches in self.loader:
            batch = batches[0]
            arrays, labels = jax.tree.map(lambda x: x[0], spread(self.mesh, batches, "float32", atoms))
            predictions = jax.tree.map(np.asarray, self.predict(parameters, arrays, labels))
            labelled, real = batch.labels, batch.node_mask
            known = labelled["energy"].mask
            counts = composition(batch, weights.spec.n_species)
            error = labelled["energy"].values - counts @ atoms.astype(float) - predictions.energy
            energy.append((error / batch.n_atoms)[known])
            fractions.append((counts / batch.n_atoms[:, None])[known])
            forces.append(np.abs(labelled["forces"].values - predictions.forces)[real].ravel())
            stress.append(
                np.abs(labelled["stress"].values - predictions.stress)[labelled["stress"].mask].ravel()
            )
        e, f = np.concatenate(energy), np.concatenate(fractions)
        return {
            "energy": float(np.abs(e).mean()),
            "energy_offset": float(np.abs(e - f @ least_change(f, e)).mean()),
            "forces": float(np.concatenate(forces).mean()),
            "stress": float(np.concatenate(stress).mean()),
        }


def rates(options: argparse.Namespace) -> None:
    """Compare learning rates of each mode, with the atom energies refitted, on separate structures."""
    source, _, sweep, pool = parts(options)
    parent = load_weights(PARENT)
    tests, train = Errors(Subset(source, sweep), parent), Subset(source, pool[-50:])
    mesh, kernel = make_mesh(), select_kernel("plain", "cpu")
    once = Loader(train, parent.spec, batch_size=BATCH, epochs=1, shuffle=False)
    energies = parent.parameters["atom_energies"] + least_change(*baseline(parent, once, kernel))
    energies = energies.astype("float32")
    parent = dataclasses.replace(parent, parameters={**parent.parameters, "atom_energies": energies})
    for mode in options.modes:
        config = configure(parent, PARENT, mode, ["-"])
        values = {name: jnp.asarray(x) for name, x in parent.parameters.items()}
        trained = {name: values.pop(name) for name in trained_names(parent.spec, mode)}
        # The rate is part of the state, so that one compilation serves all of them.
        optimizer = optax.inject_hyperparams(
            lambda rate, trained=trained, config=config: make_optimizer(
                config.optimizer, parent.spec, trained, rate
            )
        )(rate=0.0)
        step = make_step(parent.spec, kernel, config.loss, optimizer, config.run.ema_decay, mesh)
        for rate in options.rates:
            path = options.work / f"rates-{options.set}-{mode}-{rate}.json"
            if path.exists():
                continue
            state = everywhere(mesh, jax.tree.map(jnp.copy, initial_state(trained, values, optimizer)))
            n_steps = options.gradients // BATCH
            schedule = optax.warmup_cosine_decay_schedule(0.1 * rate, rate, n_steps // 10, n_steps, 1e-6)
            loader = Loader(train, parent.spec, batch_size=BATCH)
            started = time.process_time()
            for i, batches in zip(range(n_steps), loader, strict=False):
                state.optimizer.hyperparams["rate"] = jnp.asarray(schedule(i), jnp.float32)
                state, _ = step(state, *spread(mesh, batches, "float32", energies))
            learned = {n: np.asarray(x) for n, x in {**state.average, **state.frozen}.items()}
            errors = tests.of(dataclasses.replace(parent, parameters=learned))
            seconds = time.process_time() - started
            record = {"set": options.set, "mode": mode, "rate": rate, "gradients": options.gradients}
            record |= {"seconds": seconds, **errors}
            write_atomic(path, [json.dumps(record).encode()])
            print(json.dumps(record), flush=True)


def run(options: argparse.Namespace) -> None:
    """Fine-tune and evaluate whatever has no result yet."""
    source, test, _, pool = parts(options)
    parent = load_weights(PARENT)
    tests = Errors(Subset(source, test), parent)

    def write_errors(name: str, weights: Weights, **more: object) -> None:
        result = {"set": options.set, **more, **tests.of(weights)}
        write_atomic(options.work / f"{name}.json", [json.dumps(result).encode()])
        print(json.dumps(result), flush=True)

    if not (options.work / f"{options.set}-zero.json").exists():
        write_errors(f"{options.set}-zero", parent, mode="zero-shot")
    for draw in range(options.draws):
        for size in options.sizes:
            chosen = np.random.default_rng([draw, size]).permutation(pool)[:size]
            for mode in options.modes:
                name = f"{options.set}-{draw}-{size}-{mode}"
                if not (options.work / f"{name}.json").exists():
                    data = options.work / f"{options.set}-{draw}-{size}.extxyz"
                    text = io.StringIO()
                    ase.io.write(text, [to_atoms(source[int(i)]) for i in chosen], format="extxyz")
                    if not data.exists():
                        write_atomic(data, [text.getvalue().encode()])
                    started = time.process_time()
                    tuning = fine_tune(parent, mode, data, options)
                    more = {"draw": draw, "size": size, "mode": mode, "steps": tuning.n_steps}
                    more["seconds"] = time.process_time() - started
                    if mode == "head":
                        write_errors(f"{name}-refit", refitted(parent, tuning), **{**more, "mode": "refit"})
                    write_errors(name, read_weights(tuning.folder / MODEL), **more)


def fine_tune(parent: Weights, mode: str, data: Path, options: argparse.Namespace) -> FineTuning:
    """Fine-tune with a number of gradients of structures; the warm-up takes a tenth of them."""
    config = configure(parent, PARENT, mode, [data])
    steps_per_epoch = -(-round(0.9 * len(open_source(data))) // BATCH)
    n_steps = options.gradients // BATCH
    epochs = -(-n_steps // steps_per_epoch)
    changes = {"warmup_epochs": n_steps / 10 / steps_per_epoch}
    config = dataclasses.replace(
        config,
        optimizer=dataclasses.replace(config.optimizer, **changes),
        run=dataclasses.replace(config.run, epochs=epochs, validate_every=max(1, epochs // 8), patience=None),
    )
    tuning = open_fine_tuning(config, parent, options.work / data.stem / mode)
    print(tuning.describe(), flush=True)
    tuning.train()
    return tuning


def refitted(parent: Weights, tuning: FineTuning) -> Weights:
    """Return the parent with the atom energies of a fine-tuning."""
    energies = read_weights(tuning.folder / MODEL).parameters["atom_energies"]
    return dataclasses.replace(parent, parameters={**parent.parameters, "atom_energies": energies})


def report(options: argparse.Namespace) -> None:
    """Print a table of means and ranges over draws, and draw the figure."""
    results = [json.loads(p.read_text()) for p in sorted(options.work.glob(f"{options.set}-*.json"))]
    groups: dict[tuple[int, str], list[dict]] = {}
    for result in results:
        groups.setdefault((result.get("size", 0), result["mode"]), []).append(result)
    order = ["zero-shot", "refit", *MODES]
    rows = sorted(groups.items(), key=lambda item: (item[0][0], order.index(item[0][1])))
    print(f"| structures | mode | draws | {' | '.join(ERRORS.values())} | s of one core |")
    print("|---:|---|---:|---:|---:|---:|---:|---:|")
    for (size, mode), drawn in rows:
        cells = [spread_of([1000 * result[name] for result in drawn]) for name in ERRORS]
        seconds = "" if mode in order[:2] else f"{np.mean([result['seconds'] for result in drawn]):.0f}"
        print(f"| {size or ''} | {mode} | {len(drawn)} | {' | '.join(cells)} | {seconds} |")
    draw_figure(options, groups)


def spread_of(values: list[float]) -> str:
    """Write a mean, and the range where there are several values."""
    text = f"{np.mean(values):.3g}"
    return text if len(values) == 1 else f"{text} ({min(values):.3g}-{max(values):.3g})"


def draw_figure(options: argparse.Namespace, groups: dict[tuple[int, str], list[dict]]) -> None:
    """Draw each error by the number of structures, a line a mode, with bars over the range of draws."""
    from matplotlib.figure import Figure

    figure = Figure((12, 3.2), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(1, len(ERRORS)), ERRORS.items(), strict=True):
        zero = 1000 * groups[0, "zero-shot"][0][name]
        axes.axhline(zero, color="0.5", linestyle="--", label="zero-shot")
        for mode in ("refit", *MODES):
            sizes = sorted(size for size, which in groups if which == mode)
            values = [[1000 * result[name] for result in groups[size, mode]] for size in sizes]
            means = np.array([np.mean(value) for value in values])
            bars = [means - [min(v) for v in values], [max(v) for v in values] - means]
            axes.errorbar(sizes, means, bars, marker="o", capsize=3, label=mode)
        axes.set(title=title, xlabel="structures", xscale="log", ylim=(0, None))
        axes.set_xticks(sizes, map(str, sizes), minor=False)
        axes.minorticks_off()
    figure.axes[0].legend(fontsize=8)
    figure.savefig(options.output / f"finetuning-{options.set}.png", dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["rates", "run", "report"])
    parser.add_argument("--data", type=Path, help="the folder of the data sets")
    parser.add_argument("--work", type=Path, required=True, help="where runs and results are kept")
    parser.add_argument("--set", default="MoNbTaW", choices=list(SETS))
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=list(MODES))
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--gradients", type=int, default=180, help="gradients of structures in a run")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.001, 0.003, 0.01])
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    cache_compilations(options.work / "jax")
    {"rates": rates, "run": run, "report": report}[options.what](options)


if __name__ == "__main__":
    main()
