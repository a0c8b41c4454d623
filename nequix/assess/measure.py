"""Errors on labelled snapshots, with intervals from a bootstrap over structures."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nequix.assess.kinds import Kind
from nequix.assess.thresholds import Thresholds
from nequix.core.errors import DataError, GraphError
from nequix.data.atom_energies import SINGULAR
from nequix.data.batch import graph_of
from nequix.data.structure import Structure, refuse_not_finite
from nequix.graphs.batches import evaluate_graphs
from nequix.graphs.graph import Graph
from nequix.metrics import errors as metrics
from nequix.metrics.predictions import Predictions

if TYPE_CHECKING:
    from jaxtyping import Float

    from nequix.potential import Potential

FEW = 5
"""Number of structures below which a bootstrap over them is unreliable."""

EACH = 3
"""Energies per fitted offset below which errors and offsets cannot be distinguished."""

ALONE = 1e-6
"""One minus the leverage of a snapshot that determines an offset by itself, with rounding."""


@dataclass(frozen=True)
class Estimate:
    """A mean absolute error.

    Attributes:
        value: meV/atom, meV/A or GPa; None without labels.
        low: Lower end of its interval; None without one, e.g. for a single structure.
        high: Upper end of its interval.
        n: Number of structures that it is measured on.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0

    @property
    def lower(self) -> float:
        """The lower end, or the value itself, or minus infinity."""
        return -np.inf if self.value is None else self.value if self.low is None else self.low

    @property
    def upper(self) -> float:
        """The upper end, or the value itself, or infinity."""
        return np.inf if self.value is None else self.value if self.high is None else self.high


