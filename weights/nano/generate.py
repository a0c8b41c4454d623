"""Make the training data of nequix-nano: ``python -m weights.nano.generate FOLDER``.

Each of ``PLANS`` has a folder of its own, ``0``, ``1`` and so on. Structures are labelled in chunks. A
chunk's file appears when it is whole, so that an interrupted run resumes; several processes can
share the work with ``--part``. When all chunks of a plan are there, families are divided into ``train``,
``valid`` and ``test``, each a folder of ``.aselmdb`` shards.
"""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import ase.io
import numpy as np
import typer
from ase import Atoms

from nequix.backends import load_model
from nequix.core.errors import DataError
from nequix.data.convert import convert
from nequix.io.files import write_atomic
from weights.nano import chemistry, derive, packings
from weights.nano.perturb import is_sound
from weights.nano.teacher import Teach, equilibrate, labelled, teach_with

T = TypeVar("T")

CHUNK = 16
"""Items of a chunk: crystals, molecules, pairs."""


@dataclass(frozen=True)
class Plan:
    """What to make.

    Attributes:
        n_unary: Crystals of elements; by default all.
        n_ionic: Compounds of cations and anions: binary, ternary.
        n_metallic: Compounds of metals: binary, ternary.
        n_pairs: Pairs of elements.
        derived: Share of the crystals that other structures are derived from.
        n_packed: Random packings of ions and molecules.
        largest: Most atoms of a packing.
        seed: Of all draws.
    """

    n_unary: int = 324
    n_ionic: tuple[int, int] = (1800, 900)
    n_metallic: tuple[int, int] = (1760, 440)
    n_pairs: int = 350
    derived: float = 1.0
    n_packed: int = 0
    largest: int = packings.LARGEST
    seed: int = 0


PLANS = (
    Plan(),
    Plan(n_ionic=(3000, 4000), n_metallic=(6000, 2000), derived=0.5, seed=1),
    Plan(n_ionic=(3000, 4000), n_metallic=(6000, 2000), derived=0.3, seed=2),
    Plan(n_ionic=(3000, 4000), n_metallic=(6000, 2000), derived=0.3, seed=3),
    Plan(n_ionic=(1000, 10000), n_metallic=(1000, 3000), derived=0.3, seed=4),  # few pairs are left
    Plan(n_ionic=(1000, 10000), n_metallic=(1000, 3000), derived=0.3, seed=5),
    Plan(n_ionic=(1000, 10000), n_metallic=(1000, 3000), derived=0.3, seed=6),
    Plan(n_unary=0, n_ionic=(0, 0), n_metallic=(0, 0), n_pairs=0, n_packed=6000, seed=7),
    Plan(n_unary=0, n_ionic=(0, 0), n_metallic=(0, 0), n_pairs=0, n_packed=4000, largest=36, seed=8),
)
"""What nequix-nano learns from. The first gives the test set; what one holds out, no other trains on."""


def chunks(plan: Plan) -> list[Callable[[Teach], list[Atoms]]]:
    """List what makes each chunk.

    Args:
        plan: What to make.
    """
    bases = chemistry.bases(plan.n_unary, plan.n_ionic, plan.n_metallic, plan.seed)
    order = np.random.default_rng([plan.seed, 3]).permutation(len(bases))
    shuffled = [(int(i), bases[i]) for i in order]
    made: list[Callable[[Teach], list[Atoms]]] = [
        lambda teach, some=some: _crystals(some, teach, plan) for some in _cut(shuffled)
    ]
    pairs = list(enumerate(chemistry.pairs(plan.n_pairs, plan.seed)))
    names = list(enumerate(derive.molecules()))
    for stream, items, source in ((5, pairs, derive.from_pair), (6, names, derive.from_molecule)):
        for some in _cut(items):
            made.append(
                lambda teach, some=some, source=source, stream=stream: _label(
                    [
                        atoms
                        for index, item in some
                        for atoms in source(item, np.random.default_rng([plan.seed, stream, index]))
                    ],
                    teach,
                )
            )
    made.append(lambda teach: _label(derive.single_atoms(), teach))
    made += [lambda teach, some=some: _packed(some, teach, plan) for some in _cut([*range(plan.n_packed)])]
    return made


def _cut(items: list[T]) -> Iterator[list[T]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]


def _crystals(bases: list[tuple[int, chemistry.Base]], teach: Teach, plan: Plan) -> list[Atoms]:
    """Bring crystals near their minimum, and label what is derived from them."""
    starts = [base.prototype.build(base.elements) for _, base in bases]
    found, seen = equilibrate(starts, teach)
    kept = [
        labelled(derive.named(atoms, "crystal", bases[i][1].name), label)
        for i, atoms, label in seen
        if label.is_sound and is_sound(atoms)
    ]
    derived = []
    for (index, base), crystal in zip(bases, found, strict=True):
        rng = np.random.default_rng([plan.seed, 4, index])
        chosen = plan.derived == 1 or len(base.elements) == 1 or rng.random() < plan.derived
        if chosen and is_sound(crystal):  # not collapsed
            derived += derive.from_crystal(base, crystal, rng)
    return kept + _label(derived, teach)


