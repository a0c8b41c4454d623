"""What a run has relaxed, put beside the reference, and the two files of a submission."""

from __future__ import annotations

import csv
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nequix.core.errors import DataError
from nequix.evaluation.discovery.reference import DECIMALS, Reference, formation_energy
from nequix.evaluation.discovery.structures import ID, to_pymatgen
from nequix.evaluation.run_directory import RunDirectory
from nequix.io.files import write_atomic

if TYPE_CHECKING:
    from jaxtyping import Float, Int

RELAXED = "relaxed-structures.jsonl.gz"
"""The relaxed structures: a record a line."""


@dataclass(frozen=True, eq=False)
class Relaxed:
    """A structure that the model has relaxed.

    Attributes:
        name: Its identifier.
        numbers: Atomic numbers.
        positions: A.
        cell: Rows, A.
        energy: eV.
        converged: Whether the relaxation ended below its threshold.
        steps: Its steps.
    """

    name: str
    numbers: Int[np.ndarray, " n"]
    positions: Float[np.ndarray, "n 3"]
    cell: Float[np.ndarray, "3 3"]
    energy: float
    converged: bool
    steps: int


def read_relaxed(
    stores: Sequence[RunDirectory], items: Iterable[str], failures: dict[str, str]
) -> Iterator[Relaxed]:
    """Read what runs have relaxed, one after the other.

    Args:
        stores: The run, or several of which each has some of the blocks.
        items: The blocks.
        failures: Filled with the reason for each structure, or block, without a result.
    """
    for item in items:
        store = next((store for store in stores if store.done(item)), None)
        if store is None:
            for damaged in (store for store in stores if store.path(item).exists()):
                damaged.read(item)  # says what is wrong
            continue
        outcome = store.read(item)
        if outcome.error is not None:
            failures[item] = outcome.error
            continue
        done = [row for row in outcome.values["structures"] if row["error"] is None]
        failures.update((r["name"], r["error"]) for r in outcome.values["structures"] if r["error"])
        ends = np.cumsum([row["n_atoms"] for row in done], dtype=int)[:-1]
        numbers, positions = (np.split(outcome.arrays[name], ends) for name in ("numbers", "positions"))
        for row, z, r, cell in zip(done, numbers, positions, outcome.arrays["cells"], strict=False):
            yield Relaxed(row["name"], z, r, cell, row["energy"], row["converged"], row["steps"])


def formation_energies(
    relaxed: Iterable[Relaxed], reference: Reference, elements: Mapping[str, float] | None
) -> dict[str, float]:
    """Return the formation energies of relaxed structures of the reference, eV/atom.

    Without energies of the elements, which cancel as the correction does, the formation energy is the
    reference's plus the difference of the total energies.

    Args:
        relaxed: The structures; those that the reference does not have are left out.
        reference: Of the same materials.
        elements: Energies of the elements' reference phases, eV/atom.

    Raises:
        DataError: If there is no energy of an element, or the reference has no total energies.
    """
    rows = {name: row for row, name in enumerate(reference.names)}
    held = {}
    for one in relaxed:
        if one.name not in rows:
            continue
        row = rows[one.name]
        if elements is not None:
            correction = float(reference.correction[row])
            held[one.name] = formation_energy(one.energy, one.numbers.tolist(), elements, correction)
        else:
            difference = one.energy / len(one.numbers) - float(reference.raw[row])
            held[one.name] = float(reference.formation[row]) + difference
        if np.isnan(held[one.name]):
            raise DataError(
                f"{one.name}: the reference lacks what a formation energy needs: "
                "uncorrected_energy and n_sites, or with --elements e_correction_per_atom_mp2020"
            )
    return held


def write_predictions(
    path: Path, model: str, relaxed: Iterable[Relaxed], formation: Mapping[str, float]
) -> None:
    """Write the table of predictions, as Matbench-Discovery takes it.

    Args:
        path: A CSV file.
        model: Name of the model, in the name of the column.
        relaxed: The structures.
        formation: Formation energies by identifier, eV/atom.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([ID, "energy", prediction_column(model), "converged", "n_steps"])
    for one in relaxed:
        energy = formation.get(one.name)
        shown = "" if energy is None else round(energy, DECIMALS)
        table.writerow([one.name, round(one.energy, DECIMALS), shown, one.converged, one.steps])
    write_atomic(path, _compressed([text.getvalue().encode()]))


def write_structures(path: Path, relaxed: Iterable[Relaxed]) -> None:
    """Write relaxed structures, a record with pymatgen's structure a line.

    Args:
        path: A compressed file of JSON lines.
        relaxed: The structures.
    """
    write_atomic(path, _compressed(_line(one) for one in relaxed))


def prediction_column(model: str) -> str:
    """Name the column of the formation energies.

    Args:
        model: Name of the model.
    """
    return "e_form_per_atom_" + re.sub(r"\W+", "_", model)


def _line(one: Relaxed) -> bytes:
    structure = to_pymatgen(one.numbers.tolist(), one.positions, one.cell)
    record = {ID: one.name, "structure": structure, "energy": one.energy}
    return json.dumps({**record, "converged": one.converged, "n_steps": one.steps}).encode() + b"\n"


def _compressed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Compress as gzip does, without the time, so that equal runs make equal files."""
    stream = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    for chunk in chunks:
        yield stream.compress(chunk)
    yield stream.flush()


def aligned(reference: Reference, formation: Mapping[str, float]) -> Any:
    """Return predictions in the reference's order; NaN where there is none.

    Args:
        reference: Its materials.
        formation: By identifier, eV/atom.
    """
    return np.array([round(formation.get(name, np.nan), DECIMALS) for name in reference.names])
