"""Phonon fine-tuning on DFT force constants: what it does to phonons held out, and to energies and forces.

    python benchmarks/phonon_finetuning.py run --data FOLDER --work DIR --model nequix-nano   # resumable
    python benchmarks/phonon_finetuning.py report --work DIR -o docs/results/figures

Eight materials of phonopy's examples with PBE forces are divided into two folds; for each the model is
fine-tuned on the other's force constants, together with labelled structures in every batch. Every model is
evaluated on all eight and on other calculations of Si and NaCl. With ``--phonons FOLDER`` and perhaps
``--labelled FILE`` it is fine-tuned on other data, with ``--held FOLDER`` evaluated on others.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
from pathlib import Path

import ase.io
import numpy as np

from nequix.data.opening import open_source
from nequix.data.structure import to_atoms
from nequix.evaluation.phonons.data import find_references, read_reference
from nequix.evaluation.phonons.harmonic import by_displacements, commensurate_frequencies, prepare
from nequix.evaluation.phonons.task import unit_cell
from nequix.finetune.config import PhononsConfig, configure
from nequix.finetune.opening import open_fine_tuning
from nequix.finetune.phonons import force_constants
from nequix.finetune.run import FineTuning
from nequix.graphs.batches import evaluate_atoms
from nequix.io.catalogue import load_weights
from nequix.io.files import write_atomic
from nequix.io.weights import Weights, read_weights
from nequix.jax.compilation import cache_compilations
from nequix.jax.potential import Potential
from nequix.train.loop import MODEL
from nequix.train.loss import LossConfig

PHONONS = "phonons/phonopy_examples"
FOLDS = (("CaTiO3", "MgO", "Si", "TiO2-anatase"), ("MgB2", "NaCl", "SiO2-HP", "ZnO"))
"""Materials that are held out together."""

RELATIVES = {f"Si-gruneisen-{which}": "Si" for which in ("minus", "orig", "plus")} | {"NaCl-rd": "NaCl"}
"""Other calculations, of other volumes or by other displacements, and the material that they are of."""

LABELLED = "mattersim_benchmarks/mptrj-random-1k.extxyz.gz"
N_TEST = 150
SETS = {
    "MPtrj": [LABELLED],
    "Alexandria": ["mattersim_benchmarks/alexandria-random-1k.extxyz.gz"],
    "mlearn": [f"mlearn/{element}_test.extxyz.gz" for element in ("Li", "Si", "Cu", "Mo")],
}
VARIANTS = {"co-training": (1.0, 0.0), "PFT": (1.0, 1.0), "PFT only": (0.0, 1.0)}
"""Factors of the usual weights of energies, forces and stresses, and of the Hessian's."""


OTHERS = "others"
"""What stands for a fold where all materials are held out."""


def labelled(options: argparse.Namespace, parent: Weights) -> tuple[Path, dict[str, list[ase.Atoms]]]:
    """Write the structures of co-training to a file, and return those to test on, by set."""
    known = set(parent.spec.atomic_numbers)

    def read(names: list[str]) -> list[ase.Atoms]:
        source = open_source([options.data / name for name in names])
        return [to_atoms(s) for s in source if known.issuperset(s.numbers.tolist())]

    sets = {name: read(names) for name, names in SETS.items()}
    order = np.random.default_rng(0).permutation(len(sets["MPtrj"]))
    train = [sets["MPtrj"][i] for i in order[N_TEST:]]
    train = [atoms for atoms in train if len(atoms) <= options.max_atoms][
        : options.steps * options.batch_size
    ]
    sets["MPtrj"] = [sets["MPtrj"][i] for i in order[:N_TEST]]
    path = options.work / f"{options.model}-MPtrj-{len(train)}.extxyz"
    if not path.exists():
        text = io.StringIO()
        ase.io.write(text, train, format="extxyz")
        write_atomic(path, [text.getvalue().encode()])
    return path, sets


