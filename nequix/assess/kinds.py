"""Kinds of structures by the size of their forces: the target compared with the labelled snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nequix.core.errors import DataError, GraphError
from nequix.data.batch import graph_of
from nequix.data.structure import refuse_not_finite
from nequix.graphs.batches import evaluate_graphs
from nequix.metrics.errors import BANDS

if TYPE_CHECKING:
    from jaxtyping import Float

    from nequix.assess.measure import Estimate
    from nequix.backends import Potential
    from nequix.data.structure import Structure

SHARE = 0.05
"""Fraction of the target above which a kind counts, and above which it exceeds the labelled range."""

STRONGER = 1.5
"""Factor on the predicted forces of 95 % of the labelled snapshots beyond which their errors say nothing: for
harmonic forces, which grow as the square root of the temperature, 1.5 times is 2.25 times the temperature."""

WIDER = 0.05
"""Fraction of the volume per atom by which the target may be outside the labelled range."""

PREDICTED = 200
"""Number of target structures with predicted forces."""


@dataclass(frozen=True)
class Kind:
    """Labelled snapshots with predicted forces of one of :data:`nequix.metrics.errors.BANDS`.

    Attributes:
        low: Lower end of the band, meV/A.
        high: Upper end, meV/A.
        forces: Their force error, meV/A.
        sizes: Mean absolute labelled force component, meV/A.
    """

    low: float
    high: float
    forces: Estimate
    sizes: float

    @property
    def name(self) -> str:
        """The band in words."""
        return name_band(self.low, self.high)

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers as JSON values."""
        high = self.high if np.isfinite(self.high) else None
        return {"from": self.low, "to": high, "force": vars(self.forces), "force_size": self.sizes}


@dataclass(frozen=True, eq=False)
class Conditions:
    """Conditions of a set of structures.

    Attributes:
        force_sizes: Mean absolute component of each structure's predicted forces, meV/A.
        volumes: A^3 per atom of each three-dimensional structure, by its reduced composition.
    """

    force_sizes: Float[np.ndarray, " n"]
    volumes: dict[bytes, list[float]]


def name_band(low: float, high: float) -> str:
    """Describe the forces of a band.

    Args:
        low: Where it begins, meV/A.
        high: Upper end, meV/A.
    """
    if not np.isfinite(high):
        return f"forces above {low:g} meV/A"
    return f"forces of {low:g} to {high:g} meV/A" if low else f"no forces (below {high:g} meV/A)"


def predict_conditions(structures: Sequence[Structure], potential: Potential) -> Conditions:
    """Predict the forces of evenly chosen structures, without those that cannot be evaluated.

    Args:
        structures: The target or the labelled snapshots.
        potential: The model.
    """
    chosen = np.unique(np.linspace(0, len(structures) - 1, min(len(structures), PREDICTED)).astype(int))
    kept, graphs = [], []
    for index in chosen.tolist():
        try:
            refuse_not_finite(structures[index])
            graphs.append(graph_of(structures[index], potential.spec))
            kept.append(structures[index])
        except (DataError, GraphError):
            continue
    sizes = [1e3 * float(np.abs(r.forces).mean()) for r in evaluate_graphs(potential, graphs)]
    volumes: dict[bytes, list[float]] = {}
    for structure in kept:
        if structure.pbc.all() and structure.volume > 0:
            elements, counts = np.unique(structure.numbers, return_counts=True)
            formula = np.stack([elements, counts // np.gcd.reduce(counts)]).astype(int).tobytes()
            volumes.setdefault(formula, []).append(structure.volume / len(structure.numbers))
    return Conditions(np.array(sizes), volumes)


def differences(target: Conditions, labelled: Conditions, kinds: Sequence[Kind]) -> list[str]:
    """Describe conditions of the target that no labelled snapshot covers.

    Temperatures are compared by the forces: most structures come without velocities.

    Args:
        target: Conditions of the target.
        labelled: Conditions of the snapshots with measured force errors.
        kinds: Kinds of these snapshots.
    """
    if not (len(target.force_sizes) and len(labelled.force_sizes)):
        return []
    words = []
    for low, high in ((1e3 * low, 1e3 * high) for low, high in BANDS):
        share = float(((target.force_sizes >= low) & (target.force_sizes < high)).mean())
        if share > SHARE and low > 0 and not any(kind.low == low for kind in kinds):
            words.append(
                f"{100 * share:.0f} % of the target has predicted {name_band(low, high)}, and no labelled "
                "snapshot has"
            )
    limit = STRONGER * float(np.quantile(labelled.force_sizes, 0.95))
    share = float((target.force_sizes > limit).mean())
    if share > SHARE:
        middle, usual = (float(np.median(c.force_sizes)) for c in (target, labelled))
        words.append(
            f"predicted forces of the target are larger than those of the labelled snapshots (median "
            f"{middle:.3g} meV/A, {usual:.3g} there; {100 * share:.0f} % beyond {limit:.3g}): another "
            "temperature, or other distortions"
        )
    for formula, volumes in target.volumes.items():
        known = labelled.volumes.get(formula)
        if known is None:  # elements and pairs that were not labelled are reported by themselves
            continue
        low, high = (1 - WIDER) * min(known), (1 + WIDER) * max(known)
        share = float(np.mean([not low <= volume <= high for volume in volumes]))
        if share > SHARE:
            words.append(
                f"{100 * share:.0f} % of the target of one composition has volumes of {min(volumes):.4g} to "
                f"{max(volumes):.4g} A^3/atom, labelled are {min(known):.4g} to {max(known):.4g}"
            )
    return words


def decisive_kind(target: Conditions | None, kinds: Sequence[Kind], few: int) -> Kind | None:
    """Choose the kind that decides: among those in the target with forces, the one with the largest error.

    One mean over cells without forces and snapshots of dynamics describes neither.

    Args:
        target: What is asked for; None if unknown.
        kinds: Of the labelled snapshots.
        few: Number of snapshots that a kind needs.

    Returns:
        The kind; None if there is only one, or none has enough snapshots.
    """
    if target is None or len(kinds) < 2 or not len(target.force_sizes):
        return None
    sizes = target.force_sizes
    usable = [
        kind
        for kind in kinds
        if kind.low > 0
        and kind.forces.n >= few
        and kind.forces.value is not None
        and float(((sizes >= kind.low) & (sizes < kind.high)).mean()) > SHARE
    ]
    return max(usable, key=lambda kind: kind.forces.value or 0.0, default=None)
