"""Choose the recipe of a fine-tuning: learning rate and weight of the stress, by errors over several sets.

    python benchmarks/recipe.py run --data FOLDER --work DIR         # resumable; a file for each fine-tuning
    python benchmarks/recipe.py report --work DIR

All fine-tunings of a set take the same number of steps on the same structures; the rate falls along a
cosine, and the averaged parameters of the last step are compared on other structures. The report gives the
geometric mean over the sets of each error, relative to the default recipe.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from finetune import BATCH, Errors

from nequix.data.loader import Loader
from nequix.data.opening import open_source
from nequix.data.sources import Subset
from nequix.finetune.config import RATES, configure
from nequix.finetune.modes import MODES, trained_names
from nequix.finetune.refit import baseline, least_change
from nequix.io.catalogue import load_weights
from nequix.io.files import write_atomic
from nequix.jax.compilation import cache_compilations
from nequix.jax.kernels import select_kernel
from nequix.train.loss import Labels
from nequix.train.optimizer import make_optimizer
from nequix.train.step import everywhere, initial_state, make_mesh, make_step, spread

SETS = {
    "Si": "mlearn/Si_train.extxyz.gz",
    "Mo": "mlearn/Mo_train.extxyz.gz",
    "Cu": "mlearn/Cu_train.extxyz.gz",
    "Li": "mlearn/Li_train.extxyz.gz",
    "MoNbTaW": "hea_monbtaw/train_binaries.extxyz.gz",
    "MgO": "pypolymlp_mgo/MgO_train.extxyz.gz",
    "Ni4Mo": "snap_nimo_li3n/Ni4Mo_elastic.extxyz.gz",
}
"""Development sets: another half of each is kept apart for judging the choice."""

N_TEST = 30
QUANTITIES = ("energy", "energy_offset", "forces", "stress")


def run(options: argparse.Namespace) -> None:
    """Fine-tune and evaluate whatever has no result yet."""
    for name in options.sets:
        for mode in options.modes:
            for seed in range(options.seeds):
                compare(name, mode, seed, options)


def compare(name: str, mode: str, seed: int, options: argparse.Namespace) -> None:
    """Compare recipes on one draw of one set: the same steps and structures, other rates and weights."""
    source, parent = open_source([options.data / SETS[name]]), load_weights(options.parent)
    order = np.random.default_rng(seed).permutation(len(source))
    test, train = (Subset(source, np.sort(x)) for x in np.split(order[: N_TEST + options.n_train], [N_TEST]))
    mesh, kernel = make_mesh(), select_kernel("plain", "cpu")
    once = Loader(train, parent.spec, batch_size=BATCH, epochs=1, shuffle=False)
    energies = parent.parameters["atom_energies"] + least_change(*baseline(parent, once, kernel))
    energies = energies.astype("float32")
    parent = dataclasses.replace(parent, parameters={**parent.parameters, "atom_energies": energies})
    tests = Errors(test, parent)

    def write(result: dict, path: Path) -> None:
        result = {"parent": options.parent, "set": name, "mode": mode, "seed": seed, **result}
        write_atomic(path, [json.dumps(result).encode()])
        print(json.dumps(result), flush=True)

    stem = f"{options.parent}-{name}-{mode}-{seed}"
    if not (path := options.work / f"{stem}-before.json").exists():
        write({"rate": 0.0, "stress_weight": 0.0, "steps": 0, **tests.of(parent)}, path)
    config = configure(parent, options.parent, mode, ["-"])
    values = {key: jnp.asarray(x) for key, x in parent.parameters.items()}
    trained = {key: values.pop(key) for key in trained_names(parent.spec, mode)}

    def scheduled(rate: float) -> optax.GradientTransformation:
        return make_optimizer(config.optimizer, parent.spec, trained, rate)

    optimizer = optax.inject_hyperparams(scheduled)(rate=0.0)  # one compilation serves all rates
    step = make_step(parent.spec, kernel, config.loss, optimizer, config.run.ema_decay, mesh)
    for weight in options.weights:
        for rate in options.rates:
            if (path := options.work / f"{stem}-{weight:g}-{rate:g}-{options.steps}.json").exists():
                continue
            started = time.process_time()
            state = everywhere(mesh, jax.tree.map(jnp.copy, initial_state(trained, values, optimizer)))
            warmup = options.steps // 10
            schedule = optax.warmup_cosine_decay_schedule(0.1 * rate, rate, warmup, options.steps, 1e-6)
            loader = Loader(train, parent.spec, batch_size=BATCH, seed=seed)
            for i, batches in zip(range(options.steps), loader, strict=False):
                state.optimizer.hyperparams["rate"] = jnp.asarray(schedule(i), jnp.float32)
                arrays, labels = spread(mesh, batches, "float32", energies)
                state, _ = step(state, arrays, weigh_stress(labels, weight / config.loss.stress))
            learned = {key: np.asarray(x) for key, x in {**state.average, **state.frozen}.items()}
            errors = tests.of(dataclasses.replace(parent, parameters=learned))
            seconds = time.process_time() - started
            write(
                {"rate": rate, "stress_weight": weight, "steps": options.steps, "seconds": seconds, **errors},
                path,
            )


def weigh_stress(labels: Labels, factor: float) -> Labels:
    """Scale stresses, and predictions of them through the volume: one compilation serves all weights."""
    stress = labels.targets["stress"]
    scaled = {**labels.targets, "stress": stress._replace(values=factor * stress.values)}
    return labels._replace(targets=scaled, volume=labels.volume / factor)


def report(options: argparse.Namespace) -> None:
    """Print tables: errors of each set, and their geometric means relative to the default recipe."""
    results = [json.loads(path.read_text()) for path in sorted(options.work.glob("*.json"))]
    results = [r for r in results if r["parent"] == options.parent and r["steps"] in (0, options.steps)]
    for mode in options.modes:
        some = [r for r in results if r["mode"] == mode]
        table(mode, some, options)


def table(mode: str, results: list[dict], options: argparse.Namespace) -> None:
    """Print the tables of one mode."""
    by_recipe: dict[tuple[float, float], dict[tuple[str, int], dict]] = {}
    for result in results:
        recipe = result["stress_weight"], result["rate"]
        by_recipe.setdefault(recipe, {})[result["set"], result["seed"]] = result
    usual = by_recipe.get((options.weights[0], RATES[mode]), {})
    draws = sorted(
        {key for found in by_recipe.values() for key in found}, key=lambda k: list(SETS).index(k[0])
    )
    for quantity in QUANTITIES:
        print(f"\n{mode}: {quantity}, meV and A")
        names = sorted({name for name, _ in draws}, key=list(SETS).index)
        print(f"| stress weight | rate | {' | '.join(names)} | mean of ratios |")
        print("|---:|---:|" + "---:|" * (len(names) + 1))
        for (weight, rate), found in sorted(by_recipe.items()):
            cells = []
            for name in names:
                values = [1000 * r[quantity] for (which, _), r in found.items() if which == name]
                cells.append(f"{np.mean(values):.3g}" if values else "")
            shared = [key for key in draws if key in found and key in usual]
            ratios = [found[key][quantity] / usual[key][quantity] for key in shared]
            mean = f"{np.exp(np.mean(np.log(ratios))):.2f}" if ratios else ""
            print(f"| {weight:g} | {rate:g} | {' | '.join(cells)} | {mean} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["run", "report"])
    parser.add_argument("--data", type=Path, help="the folder of the data sets")
    parser.add_argument("--work", type=Path, required=True, help="where results are kept")
    parser.add_argument("--parent", default="nequix-nano")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--modes", nargs="+", default=["last-layer"], choices=list(MODES))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--n-train", type=int, default=40)
    parser.add_argument("--steps", type=int, default=120, help="of five structures")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.01, 0.03, 0.1])
    parser.add_argument("--weights", type=float, nargs="+", default=[5, 50, 200], help="of the stress")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    cache_compilations(options.work / "jax")
    {"run": run, "report": report}[options.what](options)


if __name__ == "__main__":
    main()