@dataclass(frozen=True, eq=False)
class Measured:
    """Errors of a model on labelled snapshots.

    Attributes:
        energy: Per atom, as the labels count, meV/atom.
        energy_without_offsets: The same without one offset per element, meV/atom; None for too few energies.
        forces: Components, meV/A.
        stress: Components, GPa.
        offsets: Of each atomic number, eV: prediction minus label.
        force_size: Mean absolute component of the labelled forces, meV/A: the error of predicting no forces.
        predictions: Labels and predictions.
        failures: Name and reason of structures that the model cannot evaluate.
        notes: What the labels leave unknown.
        with_forces: Indices of the structures with a force error.
        kinds: The force errors by the size of the predicted forces.
    """

    energy: Estimate
    energy_without_offsets: Estimate
    forces: Estimate
    stress: Estimate
    offsets: dict[int, float]
    force_size: float | None
    predictions: Predictions
    failures: list[list[str]]
    notes: list[str]
    with_forces: tuple[int, ...] = ()
    kinds: tuple[Kind, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """List the numbers, as JSON can hold them."""
        names = ("energy", "energy_without_offsets", "forces", "stress")
        return {
            **{name: vars(getattr(self, name)) for name in names},
            "offsets": {str(number): offset for number, offset in self.offsets.items()},
            "force_size": self.force_size,
            "n_structures": len(self.predictions.names),
            "failures": self.failures,
            "notes": self.notes,
            "kinds": [kind.to_dict() for kind in self.kinds],
        }


def measure(structures: Iterable[Structure], potential: Potential, protocol: Thresholds) -> Measured:
    """Evaluate labelled snapshots and their errors.

    Args:
        structures: With labels; missing ones, and those of weight zero, are left out.
        potential: The model.
        protocol: How errors are sampled.
    """
    predictions, failures, kept = _predict(structures, potential)
    offsets = metrics.without_offsets(predictions)[1]
    sampler = _Sampler(predictions, protocol)
    energy = 1e3 * metrics.energy_errors(predictions)
    n_energies = int(np.isfinite(energy).sum())
    left, n_offsets = _without_offsets(predictions)
    without = Estimate(None, n=n_energies)
    if n_energies and n_energies >= EACH * n_offsets:
        without = sampler.of_structures(1e3 * np.abs(left))
    difference = 1e3 * (predictions.predicted_forces - predictions.forces)
    stress = 160.21766208 * (predictions.predicted_stress - predictions.stress)
    known = np.abs(predictions.forces[np.isfinite(predictions.forces)])
    return Measured(
        sampler.of_structures(np.abs(energy)),
        without,
        sampler.of_atoms(np.abs(difference)),
        sampler.of_structures(np.abs(stress)),
        offsets,
        float(1e3 * known.mean()) if known.size else None,
        predictions,
        failures,
        _notes(predictions, n_energies, n_offsets),
        _with_forces(predictions, kept),
        _kinds(predictions, protocol),
    )


def _kinds(predictions: Predictions, protocol: Thresholds) -> tuple[Kind, ...]:
    """Measure force errors of snapshots with forces of about one size; see ``metrics.BANDS``."""
    sizes = metrics.predicted_sizes(predictions)
    kinds = []
    for low, high in metrics.BANDS:
        some = np.flatnonzero((sizes >= low) & (sizes < high))
        if some.size:
            part = predictions.take(some)
            errors = 1e3 * np.abs(part.predicted_forces - part.forces)
            size = 1e3 * float(np.nanmean(np.abs(part.forces)))
            kinds.append(Kind(1e3 * low, 1e3 * high, _Sampler(part, protocol).of_atoms(errors), size))
    return tuple(kinds)


def _predict(
    structures: Iterable[Structure], potential: Potential
) -> tuple[Predictions, list[list[str]], list[int]]:
    """Evaluate structures; also return the failures and the indices of the others."""
    kept: dict[int, Structure] = {}
    graphs: list[Graph] = []
    failures: list[list[str]] = []
    for index, structure in enumerate(structures):
        try:
            refuse_not_finite(structure)
            graphs.append(graph_of(structure, potential.spec))
            kept[index] = structure
        except (DataError, GraphError) as error:
            failures.append([structure.name, str(error)])
    parts = [
        Predictions.of(structure, float(results.energy[0]), results.forces, results.stress[0])
        for structure, results in zip(kept.values(), evaluate_graphs(potential, graphs), strict=True)
    ]
    return Predictions.join(parts), failures, list(kept)


def _with_forces(predictions: Predictions, kept: list[int]) -> tuple[int, ...]:
    known = np.isfinite(predictions.forces).all(axis=1)
    n_known = np.bincount(predictions.atom_structure, known, len(predictions.names))
    return tuple(index for index, n in zip(kept, n_known.tolist(), strict=True) if n)


def _without_offsets(predictions: Predictions) -> tuple[Float[np.ndarray, " n"], int]:
    """Return the energy errors after removing an offset per element, eV/atom, and the number of offsets.

    The fit reduces errors, most for snapshots with a large leverage ``h``: a residual has ``1 - h`` of its
    variance and is divided by the square root of that. Snapshots that determine an
    offset by themselves are NaN. Offsets count by the rank of the fit: of a single composition there is one.
    """
    errors = metrics.energy_errors(predictions)
    fractions = metrics.compositions(predictions)[1]
    known, left = np.isfinite(errors), np.full(len(errors), np.nan)
    if not known.any():
        return left, 0
    basis, sizes, _ = np.linalg.svd(fractions[known], full_matrices=False)
    basis = basis[:, sizes > SINGULAR * sizes[0]]
    free = 1 - (basis**2).sum(axis=1)
    free[free < ALONE] = np.nan
    left[known] = (errors[known] - basis @ (basis.T @ errors[known])) / np.sqrt(free)
    return left, basis.shape[1]


class _Sampler:
    """Bootstrap samples of structures."""

    def __init__(self, predictions: Predictions, protocol: Thresholds) -> None:
        self.predictions, self.protocol = predictions, protocol
        n = len(predictions.names)
        rng = np.random.default_rng(protocol.seed)
        self.draws = [rng.integers(n, size=n) for _ in range(protocol.samples if n > 1 else 0)]

    def of_structures(self, errors: Float[np.ndarray, "n ..."]) -> Estimate:
        """Estimate a mean over structures, or over components of structures."""
        flat = errors.reshape(len(errors), math.prod(errors.shape[1:]))  # also of no structure
        known = np.isfinite(flat)
        return self._weighted(np.where(known, flat, 0).sum(axis=1), known.sum(axis=1))

    def of_atoms(self, errors: Float[np.ndarray, "n_atoms 3"]) -> Estimate:
        """Estimate a mean over components of atoms."""
        owner, n = self.predictions.atom_structure, len(self.predictions.names)
        known = np.isfinite(errors)
        sums = np.bincount(owner, np.where(known, errors, 0).sum(axis=1), n)
        return self._weighted(sums, np.bincount(owner, known.sum(axis=1), n))

    def _weighted(self, sums: Float[np.ndarray, " n"], counts: Float[np.ndarray, " n"]) -> Estimate:
        if not counts.sum():
            return Estimate(None)
        drawn = [sums[d].sum() / counts[d].sum() for d in self.draws if counts[d].sum()]
        return self._interval(sums.sum() / counts.sum(), drawn, int((counts > 0).sum()))

    def _interval(self, value: float, drawn: list[float], n: int) -> Estimate:
        if n < 2 or not drawn:
            return Estimate(float(value), n=n)
        tail = (1 - self.protocol.confidence) / 2
        low, high = np.quantile(drawn, [tail, 1 - tail])
        return Estimate(float(value), float(low), float(high), n)


def _notes(predictions: Predictions, n_energies: int, n_offsets: int) -> list[str]:
    """List what the labels leave unknown."""
    p, notes = predictions, []
    n = len(p.names)
    if not n:
        return ["no labelled snapshot could be evaluated: nothing is measured"]
    if not np.isfinite(p.forces).any():
        notes.append("no snapshot has labelled forces: the force error is unknown, and with it the decision")
    if not n_energies:
        notes.append("no snapshot has a labelled energy: energy errors are unknown")
    elif n_energies < EACH * n_offsets:
        notes.append(
            f"{n_energies} energies do not tell errors from offsets ({n_offsets} fitted, which takes "
            f"{EACH * n_offsets}): energy errors are not known; forces do not depend on offsets"
        )
    if n == 1:
        notes.append("a single snapshot has no confidence interval; label about twenty, far apart in time")
    elif n < FEW:
        notes.append(f"{n} snapshots: intervals from so few are too narrow; label some twenty")
    if not np.isfinite(p.stress).any():
        notes.append("no labelled stress: nothing is known of pressure and cell shape")
    return notes
