"""Checks of energies against the composition's baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nequix.data.atom_energies import least_squares
from nequix.data.check_report import Report
from nequix.data.scan_records import Record

if TYPE_CHECKING:
    from jaxtyping import Float

TOLERANCE = 0.5
"""Deviation from the baseline that is always accepted, eV/atom."""

SPREAD = 3.0
"""Times the residual that one structure in fifty exceeds: real sets, bulk and surfaces mixed, stay within."""

_HUBER = 1.345
_ITERATIONS = 30
_SAME_SIGN = 0.9


def baseline_residuals(
    numbers: Sequence[np.ndarray], per_atom: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Subtract atom energies from robust least squares, so that faults do not shift the baseline.

    Args:
        numbers: Atomic numbers of each structure.
        per_atom: Energy per atom of each, eV.

    Returns:
        Residual energies per atom, eV.
    """
    counts = np.array([np.bincount(z, minlength=119) for z in numbers], float)
    fractions = counts[:, counts.any(axis=0)] / counts.sum(axis=1, keepdims=True)
    weights = np.ones(len(per_atom))
    residuals = per_atom
    for _ in range(_ITERATIONS):
        root = np.sqrt(weights)
        energies = least_squares(fractions * root[:, None], per_atom * root)
        residuals = per_atom - fractions @ energies
        weights = 1 / np.maximum(1, np.abs(residuals) / (_HUBER * spread(residuals)))
    return residuals


def spread(residuals: Float[np.ndarray, " n"]) -> float:
    """Estimate a standard deviation robust to outliers; at least 0.001.

    Args:
        residuals: Around zero.
    """
    return 1.4826 * float(np.median(np.abs(residuals))) + 1e-3


def check_energies(records: Sequence[Record], report: Report) -> None:
    """Detect energies per atom instead of total ones, and outliers from their composition's baseline.

    Args:
        records: Records of all structures.
        report: Receives findings.
    """
    known = [r for r in records if np.isfinite(r.energy) and len(r.numbers)]
    n = len(known) if len(known) >= 5 else 0
    energies, sizes = np.array([r.energy for r in known]), np.array([len(r.numbers) for r in known])
    per_atom = bool(n) and _is_per_atom(energies, sizes)
    message = "energies do not grow with the number of atoms: are they per atom? Give totals"
    report.judge("energy-per-atom", "error", message, [r.name for r in known] if per_atom else [], n)
    if not n or per_atom:
        report.judge("energy-baseline", "error", "", [], 0)
        return
    residuals = np.abs(baseline_residuals([r.numbers for r in known], energies / sizes))
    usual = np.sort(residuals)[-1 - max(1, -(-n // 50))]
    limit = TOLERANCE + SPREAD * usual
    names = [f"{r.name} ({x:.2f} eV/atom)" for r, x in zip(known, residuals, strict=True) if x > limit]
    message = (
        f"energies over {limit:.2f} eV/atom away from their composition's baseline; another unit or setting?"
    )
    report.judge("energy-baseline", "error", message, names, n)


def _is_per_atom(energies: Float[np.ndarray, " n"], sizes: np.ndarray) -> bool:
    """Decide from the power of the number of atoms that the energies scale with: one, or zero.

    A few energies of the other sign, e.g. of failed calculations, are left out.
    """
    same = np.sign(energies) == np.sign(np.median(energies))
    energies, sizes = energies[same & (energies != 0)], sizes[same & (energies != 0)]
    if same.mean() < _SAME_SIGN or np.log(sizes).std() < 0.1:
        return False
    power = np.polyfit(np.log(sizes), np.log(np.abs(energies)), 1)[0]
    return bool(power < 0.5)
