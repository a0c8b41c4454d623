"""How well coverage scores foretell a model's true force errors on real data, view by view.

    python benchmarks/coverage.py run --data FOLDER --work DIR --model nequix-nano   # resumable: a file a set
    python benchmarks/coverage.py views --data FOLDER --work DIR --train FILE        # other feature scores
    python benchmarks/coverage.py report --work DIR -o docs

An atom's error is the length of the difference of its predicted and its labelled force. Measures are rank
correlation (Spearman), and the area under the ROC curve (AUROC) for the worst tenth of the errors. Intervals
are from 40 bootstrap samples of structures.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

import numpy as np
from scipy.stats import rankdata, spearmanr
from sklearn.metrics import roc_auc_score

from nequix.backends import load_model
from nequix.core.errors import GraphError
from nequix.coverage.assess_coverage import assess_coverage
from nequix.coverage.features import FeatureSums, last_features
from nequix.coverage.sidecar import find_reference
from nequix.data.batch import graph_of
from nequix.data.opening import open_source
from nequix.graphs.batches import evaluate_graphs
from nequix.io.catalogue import load_weights
from nequix.io.files import write_atomic

SETS = {
    "mlearn": [f"mlearn/{element}_test.extxyz.gz" for element in ("Li", "Si", "Cu", "Mo")],
    "Alexandria": ["mattersim_benchmarks/alexandria-random-1k.extxyz.gz"],
    "MoNbTaW": ["hea_monbtaw/train_binaries.extxyz.gz"],
    "MgO": ["pypolymlp_mgo/MgO_train.extxyz.gz"],
}
MOST = 150
"""Structures of a set, drawn at random."""

SCORES = {
    "force": "length of the predicted force",
    "pairs": "distances",
    "angles": "angles",
    "coordination": "bonded neighbours",
    "crowd": "neighbours within the cutoff",
    "orders": "bond orders",
    "range": "range of well-known pairs",
    "features": "features",
    "histograms": "distances and angles",
    "score": "the score: distances, angles, features",
}
N_SAMPLES = 40


def chosen(name: str, data: Path, spec: object) -> list[tuple[object, object]]:
    """Draw structures of a set that have forces and elements that the model knows, with their graphs."""
    source = open_source([data / path for path in SETS[name]])
    found = []
    for index in np.random.default_rng(0).permutation(len(source)).tolist():
        try:
            found.append((source[index], graph_of(source[index], spec)))
        except GraphError:
            continue
        if len(found) == MOST:
            break
    return found


def run(options: argparse.Namespace) -> None:
    """Evaluate errors and scores of whatever set has no file yet."""
    weights = load_weights(options.model)
    reference = find_reference(options.model, weights, options.reference)
    potential = load_model(weights, "torch")
    usual = reference.calibration.usual
    for name in options.sets:
        path = options.work / f"{options.model}-{name}.npz"
        if path.exists():
            continue
        pairs = chosen(name, options.data, weights.spec)
        found = assess_coverage((structure for structure, _ in pairs), reference, potential)
        results = list(evaluate_graphs(potential, (graph for _, graph in pairs)))
        predicted = np.concatenate([result.forces for result in results])
        labels = np.concatenate([structure.forces for structure, _ in pairs])
        features = np.concatenate(list(last_features(potential, (graph for _, graph in pairs))))
        arrays = {
            "structure": found.atom_structure,
            "numbers": found.numbers,
            "error": np.linalg.norm(predicted - labels, axis=1),
            "label": np.linalg.norm(labels, axis=1),
            "force": np.linalg.norm(predicted, axis=1),
            "score": found.score,
            "histograms": (found.values["pairs"] / usual["pairs"] + found.values["angles"] / usual["angles"])
            / 2,
            "raw_features": features.astype(np.float32),
            **found.values,
        }
        content = io.BytesIO()
        np.savez_compressed(content, allow_pickle=False, **arrays)
        write_atomic(path, [content.getvalue()])
        counts = {verdict: found.verdicts.count(verdict) for verdict in ("inside", "edge", "outside")}
        print(path.stem, len(pairs), "structures", counts, flush=True)


def measures(score: np.ndarray, error: np.ndarray) -> tuple[float, float]:
    """Return rank correlation and AUROC for the worst tenth."""
    worst = error >= np.quantile(error, 0.9)
    return float(spearmanr(score, error)[0]), float(roc_auc_score(worst, score))


def with_interval(score: np.ndarray, error: np.ndarray, structure: np.ndarray) -> dict[str, list[float]]:
    """Return both measures with 95 % intervals over structures: value, low, high."""
    score = rankdata(score)
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(structure == s) for s in np.unique(structure)]
    samples = []
    for _ in range(N_SAMPLES):
        some = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        samples.append(measures(score[some], error[some]))
    low, high = np.nanquantile(samples, [0.025, 0.975], axis=0)
    values = measures(score, error)
    return {name: [values[i], low[i], high[i]] for i, name in enumerate(("spearman", "auroc"))}


def moving(held: dict[str, np.ndarray]) -> np.ndarray:
    """Tell atoms that can have a force: by symmetry others have none, in labels and predictions alike."""
    return np.maximum(held["label"], held["force"]) > 1e-3


def views(options: argparse.Namespace) -> None:
    """Compare ways to turn features into a distance, on features of training atoms."""
    from sklearn.mixture import GaussianMixture
    from sklearn.neighbors import NearestNeighbors

    weights = load_weights(options.model)
    potential = load_model(weights, "torch")
    source = open_source(options.train)
    indices = np.random.default_rng(0).permutation(len(source))[: options.n_train].tolist()
    structures = [source[i] for i in indices]
    graphs = (graph_of(structure, weights.spec) for structure in structures)
    known = np.concatenate(list(last_features(potential, graphs)))
    numbers = np.concatenate([structure.numbers for structure in structures])
    sums = FeatureSums()
    sums.add(known)
    white = sums.reference()
    x = white.whitened(known)
    variance = np.linalg.norm(white.whitening, axis=0) ** -2.0
    order = np.argsort(-variance)  # principal directions, the widest first
    few = order[:32]
    gaussians = {z: species_gaussian(x[numbers == z]) for z in np.unique(numbers).tolist()}
    mixture = GaussianMixture(32, covariance_type="full", reg_covar=1e-3, max_iter=50, random_state=0)
    mixture.fit(x[:20000, order[:16]])
    trees = {n: NearestNeighbors(n_neighbors=3).fit(x[:n, few]) for n in (2000, 10000)}

    def species(y: np.ndarray, own: np.ndarray) -> np.ndarray:
        found = np.full(len(y), np.inf)
        for z in np.unique(own).tolist():
            if z in gaussians:
                mean, inverse = gaussians[z]
                d = y[own == z] - mean
                found[own == z] = np.sqrt(np.einsum("ni,ij,nj->n", d, inverse, d))
        return found

    def nearest(n: int, y: np.ndarray) -> np.ndarray:
        return trees[n].kneighbors(y[:, few])[0].mean(axis=1)

    methods = {
        "Mahalanobis, one Gaussian": lambda y, own: np.linalg.norm(y, axis=1),
        "Mahalanobis, 32 components": lambda y, own: np.linalg.norm(y[:, few], axis=1),
        "Mahalanobis by species": species,
        "mixture of 32 Gaussians, 16 components": lambda y, own: -mixture.score_samples(y[:, order[:16]]),
        "3 nearest of 2,000 atoms, 32 components": lambda y, own: (
            trees[2000].kneighbors(y[:, few])[0].mean(1)
        ),
        "3 nearest of 10,000 atoms, 32 components": lambda y, own: (
            trees[10000].kneighbors(y[:, few])[0].mean(1)
        ),
    }
    record = {}
    for name in options.sets:
        held = dict(np.load(options.work / f"{options.model}-{name}.npz", allow_pickle=False))
        free = moving(held)
        y, own = white.whitened(held["raw_features"].astype(float)), held["numbers"]
        record[name] = {
            method: with_interval(score(y, own)[free], held["error"][free], held["structure"][free])
            for method, score in methods.items()
        }
    write_atomic(options.work / f"{options.model}-views.json", [json.dumps(record).encode()])
    for method in methods:
        print(f"| {method} | {' | '.join(cell(record[name][method]) for name in record)} |")


def species_gaussian(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and inverse covariance of a species' atoms, drawn towards the unit matrix where few."""
    n, d = x.shape
    covariance = (np.cov(x.T, bias=True) * n + 0.1 * d * np.eye(d)) / (n + d)
    return x.mean(axis=0), np.linalg.inv(covariance)


