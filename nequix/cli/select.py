"""The command that chooses which structures to label next: ``nequix select``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nequix.cli.coverage import ReferenceOption
from nequix.cli.inputs import require_files
from nequix.cli.label_options import ForcesKey
from nequix.cli.options import Force, Model, execution_options, make_calculator
from nequix.core.errors import DataError, WeightsError
from nequix.execution import DEFAULT, Execution

if TYPE_CHECKING:
    import numpy as np
    from ase import Atoms

    from nequix.coverage.reference import Reference
    from nequix.data.structure import Structure
    from nequix.io.weights import Weights


class Strategy(StrEnum):
    """What ``--strategy`` takes (:data:`nequix.coverage.select.STRATEGIES`)."""

    clusters = "clusters"
    farthest = "farthest"
    gaps = "gaps"
    ensemble = "ensemble"
    random = "random"


@execution_options(threads=None)
def select(
    candidates: Annotated[list[Path], typer.Argument(help="Structures of any format that ASE reads.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The chosen structures: an .extxyz file.")],
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="How many to choose.")],
    strategy: Annotated[
        Strategy, typer.Option(help="Selection strategy; see docs/coverage.md.")
    ] = Strategy.clusters,
    known: Annotated[
        list[Path] | None, typer.Option(help="Structures that are already labelled; may be repeated.")
    ] = None,
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="Skip candidates that already have forces.")
    ] = False,
    forces_key: ForcesKey = None,
    spread: Annotated[
        str | None, typer.Option(help="Key of an ensemble's spread in CANDIDATES: an array or one number.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the strategies clusters and random.")] = 0,
    reference: ReferenceOption = None,
    model: Model = "nequix-mp-1",
    execution: Execution = DEFAULT,
    force: Force = False,
) -> None:
    """Choose the structures to label next. Reasons are recorded, and existing labels kept."""
    from nequix.cli.frames import WITH_RESULTS, check_target, write_frames
    from nequix.coverage.select import select as choose
    from nequix.data.frames import read_frames
    from nequix.data.label_keys import LabelKeys
    from nequix.data.opening import read_structures
    from nequix.data.structure import from_atoms
    from nequix.io.tables import format_table
    from nequix.workflows.models import load_for

    require_files(candidates, known, reference and [reference])
    check_target(output, [*candidates, *(known or [])], force, WITH_RESULTS)
    frames: list[Atoms] = []
    names: list[str] = []
    for path in candidates:
        for index, atoms in enumerate(read_frames(path)):
            frames.append(atoms)
            names.append(f"{path.name} {index}")
    keys = LabelKeys.of(forces=forces_key)
    labelled = list(read_structures(known or [], keys=keys))
    structures = [from_atoms(atoms, name, keys) for atoms, name in zip(frames, names, strict=True)]
    kept = _candidates(structures, labelled, unlabelled)
    if len(kept) < len(frames):
        print(f"{len(frames) - len(kept)} of {len(frames)} candidates are already labelled and left out")
        frames, names = [frames[i] for i in kept], [names[i] for i in kept]
        structures = [structures[i] for i in kept]
    weights = None if strategy in (Strategy.random, Strategy.ensemble) else load_for(model, execution)
    potential = None
    if strategy in (Strategy.clusters, Strategy.farthest):
        potential = make_calculator(model, execution, weights=weights).potential
    choices = choose(
        str(strategy),
        structures,
        number,
        potential=potential,
        reference=None if weights is None else _reference(model, weights, reference, strategy),
        # Clusters are chosen among the candidates only.
        known=[] if strategy == Strategy.clusters else labelled,
        spreads=None
        if spread is None
        else [spread_of(*pair, spread) for pair in zip(frames, names, strict=True)],
        seed=seed,
    )
    chosen = []
    for rank, choice in enumerate(choices, 1):
        atoms = frames[choice.index]
        atoms.info.update(select_rank=rank, select_from=names[choice.index], select_reason=choice.reason)
        chosen.append(atoms)
    write_frames(output, chosen)
    rows = [(rank, names[choice.index], choice.reason) for rank, choice in enumerate(choices, 1)]
    print(format_table(("rank", "structure", "reason"), rows))
    print(f"{output}: {len(chosen)} of {len(frames)} structures, {strategy}")


def _candidates(structures: list[Structure], labelled: list[Structure], unlabelled: bool) -> list[int]:
    """Return the indices of the candidates that are not among the labelled structures."""
    from nequix.data.scan_records import identify

    known = {identify(structure) for structure in labelled}
    kept = [
        index
        for index, structure in enumerate(structures)
        if identify(structure) not in known and not (unlabelled and structure.forces is not None)
    ]
    if not kept:
        raise DataError("all candidates are already labelled; give others")
    return kept


def _reference(model: str, weights: Weights, path: Path | None, strategy: Strategy) -> Reference | None:
    """Read the reference; only gaps cannot do without."""
    from nequix.coverage.sidecar import find_reference

    try:
        return find_reference(model, weights, path)
    except WeightsError:
        if strategy == Strategy.gaps or path is not None:
            raise
        return None


def spread_of(atoms: Atoms, name: str, key: str) -> np.ndarray:
    """Find an ensemble's spread in a structure: an array, the results of a calculator, or info.

    Args:
        atoms: The structure.
        name: Name of the structure in messages.
        key: Key of the spread.

    Raises:
        DataError: If it is missing or not a spread.
    """
    import numpy as np

    for place in (atoms.arrays, getattr(atoms.calc, "results", {}), atoms.info):
        if key in place:
            found = np.asarray(place[key])
            if found.dtype.kind not in "iuf" or not (np.isfinite(found) & (found >= 0)).all():
                raise DataError(
                    f"{name}: {key!r} is {found.ravel()[:3].tolist()}, expected finite numbers that are not "
                    "negative; name the key of a spread, or predict this structure again"
                )
            return found.astype(float)
    raise DataError(
        f"{name}: has no {key!r}; `nequix predict --model ENSEMBLE`, the folder of an ensemble, writes "
        "forces_spread and energy_spread; or name another key"
    )
