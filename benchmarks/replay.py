"""What does fine-tuning forget, and how much less with replay? Errors on the target and on everything else.

    python benchmarks/replay.py run --data FOLDER --work DIR       # resumable; a folder a fine-tuning
    python benchmarks/replay.py report --work DIR -o docs          # a table, its sentences and a figure

``nequix-nano``, everything trained, on structures of one element of mlearn: without replay (none), with
structures that it labels itself (teacher, ``--replay teacher``), and with structures of the kind that it was
trained on, labelled by its own teacher (own, of ``weights/nano/test.extxyz.gz``). The three differ in nothing
else: they take as many steps, of the same structures of the target. Errors are those of the authors' test
structures of the target, and of three sets without its element: mlearn's other elements and MPtrj (DFT), and
structures of the kind that the model was trained on, of other combinations of elements than those replayed
(labels of ``nequix-mp-1``).

Energies are less an offset for each element, by least squares on each set: fine-tuning moves the baseline of
the target on purpose, and what is linear in the composition cancels in energies of reaction.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers
from selection import errors, fine_tune, percent, write

from nequix.data.opening import open_source
from nequix.data.sources import Subset
from nequix.data.structure import Structure
from nequix.finetune.config import ReplayConfig
from nequix.finetune.teacher import write_teacher_data
from nequix.io.catalogue import load_weights
from nequix.io.files import write_atomic
from nequix.io.weights import Weights
from nequix.jax.compilation import cache_compilations

PARENT = "nequix-nano"
ELEMENTS = ("Cu", "Li", "Mo", "Si")
MPTRJ = "mattersim_benchmarks/mptrj-random-1k.extxyz.gz"
OWN = Path(__file__).parents[1] / "weights/nano/test.extxyz.gz"
VARIANTS = ("none", "teacher", "own")
N_VALID = 20
ERRORS = {"forces": "forces, meV/A", "energy_without_offsets": "energy, meV/atom"}


def test_sets(
    options: argparse.Namespace, parent: Weights
) -> tuple[dict[str, list[Structure]], list[Structure]]:
    """Return the structures to test on, by set, and those of the parent's own kind that may be replayed."""
    known, target = set(parent.spec.atomic_numbers), atomic_numbers[options.set]

    def mlearn(elements: list[str]) -> list[Structure]:
        return list(open_source([options.data / f"mlearn/{element}_test.extxyz.gz" for element in elements]))

    def shuffled(path: Path) -> list[Structure]:
        kept = [s for s in open_source([path]) if known.issuperset(s.numbers.tolist())]
        return [kept[i] for i in np.random.default_rng(0).permutation(len(kept))]

    others, own = [element for element in ELEMENTS if element != options.set], shuffled(OWN)
    n = options.tests
    sets = {", ".join(others): mlearn(others), "MPtrj": shuffled(options.data / MPTRJ)[:n], "own": own[:n]}
    sets = {name: [s for s in some if target not in s.numbers] for name, some in sets.items()}
    # Several were made of one crystal: those of the same elements would be all but trained on.
    tested = {frozenset(s.numbers.tolist()) for s in sets["own"]}
    replayed = [s for s in own[n:] if frozenset(s.numbers.tolist()) not in tested]
    return {options.set: mlearn([options.set]), **sets}, replayed


def run(options: argparse.Namespace) -> None:
    """Fine-tune and evaluate whatever has no result yet."""
    parent = load_weights(PARENT)
    sets, own = test_sets(options, parent)
    source = open_source([options.data / f"mlearn/{options.set}_train.extxyz.gz"])
    if N_VALID + max(options.structures) > len(source):
        raise SystemExit(f"{options.set}: {len(source)} structures, but {N_VALID} are needed for validation")

    settings = {name: getattr(options, name) for name in ("share", "gradients", "tests")}

    def write_errors(path: Path, weights: Weights, **more: object) -> None:
        found = {name: {"n": len(some), **errors(weights, some)} for name, some in sets.items()}
        result = {**more, **settings, "sets": found}
        write_atomic(path, [json.dumps(result).encode()])
        print(json.dumps(result), flush=True)

    before = options.work / f"{options.set}-before.json"
    if before.exists():
        held = json.loads(before.read_text())
        if settings != {name: held[name] for name in settings}:
            raise SystemExit(
                f"{options.work} was begun with other settings than {settings}; choose another --work"
            )
    else:
        write_errors(before, parent, replay="before", structures=0, seed=0)
    write(options.work / f"{options.set}-own.extxyz", own)
    for seed in range(options.seeds):
        order = np.random.default_rng(seed).permutation(len(source))
        teacher = write_teacher_data(parent, options.work / f"teacher-{seed}.extxyz", seed=seed)
        replayed = {"teacher": teacher, "own": options.work / f"{options.set}-own.extxyz"}
        for n in options.structures:
            for variant in options.variants:
                folder = options.work / f"{options.set}-{seed}-{n}-{variant}"
                path = folder.with_suffix(".json")
                if path.exists():
                    continue
                folder.mkdir(exist_ok=True)
                write(folder / "valid.extxyz", list(Subset(source, order[:N_VALID])))
                write(folder / "train.extxyz", list(Subset(source, order[N_VALID:][:n])))
                replay = None
                if variant in replayed:
                    replay = ReplayConfig([str(replayed[variant])], options.share)
                tuned = fine_tune(parent, options, folder, "full", replay)
                write_errors(path, tuned, replay=variant, structures=n, seed=seed)