def evaluate(weights: Weights, held: dict[str, Path], sets: dict) -> dict:
    """Return errors of phonons at DFT's geometry, and of energies (eV/atom) and forces (eV/A)."""
    potential = Potential(weights, dtype="float64")
    materials = {}
    for name, path in held.items():
        reference = read_reference(path)
        if not set(np.unique(reference.supercell.numbers)) <= set(weights.spec.atomic_numbers):
            continue
        ours = prepare(unit_cell(reference), reference)
        by_displacements(ours, potential)
        constants = [np.array([c for _, c in force_constants(phonons)]) for phonons in (ours, reference)]
        frequencies = [commensurate_frequencies(phonons) for phonons in (ours, reference)]
        difference = constants[0] - constants[1]
        materials[name] = {
            "constants": float(np.linalg.norm(difference) / np.linalg.norm(constants[1])),
            "column": float(np.linalg.norm(difference, axis=-1).mean()),
            "frequency": float(np.abs(frequencies[0] - frequencies[1]).mean()),
            "bias": float((frequencies[0] - frequencies[1]).mean()),
            "max_frequency": [float(f.max()) for f in frequencies],
        }
    errors = {}
    for name, frames in sets.items():
        predictions = evaluate_atoms(potential, frames)
        energy = [
            (r.energy[0] - a.calc.results["energy"]) / len(a)
            for r, a in zip(predictions, frames, strict=True)
        ]
        forces = [
            (r.forces - a.calc.results["forces"]).ravel() for r, a in zip(predictions, frames, strict=True)
        ]
        errors[name] = {
            "energy": float(np.abs(energy).mean()), "forces": float(np.abs(np.concatenate(forces)).mean())
        }  # fmt: skip
    return {"materials": materials, "sets": errors}


def run(options: argparse.Namespace) -> None:
    """Fine-tune and evaluate whatever has no result yet."""
    parent = load_weights(options.model)
    data, sets = labelled(options, parent)
    folder = options.data / PHONONS
    paths = {name: folder / name for name in sorted(name for fold in FOLDS for name in fold)}
    every = find_references(options.held) if options.held else paths | {n: folder / n for n in RELATIVES}

    def write_errors(name: str, weights: Weights, **more: object) -> None:
        result = {"model": options.model, **more, **evaluate(weights, every, sets)}
        write_atomic(options.work / f"{name}.json", [json.dumps(result, indent=1).encode()])
        print(name, json.dumps(result["sets"]), flush=True)

    for model in (options.model, *options.compare):
        if not (options.work / f"{options.model}-{model}-zero.json").exists():
            write_errors(f"{options.model}-{model}-zero", load_weights(model), variant=f"{model}, zero-shot")
    for variant in options.variants:
        for fold in [OTHERS] if options.phonons else options.folds:
            name = f"{options.model}-{variant}-{fold}".replace(" ", "-")
            if (options.work / f"{name}.json").exists():
                continue
            used = [] if fold == OTHERS else [path for n, path in paths.items() if n not in FOLDS[fold]]
            used = [path for path in used if len(read_reference(path).supercell) <= options.max_atoms]
            used = used or [options.phonons]
            tuning = fine_tune(options, parent, options.labelled or data, used, variant, name)
            more = {"variant": variant, "fold": fold, "trained_on": [path.name for path in used]}
            write_errors(name, read_weights(tuning.folder / MODEL), steps=tuning.n_steps, **more)


def fine_tune(
    options: argparse.Namespace, parent: Weights, data: Path, phonons: list[Path], variant: str, name: str
) -> FineTuning:
    """Fine-tune for a number of steps; the result is the last one, with no structure spent on validation."""
    config = configure(
        parent,
        options.model,
        options.mode,
        [data],
        refit_atom_energies=False,
        phonons=PhononsConfig([str(path) for path in phonons], batch_size=options.columns),
    )
    labels, hessian = VARIANTS[variant]
    weights = {"energy": 20 * labels, "forces": 20 * labels, "stress": 5 * labels}
    size = options.batch_size if labels else 1
    per_epoch = -(-len(open_source(data)) // size)
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, valid_fraction=0, batch_size=size),
        loss=LossConfig(**weights, hessian=options.weight * hessian),
        phonons=config.phonons if hessian else None,
        optimizer=dataclasses.replace(
            config.optimizer, learning_rate=options.rate, warmup_epochs=options.steps / 10 / per_epoch
        ),
        run=dataclasses.replace(
            config.run, epochs=max(1, round(options.steps / per_epoch)), patience=None, checkpoint_every=20
        ),
        log=dataclasses.replace(config.log, figures=False),
    )
    tuning = open_fine_tuning(config, parent, options.work / name)
    print(tuning.describe(), flush=True)
    tuning.train(lambda step, n, values: step % 10 or print(step, n, values, flush=True))
    return tuning


def held_out(result: dict) -> dict[str, dict]:
    """Return the errors of the materials that are not trained on, other calculations of the eight aside."""
    fold = result.get("fold", OTHERS)
    names = result["materials"] if fold == OTHERS else FOLDS[fold]
    return {n: result["materials"][n] for n in names if n not in RELATIVES}


