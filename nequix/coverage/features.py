"""The view of the model: distance of an atom's features from those of the training set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nequix.graphs.batches import MAX_ATOMS, in_batches
from nequix.graphs.graph import Graph, batch

if TYPE_CHECKING:
    from jaxtyping import Float

    from nequix.potential import Potential

SMALLEST = 1e-6
"""Lower bound of variances relative to the largest, so that rounding does not become a distance."""


def last_features(
    potential: Potential, graphs: Iterable[Graph], max_atoms: int = MAX_ATOMS
) -> Iterator[Float[np.ndarray, "n_nodes n_features"]]:
    """Evaluate the scalars after the last layer, the input of the readout, graph by graph.

    Args:
        potential: The model.
        graphs: The structures.
        max_atoms: Maximum number of atoms per evaluation, unless a single structure has more.
    """
    for some in in_batches(graphs, max_atoms):
        yield from _evaluate(potential, some)


def _evaluate(potential: Potential, graphs: list[Graph]) -> list[Float[np.ndarray, "n_nodes n_features"]]:
    features = potential.features(batch(graphs))
    width = features.shape[1] // potential.spec.n_layers  # every layer has the same number of scalars
    return np.split(features[:, -width:], np.cumsum([graph.n_nodes for graph in graphs])[:-1])


@dataclass(frozen=True, eq=False)
class FeatureReference:
    """The features of a training set: one Gaussian.

    Nearest neighbours, mixtures and a Gaussian for each species were tried: docs/coverage.md.

    Attributes:
        mean: Mean of the features.
        whitening: Matrix that scales differences from the mean to unit variance.
    """

    mean: Float[np.ndarray, " n_features"]
    whitening: Float[np.ndarray, "n_features n_features"]

    def whitened(self, features: Float[np.ndarray, "n n_features"]) -> Float[np.ndarray, "n n_features"]:
        """Bring features to zero mean and unit variance in all directions of the training set.

        Args:
            features: Features of the last layer.
        """
        return (features - self.mean) @ self.whitening

    def distance(self, features: Float[np.ndarray, "n n_features"]) -> Float[np.ndarray, " n"]:
        """Return every atom's Mahalanobis distance over the root of the number of features; typically 1.

        Args:
            features: Features of the last layer.
        """
        return np.sqrt((self.whitened(features) ** 2).mean(axis=1))


class FeatureSums:
    """Sums from which a :class:`FeatureReference` follows."""

    def __init__(self) -> None:
        self.n: int = 0
        self.first: np.ndarray | float = 0.0
        self.second: np.ndarray | float = 0.0

    def add(self, features: Float[np.ndarray, "n n_features"]) -> None:
        """Include atoms.

        Args:
            features: Features of the last layer.
        """
        self.n += len(features)
        self.first = self.first + features.sum(axis=0)
        self.second = self.second + features.T @ features

    def reference(self) -> FeatureReference:
        """Return mean and whitening of all atoms so far."""
        mean = np.asarray(self.first) / self.n
        covariance = np.asarray(self.second) / self.n - np.outer(mean, mean)
        variances, directions = np.linalg.eigh(covariance)
        floor = max(SMALLEST * variances.max(), 1e-30)
        return FeatureReference(mean, directions / np.sqrt(np.maximum(variances, floor)))