def report(options: argparse.Namespace) -> None:
    """Print a table and what it says, and draw the figure."""
    before = json.loads((options.work / f"{options.set}-before.json").read_text())["sets"]
    groups: dict[tuple[int, str], dict[int, dict]] = {}
    for path in sorted(options.work.glob(f"{options.set}-*-*-*.json")):
        result = json.loads(path.read_text())
        groups.setdefault((result["structures"], result["replay"]), {})[result["seed"]] = result["sets"]
    groups = dict(sorted(groups.items(), key=lambda item: (item[0][0], VARIANTS.index(item[0][1]))))
    titles = [f"{name} ({held['n']}): {title}" for name, held in before.items() for title in ERRORS.values()]
    print("Means over the seeds ± their standard deviation:\n")
    print(f"| structures | replay | seeds | {' | '.join(titles)} |")
    print(f"|---:|---|---:|{'---:|' * len(titles)}")
    for (n, variant), seeds in {(0, "before"): {0: before}, **groups}.items():
        cells = [spread([s[name][key] for s in seeds.values()]) for name in before for key in ERRORS]
        print(f"| {n or ''} | {variant} | {len(seeds) if n else ''} | {' | '.join(cells)} |")
    print()
    for n in sorted({n for n, _ in groups}):
        print(f"{n} structures of {options.set}, change of errors (mean over seeds ± its standard error):\n")
        none = groups.get((n, "none"), {})
        for variant in (variant for m, variant in groups if m == n):
            seeds = groups[n, variant]
            print(f"- {variant} against before: {changes(seeds, dict.fromkeys(seeds, before))}.")
            if variant != "none" and none:
                print(f"- {variant} against none: {changes(seeds, none)}.")
        print()
    for variant in VARIANTS[1:]:
        print(verdict(options.set, groups, variant))
    draw_figure(options, before, groups)


def relative(after: dict[int, dict], before: dict[int, dict]) -> dict[str, dict[str, list[float]]]:
    """Return the relative changes of each set's errors, seed by seed."""
    both = sorted(after.keys() & before.keys())
    names = after[both[0]] if both else []
    return {
        n: {key: [after[s][n][key] / before[s][n][key] - 1 for s in both] for key in ERRORS} for n in names
    }


def changes(after: dict[int, dict], before: dict[int, dict]) -> str:
    """Write the relative changes of each set's errors."""
    parts = []
    for name, found in relative(after, before).items():
        forces, energy = (f"{100 * p[0]:+.0f} %" if len(p) == 1 else percent(p) for p in found.values())
        parts.append(f"{name} forces {forces}, energy {energy}")
    return "; ".join(parts)


def verdict(target: str, groups: dict[tuple[int, str], dict[int, dict]], variant: str) -> str:
    """Write how often a replay changes errors of other sets by more than two standard errors."""
    found = [
        np.array(pairs)
        for (n, name), seeds in groups.items()
        if name == variant
        for other, changed in relative(seeds, groups.get((n, "none"), {})).items()
        if other != target
        for pairs in changed.values()
        if len(pairs) > 1
    ]
    lower, higher = (
        sum(sign * pairs.mean() > 2 * pairs.std(ddof=1) / len(pairs) ** 0.5 for pairs in found)
        for sign in (-1, 1)
    )
    return (
        f"Of {len(found)} errors of sets without {target} at several seeds, {variant} makes {lower} lower "
        f"and {higher} higher than none does, by more than two standard errors."
    )


def spread(values: list[float]) -> str:
    """Write a mean, and the standard deviation where there are several values."""
    text = f"{np.mean(values):.3g}"
    return text if len(values) == 1 else f"{text} ± {np.std(values, ddof=1):.2g}"


def draw_figure(
    options: argparse.Namespace, before: dict[str, dict], groups: dict[tuple[int, str], dict[int, dict]]
) -> None:
    """Draw the errors of each set by the number of structures, a bar a variant."""
    from matplotlib.figure import Figure

    figure = Figure((3 * len(before), 5.5), layout="constrained")
    numbers = sorted({n for n, _ in groups})
    for row, (key, title) in zip(figure.subplots(len(ERRORS), len(before)), ERRORS.items(), strict=True):
        for axes, name in zip(row, before, strict=True):
            axes.axhline(before[name][key], color="0.5", linestyle="--", label="before")
            for place, variant in enumerate(VARIANTS):
                values = [[s[name][key] for s in groups.get((n, variant), {}).values()] for n in numbers]
                means = [np.mean(v) if v else np.nan for v in values]
                bars = [np.std(v, ddof=1) if len(v) > 1 else 0 for v in values]
                at = np.arange(len(numbers)) + 0.27 * (place - 1)
                axes.bar(at, means, 0.25, yerr=bars, capsize=3, label=variant)
            axes.set(title=f"{name}: {title}", xlabel=f"structures of {options.set}")
            axes.set_xticks(np.arange(len(numbers)), map(str, numbers))
    figure.axes[0].legend(fontsize=8, title="replay")
    figure.savefig(options.output / f"replay-{options.set}.png", dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["run", "report"])
    parser.add_argument("--data", type=Path, help="the folder of the data sets")
    parser.add_argument("--work", type=Path, required=True, help="where runs and results are kept")
    parser.add_argument("--set", default="Mo", choices=ELEMENTS)
    parser.add_argument("--structures", type=int, nargs="+", default=[50, 150])
    parser.add_argument("--variants", nargs="+", default=VARIANTS, choices=VARIANTS)
    parser.add_argument("--share", type=float, default=0.5, help="of replay in a batch")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--gradients", type=int, default=1500, help="gradients of the target's structures")
    parser.add_argument("--tests", type=int, default=300, help="structures of MPtrj, and of the own kind")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    options.model = PARENT
    options.work.mkdir(parents=True, exist_ok=True)
    cache_compilations(options.work / "jax")
    {"run": run, "report": report}[options.what](options)


if __name__ == "__main__":
    main()
