"""The reference of a training set: its environments, and which scores are usual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from nequix.coverage.distances import Distances, shorter
from nequix.coverage.environments import VIEWS, Environments, Events
from nequix.coverage.features import FeatureReference
from nequix.coverage.histograms import WIDTHS, Histogram, Histograms, Tally, added

if TYPE_CHECKING:
    from jaxtyping import Float

    Scores = Mapping[str, Float[np.ndarray, " n"]]

ENOUGH = 10.0
"""Number of training structures that makes an event ordinary, with a rarity below log10(2)."""

RANGES, WELL_KNOWN = ("pairs", "orders"), 100
"""Views that make the value ``range``, and what the counts of a kind must add up to over its bins there: a
structure counts in every bin that it has."""

SCORED = ("pairs", "angles", "features")
"""The views averaged in the score of an atom, relative to usual values; chosen by test (docs/coverage.md)."""

USUAL, EDGE, OUTSIDE = 0.99, 0.98, 0.995
"""Quantiles of structures held out of the training set: of atoms, and of the largest values of structures."""

MARGIN = 1.25
"""A structure beyond this multiple of the last of these is outside: held-out sets are small."""


CEILING, SATURATED = 1.95, 1.99
"""Rarities of events in hardly any structure, and in none; the largest possible value is 2.004."""

_LEAST = (0.3, 0.3, 1.0)
LEAST = {
    "pairs": (0.1, 0.15, 0.3),
    "range": (0.3, 0.5, 1.0),
    "features": (1.2, 1.5, 2.0),
    "score": (1.0, 0.8, 1.2),
}
"""Values of usual, edge and outside that no calibration goes below: what was held out may all be well known.

