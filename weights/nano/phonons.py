"""Phonons of generated crystals, by a teacher: ``python -m weights.nano.phonons FOLDER``.

Each becomes a phonopy YAML file with force constants, which ``nequix finetune --phonons FOLDER`` takes.
A file appears when it is complete; rerun the same command to resume.
"""

from __future__ import annotations

import gzip
import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from ase import Atoms

from nequix.backends import load_model
from nequix.evaluation.phonons.harmonic import by_displacements
from nequix.io.files import write_atomic
from weights.nano import chemistry
from weights.nano.derive import family
from weights.nano.generate import Plan
from weights.nano.perturb import is_sound
from weights.nano.teacher import Teach, equilibrate, teach_with

if TYPE_CHECKING:
    from phonopy import Phonopy

WIDTH = 6.0
"""Least distance between the faces of a supercell, A."""

LARGEST = 48
"""Atoms of a supercell; crystals that need more are left out."""


def crystals(teach: Teach, seed: int, without: set[str]) -> Iterator[tuple[str, Atoms]]:
    """Draw crystals as for the training, near their minima, with their names, without end of interest.

    Args:
        teach: The teacher.
        seed: Of the draw.
        without: Elements of compounds that are left out, each as ``Mg-O``.
    """
    plan = Plan()
    bases = chemistry.bases(plan.n_unary, plan.n_ionic, plan.n_metallic, seed)
    for i in np.random.default_rng([seed, 7]).permutation(len(bases)):
        start = bases[i].prototype.build(bases[i].elements)
        if family(start, bases[i].name).split(":")[-1] in without or multiples(start) is None:
            continue
        (found,), _ = equilibrate([start], teach)
        if is_sound(found):  # not collapsed
            yield bases[i].name.replace(":", "-"), found


def multiples(crystal: Atoms) -> list[int] | None:
    """Return how often the cell is repeated along each vector; None if that takes too many atoms.

    Args:
        crystal: A primitive cell.
    """
    widths = 1 / np.linalg.norm(np.linalg.inv(crystal.cell.array), axis=0)
    found = np.ceil(WIDTH / widths).astype(int)
    return found.tolist() if len(crystal) * found.prod() <= LARGEST else None


def supercell_of(crystal: Atoms) -> Phonopy:
    """Set up the phonons of a crystal.

    Args:
        crystal: A primitive cell with :func:`multiples`.
    """
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    cell = PhonopyAtoms(crystal.get_chemical_symbols(), cell=crystal.cell.array, positions=crystal.positions)
    return Phonopy(cell, np.diag(multiples(crystal) or [1, 1, 1]), primitive_matrix=np.eye(3))


def write(phonons: Phonopy, path: Path) -> None:
    """Write force constants to a compressed YAML file.

    Args:
        phonons: Has force constants.
        path: Where.
    """
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "phonons.yaml"
        phonons.save(plain, settings={"force_constants": True, "force_sets": False, "displacements": False})
        write_atomic(path, [gzip.compress(plain.read_bytes(), mtime=0)])


def main(
    folder: Annotated[Path, typer.Argument(help="Created, or resumed if it exists.")],
    number: Annotated[int, typer.Option("-n", help="How many crystals.")] = 200,
    teacher: Annotated[str, typer.Option(help="Name or file of the model that labels.")] = "nequix-mp-1-pft",
    without: Annotated[list[str] | None, typer.Option(help="Compounds to leave out: Mg-O.")] = None,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
) -> None:
    """Make phonons of crystals like those that nequix-nano was trained on."""
    from rich.console import Console
    from rich.progress import track

    folder.mkdir(parents=True, exist_ok=True)
    potential = load_model(teacher, "torch", dtype="float64")
    drawn = islice(crystals(teach_with(potential), seed, set(without or ())), number)
    console = Console(stderr=True)
    for name, crystal in track(drawn, "phonons", number, console=console, disable=not sys.stderr.isatty()):
        path = folder / f"{name}.yaml.gz"
        if not path.exists():
            phonons = supercell_of(crystal)
            by_displacements(phonons, potential)
            write(phonons, path)


if __name__ == "__main__":
    typer.run(main)