def _packed(indices: list[int], teach: Teach, plan: Plan) -> list[Atoms]:
    """Label random packings on their way to the minimum, and what is derived from them."""
    rngs = [np.random.default_rng([plan.seed, 7, index]) for index in indices]
    found = packings.relaxed([packings.draw(rng, plan.largest) for rng in rngs], rngs, teach)
    kept = [labelled(atoms, label) for atoms, label in found if label is not None and label.is_sound]
    return kept + _label([atoms for atoms, label in found if label is None], teach)


def _label(structures: list[Atoms], teach: Teach) -> list[Atoms]:
    """Label what is sound, and keep what has sound labels."""
    sound = [atoms for atoms in structures if is_sound(atoms)]
    return [
        labelled(atoms, label) for atoms, label in zip(sound, teach(sound), strict=True) if label.is_sound
    ]


def make_chunks(
    plan: Plan, folder: Path, teach: Teach, part: tuple[int, int], progress: Callable[[int], None]
) -> None:
    """Make the chunks that are missing.

    Args:
        plan: What to make.
        folder: Where; it must not hold chunks of another plan.
        teach: The teacher.
        part: Which of how many processes this is.
        progress: Called with the number of chunks that are done since.

    Raises:
        DataError: If the folder holds another plan's chunks.
    """
    (folder / "chunks").mkdir(parents=True, exist_ok=True)
    note, ours = folder / "plan.json", json.dumps(asdict(plan), indent=1)
    usual = json.loads(json.dumps(asdict(Plan())))
    if note.exists() and {**usual, **json.loads(note.read_text())} != json.loads(ours):
        raise DataError(f"{note}: is of another plan; choose another folder")
    write_atomic(note, [ours.encode()])
    for number, make in enumerate(chunks(plan)):
        path = _chunk(folder, number)
        if number % part[1] != part[0]:
            continue
        if not path.exists():
            write_atomic(path, [_compressed(make(teach))])
        progress(1)


def _chunk(folder: Path, number: int) -> Path:
    return folder / "chunks" / f"{number:05d}.extxyz.gz"


def _compressed(frames: list[Atoms]) -> bytes:
    text = io.StringIO()
    ase.io.write(text, frames, format="extxyz")
    return gzip.compress(text.getvalue().encode(), mtime=0)


def divide(plan: Plan, folder: Path) -> dict[str, Counter[str]]:
    """Divide the chunks by families and convert the parts into shards.

    Args:
        plan: What was made.
        folder: Where the chunks are.

    Returns:
        For each part, the number of structures of each kind.

    Raises:
        DataError: If chunks are missing.
    """
    paths = [_chunk(folder, number) for number in range(len(chunks(plan)))]
    missing = sum(not path.exists() for path in paths)
    if missing:
        raise DataError(f"{folder}: {missing} of {len(paths)} chunks are missing; make them first")
    parts: dict[str, list[Atoms]] = {"train": [], "valid": [], "test": []}
    for path in paths:
        with gzip.open(path, "rt") as handle:
            frames = ase.io.read(handle, ":", format="extxyz")
        for atoms in frames if isinstance(frames, list) else [frames]:
            parts[derive.part(atoms.info["family"])].append(atoms)
    counts = {}
    for name, frames in parts.items():
        whole = folder / f"{name}.extxyz.gz"
        write_atomic(whole, [_compressed(frames)])
        convert([whole], folder / name)
        counts[name] = Counter(atoms.info["name"].split()[0] for atoms in frames)
    return counts


def main(
    folder: Annotated[Path, typer.Argument(help="Created, or resumed if it exists.")],
    teacher: Annotated[str, typer.Option(help="Name or file of the model that labels.")] = "nequix-mp-1",
    backend: Annotated[str, typer.Option(help="Its engine.")] = "torch",
    part: Annotated[str, typer.Option(help="Which of how many processes this is: 0/2.")] = "0/1",
) -> None:
    """Make the training data of nequix-nano."""
    from rich.console import Console
    from rich.progress import Progress

    mine, processes = (int(x) for x in part.split("/"))
    teach = teach_with(load_model(teacher, backend))
    for number, plan in enumerate(PLANS):
        below = folder / str(number)
        with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
            task = bar.add_task(f"chunks of {below}", total=len(range(mine, len(chunks(plan)), processes)))
            make_chunks(plan, below, teach, (mine, processes), lambda n, task=task: bar.advance(task, n))
        try:
            counts = divide(plan, below)
        except DataError as error:
            print(f"{error} (another process may be at it; the last one to end divides)", file=sys.stderr)
            continue
        for name, kinds in counts.items():
            text = ", ".join(f"{n} {k}" for k, n in kinds.items())
            print(f"{below / name}: {sum(kinds.values())} structures; {text}")


if __name__ == "__main__":
    typer.run(main)
