"""Checks of the unit of energies: against forces, a fitted pair potential, a model, and other data sets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nequix.data.check_energies import baseline_residuals, spread
from nequix.data.check_report import Report
from nequix.data.scan_records import Record
from nequix.data.structure import Structure

if TYPE_CHECKING:
    from jaxtyping import Float

    from nequix.graphs.results import Results

    Pair = tuple[Structure, Results]

UNITS = {
    "Hartree": 27.211386,
    "Rydberg": 13.605693,
    "kcal/mol": 0.0433641,
    "kJ/mol": 0.01036427,
}
"""Units of energy in eV."""

FORCE_UNITS = {"eV/A": 1.0, "Hartree/Bohr": 51.422067, "Rydberg/Bohr": 25.711034, "kcal/mol/A": 0.0433641}
"""Units of force in eV/A."""

SLOPES = (0.25, 4.0)
"""Energies' slope against a model's: the units are a factor of 13 and more away."""

WORK = (0.6, 1.5)
"""Energy differences over the forces' work: of real sets the quartiles are between 0.63 and 1.66."""

FITTED = (1 / 8, 8.0)
"""The same against a fitted pair potential, which leaves out what is not a pair's: between 0.15 and 3.8."""

DIVERSE = 20
"""Elements from which a data set's spread of energies follows from chemistry; twice as many compositions."""

SPREADS = (0.08, 3.0)
"""eV/atom around fitted atom energies: MPtrj's sample has 0.47, Alexandria's 0.47, WBM's 0.24."""

LEAST = 5
"""Structures, or pairs of them, that a judgement takes."""

_CORRELATED = 0.7
_WEAKLY_CORRELATED = 0.5  # against a model, with many structures: relaxed alloys and nequix-mp-1 have 0.7
_MANY = 40
_LEAST_CHANGE = 1e-3  # eV/atom
_SAME_VOLUME = 0.005
_NEAR = 40  # structures that one is compared with


def name_unit(factor: float) -> str:
    """Name the unit of energies that are a given factor larger than in eV.

    Args:
        factor: What was measured, to a factor of about 1.4.
    """
    unit = min(UNITS, key=lambda name: abs(np.log(abs(factor) * UNITS[name])))
    if abs(np.log(abs(factor) * UNITS[unit])) > np.log(1.4):
        return "are they in eV?"
    return f"are they in {unit}? Multiply by {UNITS[unit]:.6g}"


def check_spread(records: Sequence[Record], report: Report) -> None:
    """Judge the spread of energies of many elements, which chemistry fixes whatever the atom energies.

    Args:
        records: Of all structures.
        report: Receives findings.
    """
    known = [r for r in records if np.isfinite(r.energy) and len(r.numbers)]
    elements = {int(z) for r in known for z in np.unique(r.numbers)}
    formulas = {_composition(r.numbers) for r in known}
    if len(elements) < DIVERSE or len(formulas) < 2 * len(elements):
        report.judge("energy-spread", "error", "", [], 0)
        return
    per_atom = np.array([r.energy / len(r.numbers) for r in known])
    size = spread(baseline_residuals([r.numbers for r in known], per_atom))
    names = [] if SPREADS[0] < size < SPREADS[1] else [r.name for r in known]
    likely = "Hartree or Rydberg" if size < SPREADS[0] else "kcal/mol or kJ/mol"
    message = (
        f"energies of {len(formulas)} compositions spread by {size:.2g} eV/atom around fitted atom energies, "
        f"expected 0.2 to 0.5: are they in {likely}? Give eV"
    )
    report.judge("energy-spread", "error", message, names, len(known))


def check_work(changes: Sequence[tuple[float, float]], names: Sequence[str], report: Report) -> None:
    """Compare differences of energies with the work of forces and stress between near structures.

    Args:
        changes: Difference of the energies and the work, eV/atom, of pairs of structures.
        names: Of the structures with energies and forces.
        report: Receives findings and what could not be checked.
    """
    large = np.array([change for change in changes if abs(change[1]) > 0]).reshape(-1, 2)
    if len(large):
        # Both may be in another unit: what is large is measured by the work itself.
        work = np.abs(large[:, 1])
        large = large[work >= np.quantile(work, 0.25)]
    enough = len(large) >= LEAST and np.median(np.abs(large).max(axis=1)) > _LEAST_CHANGE
    if not enough:
        report.notes.append(
            f"energies against the forces' work: not checked, {len(large)} pairs of near structures, "
            f"{LEAST} are needed"
        )
        report.judge("energy-work", "error", "", [], 0)
        return
    low, middle, high = np.quantile(large[:, 0] / large[:, 1], [0.25, 0.5, 0.75])
    outside = high < WORK[0] or low > WORK[1]
    message = (
        f"energies change by {middle:.3g} times the work of forces and stress between {len(large)} pairs of "
        f"near structures: {_name_both(float(middle))}"
    )
    report.judge("energy-work", "error", message, names if outside else [], len(names))