def trained_on(result: dict) -> dict[str, dict]:
    """Return the errors of the materials that are trained on, and of other calculations of them."""
    known = result.get("trained_on", [])
    return {n: v for n, v in result["materials"].items() if RELATIVES.get(n, n) in known}


def report(options: argparse.Namespace) -> None:
    """Print the tables and draw the figure."""
    results = [json.loads(path.read_text()) for path in sorted(options.work.glob(f"{options.model}-*.json"))]
    variants: dict[str, list[dict]] = {}
    for result in results:
        variants.setdefault(result["variant"], []).append(result)
    held = sorted({n for r in results if "fold" in r for n in held_out(r)})
    print(
        "| held out | force constants, relative | column, eV/A^2 | frequencies, THz | bias, THz | errors of |"
    )
    print("|---|---:|---:|---:|---:|---|")
    for variant, several in variants.items():
        materials = {n: v for r in several for n, v in held_out(r).items() if n in held}
        cells = [
            f"{np.mean([v[key] for v in materials.values()]):.3f}"
            for key in ("constants", "column", "frequency", "bias")
        ]
        errors = "; ".join(
            f"{name} {1000 * np.mean([r['sets'][name]['energy'] for r in several]):.0f} meV/atom, "
            f"{1000 * np.mean([r['sets'][name]['forces'] for r in several]):.0f} meV/A"
            for name in SETS
        )
        print(f"| {variant} ({len(materials)}) | {' | '.join(cells)} | {errors} |")
    used = sorted({n for r in results for n in trained_on(r)})
    for title, names, choose in (("held out", held, held_out), ("trained on", used, trained_on)):
        print(f"\n| {title}: force constants, frequencies (THz) | {' | '.join(variants)} |")
        print(f"|---|{'---:|' * len(variants)}")
        for name in names:
            cells = []
            for several in variants.values():
                shown = [choose(r) if "fold" in r else r["materials"] for r in several]
                found = [v[name] for v in shown if name in v]
                cells.append(f"{found[0]['constants']:.3f}, {found[0]['frequency']:.2f}" if found else "")
            print(f"| {name} | {' | '.join(cells)} |")
    draw_figure(options, variants, held)


def draw_figure(options: argparse.Namespace, variants: dict[str, list[dict]], held: list[str]) -> None:
    """Draw the errors of each held-out material, a bar a variant."""
    from matplotlib.figure import Figure

    figure = Figure((11, 3.6), layout="constrained")
    titles = {
        "frequency": "mean error of frequencies (THz)",
        "constants": "error of force constants, relative",
    }
    for axes, (key, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
        for place, (variant, several) in enumerate(variants.items()):
            found = {n: v[key] for r in several for n, v in held_out(r).items()}
            shown = [found.get(name, np.nan) for name in held]
            width = 0.8 / len(variants)
            axes.bar(np.arange(len(held)) + place * width, shown, width, label=variant)
        axes.set_xticks(np.arange(len(held)) + 0.4, held, rotation=60, ha="right", fontsize="small")
        axes.set(title=title)
    figure.axes[0].legend(fontsize="small", frameon=False)
    options.output.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.output / f"phonon-finetuning-{options.model}.png", dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["run", "report"])
    parser.add_argument("--data", type=Path, help="the folder of the data sets")
    parser.add_argument("--work", type=Path, required=True, help="where runs and results are kept")
    parser.add_argument("--model", default="nequix-nano")
    parser.add_argument("--compare", nargs="*", default=[], help="models that are evaluated as they are")
    parser.add_argument("--mode", default="full")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(len(FOLDS))))
    parser.add_argument("--phonons", type=Path, help="a folder of others to train on")
    parser.add_argument(
        "--held", type=Path, help="a folder of others to evaluate on, where --phonons is given"
    )
    parser.add_argument("--labelled", type=Path, help="structures for every batch, in place of MPtrj's")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=4, help="labelled structures per step")
    parser.add_argument("--columns", type=int, default=2, help="columns of Hessians a step")
    parser.add_argument("--weight", type=float, default=20, help="of the Hessian in the loss")
    parser.add_argument("--rate", type=float, default=0.003)
    parser.add_argument("--max-atoms", type=int, default=64, help="of a structure or supercell to train on")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    cache_compilations(options.work / "jax")
    {"run": run, "report": report}[options.what](options)


if __name__ == "__main__":
    main()
