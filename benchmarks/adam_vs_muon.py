"""Compare Muon and AdamW, with and without the RMS norm, each at several learning rates and seeds.

    python benchmarks/adam_vs_muon.py train_binaries.extxyz.gz -o runs/adam-vs-muon

Every run is what `nequix train` does with `configs/adam-vs-muon.yml`; the rate is part of the state here, so
that one compilation serves all rates. Of the data, `--structures` are drawn once, a quarter of which is held
out. Seeds (of the initial values and the order) come outermost, so that an interrupted comparison is one of
fewer seeds. The same command resumes; at the end it prints the table and draws the figure.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.table import Table

from nequix.core.parameters import initialise
from nequix.data.batch import Batch
from nequix.data.loader import Loader
from nequix.data.opening import open_source
from nequix.data.sources import Subset
from nequix.data.stats import compute
from nequix.io.files import write_atomic
from nequix.jax.kernels import select_kernel
from nequix.train.config import read_config
from nequix.train.loss import TERMS, weighted_loss
from nequix.train.optimizer import make_optimizer, schedule
from nequix.train.step import everywhere, initial_state, make_evaluation, make_mesh, make_step, spread

CONFIG = read_config(Path(__file__).parents[1] / "configs" / "adam-vs-muon.yml")
RATES = (0.003, 0.01, 0.03, 0.1)
VARIANTS = tuple(product(("muon", "adamw"), (True, False)))
UNITS = ("energy", "forces", "stress")
KERNEL = "plain"


class Comparison:
    """The data, split once, and a program for each variant."""

    def __init__(self, path: Path, n_structures: int) -> None:
        source = open_source(path)
        drawn = np.random.default_rng(0).permutation(len(source))[:n_structures]
        self.valid, self.train = (Subset(source, part) for part in np.split(drawn, [len(drawn) // 4]))
        self.statistics, self.sizes = compute(self.train, CONFIG.model.cutoff)
        self.mesh, self.kernel = make_mesh(), select_kernel(KERNEL, "cpu")
        self.batches = cache(self._batches)
        self.programs = cache(self._programs)

    def _spec(self, norm: bool):
        s = self.statistics
        model = replace(CONFIG.model, layer_norm=norm)
        return model.spec(s.atomic_numbers, s.avg_n_neighbors, s.scale, s.shift)

    def _batches(self, seed: int) -> tuple[list[Batch], list[Batch], int]:
        """Build all batches of all epochs, those of the validation part, and count those of an epoch."""
        size, epochs = CONFIG.data.batch_size, CONFIG.run.epochs
        train = Loader(
            self.train, self._spec(True), batch_size=size, sizes=self.sizes, seed=seed, epochs=epochs
        )
        valid = Loader(self.valid, self._spec(True), batch_size=size, epochs=1, shuffle=False)
        return [b for (b,) in train], [b for (b,) in valid], train.steps_per_epoch

    def _programs(self, name: str, norm: bool):
        """Compile a step and an evaluation."""
        spec, settings = self._spec(norm), replace(CONFIG.optimizer, name=name)
        names = [n for n in initialise(spec, 0) if n != "atom_energies"]
        optimizer = optax.inject_hyperparams(lambda rate: make_optimizer(settings, spec, names, rate))(
            rate=0.0
        )
        step = make_step(spec, self.kernel, CONFIG.loss, optimizer, CONFIG.run.ema_decay, self.mesh)
        return spec, optimizer, step, make_evaluation(spec, self.kernel, self.mesh)

    def run(self, name: str, norm: bool, rate: float, seed: int) -> dict:
        """Train once; return the errors after each epoch, and the mean loss of the last."""
        train, valid, per_epoch = self.batches(seed)
        spec, optimizer, step, evaluate = self.programs(name, norm)
        drawn = initialise(spec, seed, self.statistics.atom_energies)
        values = {n: jnp.asarray(x, CONFIG.run.dtype) for n, x in drawn.items()}
        frozen = {"atom_energies": values.pop("atom_energies")}
        energies = np.asarray(frozen["atom_energies"])
        state = everywhere(self.mesh, initial_state(values, frozen, optimizer))
        rates = schedule(replace(CONFIG.optimizer, name=name, learning_rate=rate), len(train), per_epoch)
        rates = np.asarray(jax.vmap(rates)(jnp.arange(len(train))), np.float32)
        losses, curve = [], []
        for i, batch in enumerate(train):
            state.optimizer.hyperparams["rate"] = jnp.asarray(rates[i])
            state, metrics = step(state, *spread(self.mesh, [batch], CONFIG.run.dtype, energies))
            losses.append(float(metrics["loss"]))
            if (i + 1) % per_epoch == 0:
                curve.append(self.errors(evaluate, {**state.average, **state.frozen}, valid))
        return {"curve": curve, "train_loss": float(np.mean(losses[-per_epoch:]))}

    def errors(self, evaluate, parameters: dict, batches: list[Batch]) -> dict[str, float]:
        """Return the loss and the mean errors: meV/atom, meV/A, meV/A^3."""
        energies, dtype = np.asarray(parameters["atom_energies"]), CONFIG.run.dtype
        parts = [evaluate(parameters, *spread(self.mesh, [b], dtype, energies))[:2] for b in batches]
        sums, totals = jax.tree.map(lambda *x: sum(x), *parts)
        errors = {n: 1000 * float(sums[n] / totals[n]) for n in TERMS}
        return {"loss": float(weighted_loss(CONFIG.loss, sums, totals)), **errors}


def final(results: list[dict], key: str) -> np.ndarray:
    """Take the last value of every seed; infinite where it is not finite."""
    values = np.array([r["train_loss"] if key == "train" else r["curve"][-1][key] for r in results])
    return np.where(np.isfinite(values), values, np.inf)


def report(found: dict[tuple, dict[float, list[dict]]], console: Console) -> dict[tuple, float]:
    """Print every variant at its best rate: that of the least mean validation loss. Return these rates."""
    table = Table("optimiser", "norm", "best rate", "train loss", "loss", "meV/atom", "meV/A", "meV/A^3")
    best = {}
    for (name, norm), rates in found.items():
        rate = best[name, norm] = min(rates, key=lambda rate: final(rates[rate], "loss").mean())
        columns = [final(rates[rate], key) for key in ("train", "loss", *UNITS)]
        errors = [f"{x.mean():.3g} ± {x.std(ddof=1) if len(x) > 1 else np.nan:.2g}" for x in columns]
        table.add_row(name, "yes" if norm else "no", f"{rate:g}", *errors)
    console.print(table)
    console.print("mean ± standard deviation over seeds; all but the train loss on the validation part")
    return best


def draw(found: dict[tuple, dict[float, list[dict]]], best: dict[tuple, float], path: Path) -> None:
    """Draw the loss against the rate, and the curves at the best rates."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, ((name, norm), rates) in enumerate(found.items()):
        style = {"color": f"C{number}", "label": f"{name}, {'norm' if norm else 'no norm'}"}
        losses = np.array([final(results, "loss") for results in rates.values()])
        shown = np.isfinite(losses).all(1)
        spreads = losses[shown].std(1, ddof=1) if losses.shape[1] > 1 else None
        left.errorbar(
            np.array(list(rates))[shown], losses[shown].mean(1), spreads, marker="o", capsize=3, **style
        )
        curves = [[at["forces"] for at in r["curve"]] for r in rates[best[name, norm]]]
        epochs = np.arange(1, 1 + len(curves[0]))
        right.plot(epochs, np.mean(curves, 0), **style)
        right.fill_between(
            epochs, np.min(curves, 0), np.max(curves, 0), color=style["color"], alpha=0.2, lw=0
        )
    left.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="validation loss at the end")
    right.set(yscale="log", xlabel="epoch", ylabel="validation forces (meV/A), at the best rate")
    left.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="labelled structures")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the results")
    parser.add_argument("--structures", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    comparison = Comparison(options.data, options.structures)
    console = Console()
    found: dict[tuple, dict[float, list[dict]]] = defaultdict(lambda: defaultdict(list))
    for seed, (name, norm), rate in product(range(options.seeds), VARIANTS, RATES):
        path = options.output / f"{name}-{'norm' if norm else 'plain'}-{rate:g}-{seed}.json"
        if not path.exists():
            write_atomic(path, [json.dumps(comparison.run(name, norm, rate, seed)).encode()])
        found[name, norm][rate].append(json.loads(path.read_text()))
        loss = final(found[name, norm][rate][-1:], "loss")[0]
        console.print(f"{name}, norm {norm}, rate {rate:g}, seed {seed}: validation loss {loss:.4g}")
    draw(found, report(found, console), options.output / "adam_vs_muon.png")


if __name__ == "__main__":
    main()