def check_fitted(pairs: Sequence[Pair], agreement: float, report: Report) -> None:
    """Compare differences of energies at one volume and composition with those of the fitted pair potential.

    Args:
        pairs: Structures and what the fit predicts.
        agreement: Median cosine between the labelled forces and those of the fit.
        report: Receives findings.
    """
    groups: dict[bytes, list[tuple[float, float, float]]] = defaultdict(list)
    for s, r in pairs:
        if s.energy is not None:
            n = len(s.numbers)
            groups[_composition(s.numbers)].append((s.energy / n, float(r.energy[0]) / n, s.volume / n))
    differences = [
        (other[0] - one[0], other[1] - one[1])
        for group in groups.values()
        for i, one in enumerate(group)
        for other in group[i + 1 : i + 1 + _NEAR]
        if abs(other[2] - one[2]) <= _SAME_VOLUME * max(one[2], other[2])
    ]
    slope, n = _slope(np.array(differences).reshape(-1, 2)), len(differences)
    known = slope is not None and agreement >= 0.9 and n >= 4 * LEAST
    outside = known and not FITTED[0] < abs(slope or 1.0) < FITTED[1]
    message = (
        f"energies change {slope or 0:.3g} times as much as those of a pair potential that fits the forces: "
        "are they in eV, and the forces in eV/A?"
    )
    names = [s.name for s, _ in pairs if s.energy is not None]
    report.judge("energy-fit", "error", message, names if outside else [], len(names) if known else 0)


def check_slope(pairs: Sequence[Pair], report: Report) -> bool:
    """Compare the unit of energies with a model's, whatever the atom energies.

    Args:
        pairs: Structures and the model's predictions.
        report: Receives findings.

    Returns:
        Whether the unit is another one.
    """
    labelled = [(s.name, s.numbers, s.energy, float(r.energy[0])) for s, r in pairs if s.energy is not None]
    numbers = [z for _, z, *_ in labelled]
    slope = None
    if len(labelled) >= LEAST:
        sizes = np.array([len(z) for z in numbers])
        both = [
            baseline_residuals(numbers, np.array([row[column] for row in labelled]) / sizes)
            for column in (2, 3)
        ]
        least = _WEAKLY_CORRELATED if len(labelled) >= _MANY else _CORRELATED
        slope = _slope(np.array(both).T, least)
    wrong = slope is not None and not SLOPES[0] < slope < SLOPES[1]
    message = f"energies change {slope or 0:.3g} times as much as the reference's: {name_unit(slope or 1)}"
    names = [name for name, *_ in labelled] if wrong else []
    report.judge("energy-unit-reference", "error", message, names, 0 if slope is None else len(labelled))
    return wrong


def _slope(values: Float[np.ndarray, "n 2"], correlated: float = _CORRELATED) -> float | None:
    """Return the median ratio of the first to the second where that is large; None without correlation."""
    from scipy.stats import rankdata

    if len(values) < LEAST or not (np.ptp(values, axis=0) > 0).all():
        return None
    large = np.abs(values[:, 1]) >= max(float(np.median(np.abs(values[:, 1]))), _LEAST_CHANGE)
    if large.sum() < LEAST or abs(np.corrcoef(rankdata(values, axis=0).T)[0, 1]) < correlated:
        return None
    return float(np.median(values[large, 0] / values[large, 1]))


def _name_both(ratio: float) -> str:
    """Name the units of energies and forces of which the ratio follows."""
    if ratio < 0:
        return "are the forces gradients, of the opposite sign?"
    energies = {"eV": 1.0, **UNITS}
    fits = {
        f"energies in {energy} and forces in {force}": abs(np.log(ratio * size / strength))
        for energy, size in energies.items()
        for force, strength in FORCE_UNITS.items()
        if (energy, force) != ("eV", "eV/A")
    }
    near = sorted((name for name in fits if fits[name] < np.log(1.3)), key=fits.__getitem__)
    return f"as with {', or '.join(near[:3])}; give eV and eV/A" if near else "give eV and eV/A"


def _composition(numbers: np.ndarray) -> bytes:
    elements, counts = np.unique(numbers, return_counts=True)
    return elements.astype(np.int64).tobytes() + (counts // np.gcd.reduce(counts)).astype(np.int64).tobytes()