def cell(found: dict[str, list[float]]) -> str:
    """Write both measures with their intervals."""
    texts = [f"{value:.2f} ({low:.2f} to {high:.2f})" for value, low, high in found.values()]
    return " | ".join(texts)


def report(options: argparse.Namespace) -> None:
    """Print the tables of a model and draw the figure."""
    from matplotlib.figure import Figure

    names = [name for name in options.sets if (options.work / f"{options.model}-{name}.npz").exists()]
    figure = Figure(figsize=(4 * len(names), 3.4), layout="constrained")
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for axis, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        held = dict(np.load(options.work / f"{options.model}-{name}.npz", allow_pickle=False))
        free = moving(held)
        error, structure = held["error"][free], held["structure"][free]
        found[name] = {key: with_interval(held[key][free], error, structure) for key in SCORES}
        axis.hexbin(held["score"][free], np.log10(error + 1e-4), gridsize=40, bins="log", mincnt=1)
        axis.set(title=name, xlabel="score", ylabel="log10 of the force error (eV/A)")
        n = len(np.unique(structure))
        print(
            f"{name}: {n} structures, {free.sum()} of {len(free)} atoms, mean error {error.mean():.3f} eV/A"
        )
    header = " | ".join(f"{name}: Spearman | {name}: AUROC" for name in names)
    print(f"| | {header} |\n|---|{'---:|' * 2 * len(names)}")
    for key, title in SCORES.items():
        print(f"| {title} | {' | '.join(cell(found[name][key]) for name in names)} |")
    figure.savefig(options.output / f"coverage-{options.model}.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["run", "views", "report"])
    parser.add_argument("--data", type=Path, help="the folder of the data sets")
    parser.add_argument("--work", type=Path, required=True, help="where results are kept")
    parser.add_argument("--model", default="nequix-nano")
    parser.add_argument("--reference", type=Path, help="by default the one beside the model's file")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--train", type=Path, help="the model's training set")
    parser.add_argument("--n-train", type=int, default=12000, help="structures of it")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    {"run": run, "views": views, "report": report}[options.what](options)


if __name__ == "__main__":
    main()
