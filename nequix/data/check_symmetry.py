"""Checks of forces and stress against the symmetry of their own crystal, which need no reference.

Rotations that map a crystal onto itself must map its forces and its stress onto themselves. Forces in another
order than their atoms, and stress components in another order, break this.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from nequix.data.check_forces import spread_evenly
from nequix.data.check_report import Report
from nequix.data.check_stress import ORDERS, SHEAR, USUAL_ORDER, tell_order
from nequix.data.scan_records import Record
from nequix.data.sources import Source, StreamError
from nequix.data.structure import Structure
from nequix.io.installation import install_command

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    Operation = tuple[Float[np.ndarray, "3 3"], Int[np.ndarray, " n"]]

JUDGED, ATOMS = 1000, 200
"""Structures that are judged, evenly spread, and the most atoms that each may have."""

BROKEN = 0.3
"""Part of the forces that symmetry removes. Of 720 real structures, magnetic ones among them, the largest is
0.13; of the same with permuted forces, 95 in 100 have more."""

LARGE = 0.1
"""Largest force that symmetry removes, eV/A, from which it is a fault."""

SHEARED = 1e-4
"""eV/A^3, from which an off-diagonal stress is judged."""

LEAST = 5
"""Structures in which the orders of components differ that a judgement takes."""

_TELLING = 0.3  # how much the part that symmetry removes differs between orders
_WRONG, _RIGHT = 0.25, 0.1  # means: of real sets 0.00 to 0.04 in the usual order, 0.46 and more in others
_TOLERANCE = 1e-3  # A


def check_symmetry(records: Sequence[Record], source: Source, report: Report) -> None:
    """Find forces and stresses that do not have the symmetry of their crystal.

    Args:
        records: Of all structures.
        source: Where the structures are.
        report: Receives findings, or why nothing was checked.
    """
    broken: list[str] = []
    n_forces, names, residuals = 0, [], []
    for structure, rotations in _symmetric(records, source, report):
        if structure.forces is not None and np.abs(structure.forces).max() > LARGE:
            n_forces += 1
            part, largest = _removed_forces(structure.forces, rotations)
            if part > BROKEN and largest > LARGE:
                broken.append(f"{structure.name} ({largest:.3g} eV/A)")
        if structure.stress is not None:
            row = _removed_shear(structure.stress, [rotation for rotation, _ in rotations])
            if row is not None:
                names.append(structure.name)
                residuals.append(row)
    report.judge(
        "forces-symmetry",
        "error",
        "forces break the symmetry of their crystal: are the atoms in another order than their forces? "
        "Leave these structures out",
        broken,
        n_forces,
    )
    _judge_order(np.array(residuals).reshape(-1, len(ORDERS)), names, report)


def _judge_order(residuals: Float[np.ndarray, "n 6"], names: list[str], report: Report) -> None:
    n = len(residuals)
    means = dict(zip(ORDERS, residuals.mean(axis=0) if n else np.zeros(len(ORDERS)), strict=True))
    best = min(means, key=means.__getitem__)
    wrong = n >= LEAST and means[USUAL_ORDER] > _WRONG and means[best] < _RIGHT
    message = tell_order(best, f"the symmetry of {n} crystals")
    report.judge("stress-order", "error", message, names if wrong else [], n if n >= LEAST else 0)


def _symmetric(
    records: Sequence[Record], source: Source, report: Report
) -> Iterator[tuple[Structure, list[Operation]]]:
    """Yield crystals with at least two rotations (Cartesian), each with the atoms that it maps atoms to."""
    usable = [
        r.index
        for r in records
        if r.three_dimensional and not (r.problem or r.not_finite) and 1 < len(r.numbers) <= ATOMS
    ]
    usable = [usable[position] for position in spread_evenly(len(usable), JUDGED)]
    try:
        import spglib  # noqa: F401
    except ImportError:
        report.notes.append(f"symmetry of forces and stress: not checked; {install_command('evaluate')}")
        return
    try:
        for index in usable:
            structure = source[index]
            rotations = _rotations(structure)
            if len(rotations) > 1:
                yield structure, rotations
    except StreamError as error:
        report.notes.append(f"symmetry of forces and stress: not checked, {error}")


def _rotations(structure: Structure) -> list[Operation]:
    import spglib

    inverse = np.linalg.inv(structure.cell)
    fractions = structure.positions @ inverse
    cell: Any = (structure.cell, fractions, structure.numbers)
    try:
        with _quiet():
            found = spglib.get_symmetry(cell, symprec=_TOLERANCE)
    except getattr(spglib, "SpglibError", RuntimeError):  # since 2.7; before, the result is None
        found = None
    if found is None:
        return []
    matrices, firsts = np.unique(found["rotations"], axis=0, return_index=True)
    operations = []
    for matrix, shift in zip(matrices, found["translations"][firsts], strict=True):
        apart = (fractions @ matrix.T + shift)[:, None] - fractions
        apart -= np.round(apart)
        images = np.linalg.norm(apart @ structure.cell, axis=2).argmin(axis=1)
        operations.append((structure.cell.T @ matrix @ inverse.T, images))
    return operations


def _removed_forces(forces: Float[np.ndarray, "n 3"], rotations: list[Operation]) -> tuple[float, float]:
    """Return the part of the forces that the symmetry removes, and the largest such force, eV/A."""
    mean = np.zeros_like(forces)
    for rotation, images in rotations:
        mean[images] += forces @ rotation.T / len(rotations)
    removed = forces - mean
    return (
        float(np.linalg.norm(removed) / np.linalg.norm(forces)),
        float(np.linalg.norm(removed, axis=1).max()),
    )


def _removed_shear(stress: Float[np.ndarray, "3 3"], rotations: list[Any]) -> list[float] | None:
    """Return the part of the shear that the symmetry removes in each order; None if that tells nothing."""
    shear = np.array([stress[place] for place in SHEAR])
    size = float(np.linalg.norm(shear))
    if size < SHEARED:
        return None
    turns = np.array(rotations)
    row = []
    for order in ORDERS:
        tensor = np.diag(np.diagonal(stress))
        for (i, j), value in zip(SHEAR, shear[np.argsort(order)], strict=True):
            tensor[i, j] = tensor[j, i] = value
        mean = (turns @ tensor @ turns.transpose(0, 2, 1)).mean(axis=0)
        row.append(min(1.0, float(np.linalg.norm(tensor - mean)) / size))
    return row if np.ptp(row) > _TELLING else None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep spglib from writing to the terminal about each structure, and from warning of its own future."""
    before = os.environ.get("SPGLIB_WARNING")
    os.environ["SPGLIB_WARNING"] = "OFF"
    try:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            yield
    finally:
        if before is None:
            del os.environ["SPGLIB_WARNING"]
        else:
            os.environ["SPGLIB_WARNING"] = before
