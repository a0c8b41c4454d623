"""The data of a run: its sources, and the loaders that give every step its batches."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
from ase.data import chemical_symbols
from jax.sharding import Mesh

from nequix.core.errors import DataError
from nequix.core.spec import ModelSpec
from nequix.data.label_table import ENERGIES, LABELS
from nequix.data.labels import tell_labels, tell_parts, tell_unread
from nequix.data.loader import Loader
from nequix.data.opening import open_source
from nequix.data.sources import FEW, Source, split
from nequix.data.stats import Statistics
from nequix.data.structure import Structure
from nequix.train.config import TrainConfig
from nequix.train.step import spread

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float


_NO_FORCE = 1e-4  # eV/A; what programs leave of forces that are zero by symmetry


class Other(NamedTuple):
    """More training data of every step, beside those that epochs are counted by.

    Attributes:
        loader: Without an end; at the same step as the first data's.
        hessian: Whether they have products of the Hessian.
        atom_energies: eV; subtracted from their energies instead of the model's.
    """

    loader: Loader
    hessian: bool = False
    atom_energies: np.ndarray | None = None


def open_sources(config: TrainConfig) -> tuple[Source, Source | None]:
    """Open the data for training and for validation, if there are any.

    Args:
        config: The run.
    """
    source = open_source(config.data.train, config.data.label_keys)
    if config.data.valid is not None:
        return source, open_source(config.data.valid, config.data.label_keys)
    if config.data.valid_fraction == 0:
        return source, None
    _refuse_repeated(config)
    # Trainings from scratch keep the plain draw: a run that is resumed holds out what it held out before.
    prefer = has_forces if config.forces_first and config.loss.forces > 0 else None
    least = FEW if config.forces_first else 1
    return split(source, config.data.valid_fraction, config.run.seed, prefer, least)


def _refuse_repeated(config: TrainConfig) -> None:
    """Reject a source that is named twice where validation data are split off from the training data."""
    seen: dict[Path, str] = {}
    for name in config.data.train:
        path = Path(name).resolve()
        if path in seen:
            same = "twice" if seen[path] == name else f"and {seen[path]}, which is the same,"
            raise DataError(
                f"data.train names {name} {same} while valid_fraction = {config.data.valid_fraction:g} "
                "splits the data: equal structures would be trained on and validated with; name it once, or "
                "name other structures for validation (data.valid, --valid)"
            )
        seen[path] = name


def held_out(config: TrainConfig) -> Source | None:
    """Open the validation data of a run, if there are any.

    Args:
        config: The run.
    """
    return open_sources(config)[1]


def refuse_unknown(source: Source, found: Statistics, spec: ModelSpec) -> None:
    """Reject data with elements that the model does not know, before any step is taken.

    Args:
        source: The data.
        found: Their statistics.
        spec: Of the model.

    Raises:
        DataError: Naming the elements, and the first structure that has some.
    """
    known = set(spec.atomic_numbers)
    unknown = set(found.atomic_numbers) - known
    if unknown:
        first = next(structure.name for structure in source if not known.issuperset(structure.numbers))
        symbols = ", ".join(chemical_symbols[number] for number in sorted(unknown))
        raise DataError(
            f"{first}: {symbols} unknown to the model; add structures with them to the training data, "
            "leave these out, or choose another seed if validation data were split off"
        )


def name_absent(numbers: Iterable[int], found: Statistics, energies: Mapping[int, float]) -> str | None:
    """Name the elements of a model that no structure for training has.

    Args:
        numbers: Atomic numbers of the model.
        found: Statistics of the training data.
        energies: Atom energies that the configuration states, eV.

    Returns:
        A warning; None if there is no such element without an energy.
    """
    absent = set(numbers) - set(found.atomic_numbers) - set(energies)
    if not absent:
        return None
    symbols = ", ".join(chemical_symbols[number] for number in sorted(absent))
    return (
        f"model.atomic_numbers: no structure for training has {symbols}; the atom energies are 0 eV and "
        "predictions for these elements mean nothing; remove them from the list, or state model.atom_energies"
    )


def refuse_unlabelled(
    source: Source,
    labels: Mapping[str, int],
    config: TrainConfig,
    role: str,
    every: bool,
    named: bool = False,
) -> None:
    """Reject data without a single label of a kind that the loss weighs, before any step is taken.

    A stress may be missing, as molecules and slabs have none, unless its key is named.

    Args:
        source: The data.
        labels: How many structures have which.
        config: The run.
        role: What the data are for.
        every: Whether labels of each kind must be there; otherwise one kind is enough.
        named: Whether those must be there whose key is named.

    Raises:
        DataError: Naming the labels, what else the first structure has, and the keys to set.
    """
    weighed = [label for label in LABELS if getattr(config.loss, label) > 0]
    missing = [label for label in weighed if not labels[label]]
    some = len(missing) < len(weighed)
    if some:
        needed = {"energy", "forces"} if every else set()
        if every or named:
            needed |= set(config.data.label_keys.named())
        missing = [label for label in missing if label in needed]
    if not missing:
        return
    fix = f"name the key in the configuration ({', '.join(f'data.{label}_key' for label in missing)})"
    if some:
        fix += f", or give the term no weight ({', '.join(f'loss.{label}: 0' for label in missing)})"
    raise DataError(
        f"{source.path}: none of {len(source)} structures for {role} has {' or '.join(missing)}; "
        f"{tell_unread(source[0])}; {fix}"
    )


def has_forces(structure: Structure) -> bool:
    """Return whether a structure has forces to compare with; by symmetry they may all be zero.

    Args:
        structure: The structure.
    """
    forces = structure.trusted().forces
    return forces is not None and bool((abs(forces) > _NO_FORCE).any())


def describe_validation(source: Source, found: Statistics, config: TrainConfig) -> str:
    """Describe the validation data, what the best epoch is chosen by, and whether that is left to chance.

    Args:
        source: The data.
        found: Their statistics.
        config: The run.
    """
    present = {**found.labels, "energies": found.n_atom_energies}
    weights = {label: getattr(config.loss, label) or 0 for label in present if present[label]}
    used = ", ".join(f"{label} ({weight:g})" for label, weight in weights.items() if weight > 0)
    doubt = ""
    n_compared = sum(map(has_forces, source)) if found.n_structures < FEW else FEW
    if found.n_structures < FEW or (config.loss.forces > 0 and n_compared < FEW):
        doubt = (
            f"\nwarning: structures for validation: {found.n_structures}, with forces other than zero: "
            f"{n_compared}; the best epoch depends on chance; add structures, or name more for validation "
            "(--valid, data.valid)"
        )
    return (
        f"validation: {found.n_structures} structures, {tell_labels(found.labels)}; the best epoch has the "
        f"smallest loss of {used}{tell_parts(found.parts)}{doubt}"
    )


def refuse_no_atom_energies(
    source: Source, found: Statistics, config: TrainConfig, role: str, every: bool
) -> None:
    """Reject data without energies of atoms if the loss weighs them, before any step is taken.

    Args:
        source: The data.
        found: Their statistics.
        config: The run.
        role: What the data are for.
        every: Whether they must be there; otherwise any other label that is weighed is enough.

    Raises:
        DataError: Saying where they come from.
    """
    others = any(getattr(config.loss, label) > 0 for label in LABELS)
    if config.loss.energies and not found.n_atom_energies and (every or not others):
        raise DataError(
            f"{source.path}: none of {found.n_structures} structures for {role} has {ENERGIES} (eV, of "
            "every atom), which another potential gives; remove loss.energies, or convert the data again if "
            "an older version did"
        )


def own_packs(packs: int) -> range:
    """Return which packs of a batch are for this process's devices.

    Args:
        packs: How many there are.

    Raises:
        DataError: If the devices cannot share them evenly.
    """
    if packs % jax.device_count():
        raise DataError(f"run.packs = {packs} must be a multiple of the {jax.device_count()} devices")
    each = packs * jax.local_device_count() // jax.device_count()
    return range(jax.process_index() * each, (jax.process_index() + 1) * each)


@contextlib.contextmanager
def loading(loader: Loader, others: Sequence[Other]) -> Iterator[None]:
    """End the processes of all loaders afterwards.

    Args:
        loader: Of the data that epochs are counted by.
        others: More training data.
    """
    with contextlib.ExitStack() as stack:
        for each in (loader, *(other.loader for other in others)):
            stack.enter_context(each)
        yield


def take(
    loader: Loader,
    others: Sequence[Other],
    mesh: Mesh,
    dtype: str,
    atom_energies: Float[np.ndarray, " n_species"],
    *,
    energies: bool = False,
) -> tuple[list[str], list[Any]]:
    """Return the names of a step's structures, and all of its data, on the devices.

    Args:
        loader: Of the data that epochs are counted by.
        others: More training data, at the same step.
        mesh: The devices.
        dtype: Precision of the data there.
        atom_energies: eV; subtracted from the energies of all that have none of their own.
        energies: Whether the first loader's data have energies of atoms.
    """
    batches = next(loader)
    placed: list[Any] = [*spread(mesh, batches, dtype, atom_energies, energies=energies)]
    for other in others:
        more = next(other.loader)
        own = atom_energies if other.atom_energies is None else other.atom_energies
        placed.append(spread(mesh, more, dtype, own, hessian=other.hessian))
        batches = batches + more
    return [name for batch in batches for name in batch.names], placed