0.3 is the rarity of what ten structures hold, 1.0 of what one does; at a bond's distance a quarter of it.
"""


@dataclass(frozen=True)
class Calibration:
    """Usual values by view and of the ``score``, measured on held-out compositions of the training set.

    Attributes:
        usual: Values that one atom in a hundred exceeds.
        edge: Values that one structure in fifty exceeds with any atom.
        outside: Values beyond which a structure is outside.
        n_structures: Number of held-out structures.
        verdicts: Shares of them that these values call ``inside``, ``edge`` and ``outside``.
    """

    usual: Mapping[str, float]
    edge: Mapping[str, float]
    outside: Mapping[str, float]
    n_structures: int = 0
    verdicts: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Sequence[Scores]) -> Calibration:
        """Calibrate on held-out structures.

        Args:
            values: Values of each structure, by view, without the score.
        """
        if not values:
            return cls({}, {}, {})
        usual = {
            view: _at_least(0, view, np.quantile(np.concatenate([v[view] for v in values]), USUAL))
            for view in values[0]
        }
        scored = [{**v, "score": score(v, usual)} for v in values]
        largest = {view: np.array([v[view].max() for v in scored]) for view in scored[0]}
        edge = {view: _at_least(1, view, np.quantile(x, EDGE)) for view, x in largest.items()}
        outside = {view: _outside(view, float(np.quantile(x, OUTSIDE))) for view, x in largest.items()}
        calibration = cls(usual, edge, outside, len(values))
        verdicts = [
            calibration.judge({view: x[i] for view, x in largest.items()}) for i in range(len(values))
        ]
        shares = {name: verdicts.count(name) / len(values) for name in VERDICTS}
        return replace(calibration, verdicts=shares)

    def judge(self, largest: Mapping[str, float]) -> str:
        """Judge a structure by its largest values.

        Args:
            largest: Largest values by view, and of the ``score``.
        """
        if any(largest[view] > self.outside.get(view, np.inf) for view in largest):
            return "outside"
        return "edge" if any(largest[view] > self.edge.get(view, np.inf) for view in largest) else "inside"


def _at_least(column: int, view: str, value: float) -> float:
    return max(float(value), LEAST.get(view, _LEAST)[column])


def _outside(view: str, value: float) -> float:
    """Add the margin, up to the largest possible rarity."""
    if view in ("features", "score"):
        return _at_least(2, view, MARGIN * value)
    if value > SATURATED:  # held-out structures are themselves unseen: the view says nothing
        return MARGIN * value
    return _at_least(2, view, min(MARGIN * value, max(value, CEILING)))


def shortest_distances(reference: Reference) -> dict[tuple[int, int], float]:
    """Return the shortest distance of each pair of elements in the data of a reference.

    A pair that never occurs within the cutoff is absent.

    Args:
        reference: The reference of a model, such as :func:`nequix.coverage.sidecar.find_reference` reads.

    Returns:
        Distances in A by atomic numbers, the smaller one first. They are rounded down: to 0.001 A, or, in
        a reference of format version 1 as that of ``nequix-nano``, to 0.1 A.
    """
    return dict(reference.shortest)


VERDICTS = ("inside", "edge", "outside")
"""From best to worst."""


def score(values: Scores, usual: Mapping[str, float]) -> Float[np.ndarray, " n"]:
    """Return each atom's score: the mean over ``SCORED`` of its values relative to the usual ones.

    Args:
        values: Values by view; missing views, such as features without a model, are left out.
        usual: Usual values of a calibration.
    """
    parts = [values[view] / usual[view] for view in SCORED if view in values and view in usual]
    return np.mean(parts, axis=0) if parts else np.zeros(len(next(iter(values.values()))))


@dataclass(frozen=True, eq=False)
class Reference:
    """Statistics of a training set.

    Attributes:
        model: Name of the model that was trained on it.
        checksum: Checksum of the model's parameters (:func:`nequix.io.provenance.describe_model`).
        digest: SHA-256 of the model's file.
        cutoff: Radius, A.
        data: Its description: names and digests of the files.
        n_structures: Structures of the set.
        n_atoms: Atoms of the set.
        histograms: By view.
        features: Features of the model on it; None if they were not evaluated.
        calibration: Usual values.
        shortest: Shortest distance of each pair of elements, A
            (:func:`nequix.coverage.distances.shortest_distances`).
        source: Origin of the data: URL, digest, licence.
        caveat: Caveat about the data for readers of reports, e.g. that they are only a sample.
    """

    model: str
    checksum: str
    digest: str
    cutoff: float
    data: str
    n_structures: int
    n_atoms: int
    histograms: Histograms
    features: FeatureReference | None
    calibration: Calibration
    shortest: Distances = field(default_factory=dict)
    source: str = ""
    caveat: str = ""

    @property
    def elements(self) -> list[int]:
        """Atomic numbers of the set."""
        return self.histograms["crowd"].codes.tolist()

    @cached_property
    def smoothed(self) -> dict[str, Histogram]:
        """The histograms, smoothed over neighbouring bins."""
        return {view: self.histograms[view].smoothed(WIDTHS[view]) for view in VIEWS}

    def rarity(self, view: str, events: Events) -> Float[np.ndarray, " n"]:
        """Return how rare events are: 0 for the most common, ``log10(1 + ENOUGH / 0.1) = 2`` for unseen ones.

        Each counts by its weight: ``(1 - d / cutoff)^2`` for a distance, ``b / (1 + b)`` for a sum of bond
        orders ``b``, and for an angle how firm the weaker bond is.

        Args:
            view: One of ``VIEWS``.
            events: Events of that view.
        """
        return events.weight * np.log10(1 + ENOUGH / (self.smoothed[view].of(events) + 0.1))

    def values(
        self, environments: Environments, features: Float[np.ndarray, "n n_features"] | None = None
    ) -> dict[str, Float[np.ndarray, " n"]]:
        """Return each atom's rarest event by view, and the distance of its features.

        ``range`` is the rarest distance or bond order of a pair that is well known: a gap there is not a lack
        of data, but outside their range.

        Args:
            environments: Of the atoms.
            features: Of the atoms, in the last layer, if they are known.
        """
        found: dict[str, np.ndarray] = {}
        beyond = np.zeros(len(environments.numbers))
        for view in VIEWS:
            events: Events = getattr(environments, view)
            rarity = self.rarity(view, events)
            found[view] = np.zeros(len(environments.numbers))
            np.maximum.at(found[view], events.atom, rarity)
            if view in RANGES:
                known = self.histograms[view].total(events) >= WELL_KNOWN
                np.maximum.at(beyond, events.atom[known], rarity[known])
        found["range"] = beyond
        if features is not None and self.features is not None:
            found["features"] = self.features.distance(features)
        return found

    def with_also(self, tally: Tally) -> Reference:
        """Count more structures as known; features and calibration are unchanged.

        Args:
            tally: Counts of these structures.
        """
        return replace(
            self,
            histograms=added(self.histograms, tally.histograms()),
            n_structures=self.n_structures + tally.n_structures,
            n_atoms=self.n_atoms + tally.n_atoms,
            shortest=shorter(self.shortest, tally.shortest),
        )
