"""Relation of an ensemble's spread to its errors: scales, miscalibration areas, reliability.

For a Gaussian of the right width, a fraction ``p`` of the errors lies in its central interval of probability
``p``; the miscalibration area is the area between the observed fractions and ``p`` (Kuleshov, Fenner, Ermon,
ICML 2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.stats import norm, spearmanr

from nequix.core.errors import DataError
from nequix.data.structure import Structure
from nequix.graphs.results import EnsembleResults
from nequix.io.ensemble import Calibration

if TYPE_CHECKING:
    from jaxtyping import Float
    from matplotlib.figure import Figure

SYMMETRIC = 1e-5
"""eV/A; a smaller spread belongs to a force that is zero by symmetry and says nothing about calibration."""

LEAST = 4
"""Structures with forces that a calibration needs."""

_PARTS = np.linspace(0, 1, 101)
_BINS = 10


@dataclass(frozen=True, eq=False)
class Pairs:
    """Errors and spreads of consecutive structures.

    Attributes:
        errors: Absolute errors of the mean.
        spreads: Standard deviations over the members.
        structure: Index of the structure.
    """

    errors: Float[np.ndarray, " n"]
    spreads: Float[np.ndarray, " n"]
    structure: Float[np.ndarray, " n"]

    def of(self, odd: bool) -> Pairs:
        """Return the pairs of every other structure.

        Args:
            odd: Which half.
        """
        # Counted among labelled structures, so that neither half is empty.
        chosen = np.unique(self.structure, return_inverse=True)[1] % 2 == odd
        return Pairs(self.errors[chosen], self.spreads[chosen], self.structure[chosen])


def force_pairs(structures: Sequence[Structure], predictions: Sequence[EnsembleResults]) -> Pairs:
    """Pair the errors of force components with the spreads of their atoms, eV/A.

    Args:
        structures: Labelled structures.
        predictions: Results of the ensemble for each structure.
    """
    parts = [
        (np.abs(result.mean.forces - s.forces).ravel(), np.repeat(result.forces_spread, 3), number)
        for number, (s, result) in enumerate(zip(structures, predictions, strict=True))
        if s.forces is not None
    ]
    return _joined(parts, SYMMETRIC)


def energy_pairs(structures: Sequence[Structure], predictions: Sequence[EnsembleResults]) -> Pairs:
    """Pair the errors of energies with their spreads, eV/atom.

    Args:
        structures: Labelled structures.
        predictions: Results of the ensemble for each structure.
    """
    parts = [
        (np.abs(r.mean.energy - s.energy) / len(s.numbers), r.energy_spread / len(s.numbers), number)
        for number, (s, r) in enumerate(zip(structures, predictions, strict=True))
        if s.energy is not None
    ]
    return _joined(parts, 0.0)


def _joined(parts: Sequence[tuple[np.ndarray, np.ndarray, int]], least: float) -> Pairs:
    errors, spreads = (np.concatenate([np.zeros(0), *(part[i] for part in parts)]) for i in (0, 1))
    structure = np.concatenate([np.zeros(0), *(np.full(len(part[0]), part[2]) for part in parts)])
    known = spreads > least
    return Pairs(errors[known], spreads[known], structure[known])


def coverage(pairs: Pairs, scale: float = 1.0) -> Float[np.ndarray, " n_parts"]:
    """Return the fraction of errors within the central intervals of probability 0, 0.01, ..., 1.

    Args:
        pairs: Errors and spreads.
        scale: Factor of the spreads.
    """
    ratios = np.sort(pairs.errors / (scale * pairs.spreads))
    return np.searchsorted(ratios, norm.ppf((1 + _PARTS) / 2), side="right") / len(ratios)


def miscalibration_area(pairs: Pairs, scale: float = 1.0) -> float:
    """Return the area between the observed and the expected coverage: 0 at best, 0.5 at worst.

    Args:
        pairs: Errors and spreads.
        scale: Factor of the spreads.
    """
    return float(np.trapezoid(np.abs(coverage(pairs, scale) - _PARTS), _PARTS))


def fit_scale(pairs: Pairs) -> float:
    """Return the factor of the spreads that minimises the miscalibration area.

    Args:
        pairs: Errors and spreads.
    """
    # The median by itself gives a factor that is right for half of the errors; the area depends on all of
    # them.
    start = np.log(max(float(np.median(pairs.errors / pairs.spreads)), 1e-6) / norm.ppf(0.75))
    found = minimize_scalar(
        lambda x: miscalibration_area(pairs, np.exp(x)), bounds=(start - 2, start + 2), method="bounded"
    )
    return float(np.exp(found.x))  # pyright: ignore[reportAttributeAccessIssue]


def calibrate(
    data: str, structures: Sequence[Structure], predictions: Sequence[EnsembleResults]
) -> Calibration:
    """Relate spreads to errors on held-out structures.

    Args:
        data: Name of the data.
        structures: Labelled structures.
        predictions: Results of the ensemble for each structure.

    Raises:
        DataError: If there are too few labels.
    """
    forces, energy = force_pairs(structures, predictions), energy_pairs(structures, predictions)
    for name, pairs in (("forces", forces), ("energies", energy)):
        n = len(np.unique(pairs.structure))
        if n < LEAST:
            raise DataError(
                f"{data}: {n} structures with {name} that members disagree on, expected at least {LEAST} for "
                "a calibration; give more with --valid"
            )
    rank = spearmanr(forces.spreads, forces.errors).statistic  # pyright: ignore[reportAttributeAccessIssue]
    return Calibration(
        data=data,
        n_structures=len(structures),
        n_components=len(forces.errors),
        forces_scale=fit_scale(forces),
        forces_area=miscalibration_area(forces),
        forces_area_scaled=_held_out_area(forces),
        forces_limit=float(forces.spreads.max()),
        forces_rank_correlation=float(rank),
        energy_scale=fit_scale(energy),
        energy_area=miscalibration_area(energy),
        energy_area_scaled=_held_out_area(energy),
        energy_limit=float(energy.spreads.max()),
    )


def _held_out_area(pairs: Pairs) -> float:
    """Fit the scale to each half of the structures and evaluate it on the other."""
    return float(
        np.mean([miscalibration_area(pairs.of(odd), fit_scale(pairs.of(not odd))) for odd in (False, True)])
    )


def reliability(calibration: Calibration, forces: Pairs, energy: Pairs) -> Figure:
    """Draw coverage, and errors by spread, of forces and energies.

    Args:
        calibration: Gives the scales.
        forces: eV/A.
        energy: eV/atom.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, StrMethodFormatter

    figure = Figure((11, 3.4), layout="constrained")
    covered, *binned = figure.subplots(1, 3)
    for color, (name, pairs) in zip(("C0", "C1"), {"forces": forces, "energy": energy}.items(), strict=True):
        scale = getattr(calibration, f"{name}_scale")
        covered.plot(_PARTS, coverage(pairs), color, ls=":", label=f"{name}, raw")
        covered.plot(_PARTS, coverage(pairs, scale), color, label=f"{name}, times {scale:.2g}")
    covered.plot([0, 1], [0, 1], "0.6", lw=0.8)
    covered.set(xlabel="probability of the interval", ylabel="fraction of errors within")
    covered.legend(fontsize="small", frameon=False)
    for axes, pairs, scale, unit in (
        (binned[0], forces, calibration.forces_scale, "force component (meV/A)"),
        (binned[1], energy, calibration.energy_scale, "energy (meV/atom)"),
    ):
        order = np.array_split(np.argsort(pairs.spreads), min(_BINS, len(pairs.spreads)))
        rms = [[np.sqrt(np.mean(x[part] ** 2)) for part in order] for x in (pairs.spreads, pairs.errors)]
        axes.loglog(1000 * scale * np.array(rms[0]), 1000 * np.array(rms[1]), "o-")
        ends = 1000 * np.array([min(min(rms[1]), scale * min(rms[0])), max(max(rms[1]), scale * max(rms[0]))])
        axes.plot(ends, ends, "0.6", lw=0.8)
        axes.set(xlabel=f"RMS spread, calibrated: {unit}", ylabel=f"RMS error: {unit}")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.set_minor_formatter("")
    return figure
