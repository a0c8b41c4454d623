"""Does choosing structures pay? Fine-tune on N chosen by each strategy and compare errors with random ones.

    python benchmarks/selection.py heads --data FOLDER --work DIR   # only energies, fitted exactly: quick
    python benchmarks/selection.py run --data FOLDER --work DIR     # resumable: a file a fine-tuning
    python benchmarks/selection.py report --work DIR

Candidates and test structures are drawn again for every seed; each strategy chooses N of the same candidates.
The fine-tunings differ in nothing else: mode last-layer, the same number of gradients of structures.
``heads`` fits readout and atom energies to the energies of the chosen by ridge regression, its strength by
leaving one out: mode head without gradient descent.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np

from nequix.assess.measure import measure
from nequix.assess.thresholds import Thresholds
from nequix.backends import load_model
from nequix.core.errors import WeightsError
from nequix.coverage.environments import environments_of
from nequix.coverage.features import last_features
from nequix.coverage.select import cluster_choice, farthest_choice, gap_choice, random_choice, select
from nequix.coverage.sidecar import find_reference
from nequix.data.batch import graph_of
from nequix.data.opening import open_source
from nequix.data.sources import Subset
from nequix.data.structure import Structure, to_atoms
from nequix.finetune.config import ReplayConfig, configure
from nequix.finetune.opening import open_fine_tuning
from nequix.graphs.batches import evaluate_graphs
from nequix.io.catalogue import load_weights
from nequix.io.files import write_atomic
from nequix.io.weights import Weights, read_weights
from nequix.jax.compilation import cache_compilations
from nequix.train.loop import MODEL

SETS = {
    "MoNbTaW": ["hea_monbtaw/train_binaries.extxyz.gz"],
    "Si": ["mlearn/Si_train.extxyz.gz", "mlearn/Si_test.extxyz.gz"],
    "Mo": ["mlearn/Mo_train.extxyz.gz", "mlearn/Mo_test.extxyz.gz"],
}
N_CANDIDATES, N_TEST, N_VALID = 150, 60, 5
BATCH = 5
STRATEGIES = ("random", "clusters", "farthest", "gaps")


def parts(name: str, data: Path, seed: int) -> list[list[Structure]]:
    """Draw candidates, structures for validation and for tests."""
    source = open_source([data / path for path in SETS[name]])
    order = np.random.default_rng([seed, 7]).permutation(len(source))
    cuts = np.cumsum([N_TEST, N_VALID, N_CANDIDATES])
    test, valid, candidates, _ = np.split(order, cuts)
    return [list(Subset(source, some)) for some in (candidates, valid, test)]


def write(path: Path, structures: list[Structure]) -> None:
    text = io.StringIO()
    ase.io.write(text, [to_atoms(structure) for structure in structures], format="extxyz")
    write_atomic(path, [text.getvalue().encode()])


def errors(weights: Weights, test: list[Structure]) -> dict[str, float | None]:
    """Return mean absolute errors: forces, energies with and without offsets."""
    found = measure(test, load_model(weights, "torch"), Thresholds(samples=1))
    names = ("forces", "energy", "energy_without_offsets")
    return {name: getattr(found, name).value for name in names}


def run(options: argparse.Namespace) -> None:
    """Choose, fine-tune and evaluate whatever has no result yet."""
    parent = load_weights(options.model)
    potential = load_model(parent, "torch")
    try:
        reference = find_reference(options.model, parent, options.reference)
    except WeightsError:
        reference = None
    for seed in range(options.seeds):
        candidates, valid, test = parts(options.set, options.data, seed)
        zero = options.work / f"{options.set}-{seed}-zero.json"
        if not zero.exists():
            record = {"strategy": "zero-shot", "seed": seed, "n": 0, **errors(parent, test)}
            write_atomic(zero, [json.dumps(record).encode()])
        for n in options.sizes:
            for strategy in options.strategies:
                name = f"{options.set}-{seed}-{n}-{strategy}"
                path = options.work / f"{name}.json"
                if path.exists():
                    continue
                choices = select(
                    strategy, candidates, n, potential=potential, reference=reference, seed=100 + seed
                )
                folder = options.work / name
                folder.mkdir(exist_ok=True)
                write(folder / "train.extxyz", [candidates[choice.index] for choice in choices])
                write(folder / "valid.extxyz", valid)
                tuned = fine_tune(parent, options, folder)
                record = {"strategy": strategy, "seed": seed, "n": n, **errors(tuned, test)}
                write_atomic(path, [json.dumps(record).encode()])
                print(json.dumps(record), flush=True)


def fine_tune(
    parent: Weights,
    options: argparse.Namespace,
    folder: Path,
    mode: str = "last-layer",
    replay: ReplayConfig | None = None,
) -> Weights:
    """Fine-tune with a number of gradients of structures; the warm-up takes a tenth of them."""
    data = [folder / "train.extxyz"]
    config = configure(parent, options.model, mode, data, [folder / "valid.extxyz"], replay=replay)
    per_epoch = -(-len(open_source(data)) // BATCH)
    n_steps = options.gradients // BATCH
    epochs = -(-n_steps // per_epoch)
    config = dataclasses.replace(
        config,
        optimizer=dataclasses.replace(config.optimizer, warmup_epochs=n_steps / 10 / per_epoch),
        run=dataclasses.replace(config.run, epochs=epochs, validate_every=max(1, epochs // 8), patience=None),
    )
    tuning = open_fine_tuning(config, parent, folder / "run")
    if not tuning.train():
        raise SystemExit("stopped; the same command resumes")
    return read_weights(tuning.folder / MODEL)


def heads(options: argparse.Namespace) -> None:
    """Fit the head to energies of the chosen, exactly, and print errors of the rest for every strategy."""
    weights = load_weights(options.model)
    potential = load_model(weights, "torch")
    reference = find_reference(options.model, weights, options.reference)
    source = open_source([options.data / path for path in SETS[options.set]])
    most = np.random.default_rng(0).permutation(len(source))[: options.most]
    structures = [source[int(i)] for i in most]
    graphs = [graph_of(structure, weights.spec) for structure in structures]
    features = [reference.features.whitened(x) for x in last_features(potential, graphs)]
    predicted = np.array([float(r.energy[0]) for r in evaluate_graphs(potential, graphs)])
    n_atoms = np.array([len(s.numbers) for s in structures])
    error = 1e3 * (np.array([s.energy for s in structures]) - predicted) / n_atoms
    elements = np.unique(np.concatenate([s.numbers for s in structures]))
    composition = np.array([[(s.numbers == z).mean() for z in elements] for s in structures])
    inputs = np.array([x.mean(axis=0) for x in features])
    around = [environments_of(structure, weights.spec.cutoff) for structure in structures]
    record: dict[tuple[int, str], list[float]] = {}
    for seed in range(options.seeds):
        order = np.random.default_rng([seed, 11]).permutation(len(structures))
        test, pool = order[:N_TEST], order[N_TEST:][:N_CANDIDATES]
        n = max(options.sizes)
        choices = {
            "random": random_choice(len(pool), n, seed),
            "farthest": farthest_choice([features[i] for i in pool], n),
            "clusters": None,  # depends on the number
            "gaps": gap_choice([around[i] for i in pool], reference, n),
        }
        for size in options.sizes:
            choices["clusters"] = cluster_choice([features[i] for i in pool], size, seed)
            for strategy, chosen in choices.items():
                some = pool[[choice.index for choice in chosen[:size]]]
                left = fit_head(inputs[some], composition[some], error[some])
                found = np.abs(error[test] - left(inputs[test], composition[test])).mean()
                record.setdefault((size, strategy), []).append(float(found))
    name = f"{options.set}-{options.model}-heads.json"
    held = [{"n": n, "strategy": strategy, "errors": values} for (n, strategy), values in record.items()]
    write_atomic(options.work / name, [json.dumps(held).encode()])
    for (size, strategy), values in record.items():
        pairs = [a / b - 1 for a, b in zip(values, record[size, "random"], strict=True)]
        against = "" if strategy == "random" else percent(pairs)
        print(
            f"| {options.set} | {size} | {strategy} | {len(values)} | {spread(values)} | {against} |",
            flush=True,
        )


def fit_head(x: np.ndarray, composition: np.ndarray, y: np.ndarray) -> Callable[..., np.ndarray]:
    """Return a prediction: ridge regression on features, the offsets of elements all but free."""
    free = 1e3
    a = np.concatenate([x, free * composition], axis=1)
    u, s, vt = np.linalg.svd(a, full_matrices=False)
    projected = u.T @ y
    best, solution = np.inf, np.zeros(a.shape[1])
    for strength in np.logspace(-4, 4, 25):
        shrunk = s**2 / (s**2 + strength)
        leverage = np.einsum("ij,j,ij->i", u, shrunk, u)
        loss = float(np.mean(((y - u @ (shrunk * projected)) / np.maximum(1 - leverage, 1e-6)) ** 2))
        if loss < best:
            best, solution = loss, vt.T @ (s / (s**2 + strength) * projected)
    return lambda x, composition: np.concatenate([x, free * composition], axis=1) @ solution


def report(options: argparse.Namespace) -> None:
    """Print means, standard errors, and differences from random ones, seed by seed."""
    results = [json.loads(p.read_text()) for p in sorted(options.work.glob(f"{options.set}-*.json"))]
    groups: dict[tuple[int, str], dict[int, dict]] = {}
    for result in results:
        groups.setdefault((result["n"], result["strategy"]), {})[result["seed"]] = result
    print("| structures | chosen | seeds | force, meV/A | against random | energy less offsets, meV/atom |")
    print("|---:|---|---:|---:|---:|---:|")
    for (n, strategy), found in sorted(groups.items()):
        forces, energies = ([r[key] for r in found.values()] for key in ("forces", "energy_without_offsets"))
        random = groups.get((n, "random"), {})
        pairs = [r["forces"] / random[seed]["forces"] - 1 for seed, r in found.items() if seed in random]
        ratio = "" if strategy in ("random", "zero-shot") or len(pairs) < 2 else f"{percent(pairs)}"
        print(f"| {n or ''} | {strategy} | {len(found)} | {spread(forces)} | {ratio} | {spread(energies)} |")


def spread(values: list[float]) -> str:
    """Write a mean and its standard error."""
    if len(values) < 2:
        return f"{values[0]:.3g}"
    return f"{np.mean(values):.3g} ± {np.std(values, ddof=1) / len(values) ** 0.5:.2g}"


def percent(values: list[float]) -> str:
    """Write the mean of relative differences and its standard error."""
    return f"{100 * np.mean(values):+.0f} ± {100 * np.std(values, ddof=1) / len(values) ** 0.5:.0f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["heads", "run", "report"])
    parser.add_argument("--data", type=Path, help="the folder of the data sets")
    parser.add_argument("--work", type=Path, required=True, help="where runs and results are kept")
    parser.add_argument("--set", default="MoNbTaW", choices=list(SETS))
    parser.add_argument("--model", default="nequix-nano")
    parser.add_argument("--reference", type=Path, help="by default the one beside the model's file")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 30])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--most", type=int, default=260, help="structures of a set, for heads")
    parser.add_argument("--strategies", nargs="+", default=STRATEGIES, choices=STRATEGIES)
    parser.add_argument("--gradients", type=int, default=600, help="gradients of structures in a run")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    cache_compilations(options.work / "jax")
    {"heads": heads, "run": run, "report": report}[options.what](options)


if __name__ == "__main__":
    main()
