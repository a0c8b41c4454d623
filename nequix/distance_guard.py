"""A guard for single models: atoms closer than any of their kind in the training data."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Literal

import numpy as np

from nequix.core.errors import GraphError, WeightsError
from nequix.io.weights import Weights

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from nequix.coverage.reference import Reference
    from nequix.graphs.graph import Graph

Guard = Literal["warn", "error"] | None
"""What is done about atoms that are closer than in the training data; None is nothing."""


class DistanceError(GraphError):
    """Atoms closer than any of their kind in the training data of a model.

    Example:
        >>> from ase import Atoms
        >>> import nequix
        >>> try:
        ...     nequix.predict(Atoms("Si2", [[0, 0, 0], [0, 0, 0.9]]), "nequix-nano", guard="error")
        ... except nequix.DistanceError as error:
        ...     print("(Si-Si) are 0.90 A apart" in str(error))
        True
    """


class DistanceWarning(RuntimeWarning):
    """Atoms are closer than any of their kind in the training data of a model.

    Example:
        >>> import warnings
        >>> from ase import Atoms
        >>> from nequix import DistanceWarning, predict
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     _ = predict(Atoms("Si2", [[0, 0, 0], [0, 0, 0.9]]), "nequix-nano")
        >>> [one.category is DistanceWarning for one in caught]
        [True]
    """


class DistanceGuard:
    """Compares distances between atoms with those in the training data of a model (docs/calculator.md).

    The limits are those of :func:`nequix.coverage.limits.distance_limits`. They are computed when elements
    first occur; a model without a coverage reference has none.

    Args:
        action: ``warn`` once, with ``error`` raise every time.
        weights: The model.
        model: The name or path that it was loaded from, beside which its coverage reference may be.

    Attributes:
        finding: What is wrong with the last structure; None if nothing is.

    Raises:
        ValueError: For another action.
        WeightsError: With ``error``, if the model has no coverage reference, or a damaged one.
    """

    def __init__(
        self,
        action: Literal["warn", "error"],
        weights: Weights,
        model: str | os.PathLike[str] | None = None,
    ) -> None:
        check_guard(action)
        self.action = action
        self.finding: str | None = None
        self._weights, self._model = weights, model
        self._reference: Reference | None = None
        self._is_loaded = self._has_warned = False
        n = weights.spec.n_species
        self._known: Bool[np.ndarray, " n_species"] = np.zeros(n, bool)
        self._squares: Float[np.ndarray, "n_species n_species"] = np.zeros((n, n))
        self._largest = 0.0
        if action == "error":
            self._load()

    def check(self, graph: Graph, squares: Float[np.ndarray, " n_edges"]) -> None:
        """Compare the edges of a structure with the training data.

        Args:
            graph: One structure.
            squares: Squared length of every edge, A^2.

        Raises:
            DistanceError: If the action is ``error`` and atoms are too close.
        """
        self.finding = None
        if not self._known[graph.species].all():
            self._extend(np.unique(graph.species))
        close = np.flatnonzero(squares < self._largest)
        if not len(close):
            return
        limits = self._squares[graph.species[graph.senders[close]], graph.species[graph.receivers[close]]]
        ratios = np.divide(squares[close], limits, out=np.full(len(close), np.inf), where=limits > 0)
        worst = int(ratios.argmin())
        if ratios[worst] >= 1:
            return
        edge = int(close[worst])
        self.finding = self._describe(graph, edge, float(squares[edge]), float(limits[worst]))
        if self.action == "error":
            raise DistanceError(self.finding)
        if not self._has_warned:
            warnings.warn(self.finding, DistanceWarning, stacklevel=2)
        self._has_warned = True

    def _describe(self, graph: Graph, edge: int, square: float, limit: float) -> str:
        from ase.data import chemical_symbols

        ends = sorted((int(graph.receivers[edge]), int(graph.senders[edge])))
        pair = "-".join(chemical_symbols[self._weights.spec.atomic_numbers[graph.species[i]]] for i in ends)
        return (
            f"atoms {ends[0]} and {ends[1]} ({pair}) are {square**0.5:.2f} A apart, closer than the "
            f"{limit**0.5:.2f} A down to which {self._weights.provenance.name!r} was trained: energies, "
            "forces and stress can be wrong by any amount (docs/calculator.md, guard)"
        )

    def _extend(self, species: np.ndarray) -> None:
        """Compute the limits of more species."""
        from nequix.coverage.limits import distance_limits

        self._load()
        self._known[species] = True
        if self._reference is None:
            return
        numbers = np.array(self._weights.spec.atomic_numbers)
        place = {int(number): index for index, number in enumerate(numbers)}
        for (a, b), limit in distance_limits(self._reference, numbers[self._known].tolist()).items():
            self._squares[place[a], place[b]] = self._squares[place[b], place[a]] = limit**2
        self._largest = float(self._squares.max())

    def _load(self) -> None:
        """Read the reference, when it is first needed."""
        from nequix.coverage.sidecar import find_reference, find_shipped, place_beside

        if self._is_loaded:
            return
        self._is_loaded = True
        name = self._weights.provenance.name
        try:
            if self._model is not None and place_beside(self._model).is_file():
                self._reference = find_reference(self._model, self._weights)
            else:
                self._reference = find_shipped(self._weights)
        except WeightsError as error:
            if self.action == "error":
                raise
            warnings.warn(f"no guard against short distances: {error}", RuntimeWarning, stacklevel=4)
        if self._reference is None and self.action == "error":
            raise WeightsError(
                f"guard = 'error', but {name} has no coverage reference, which knows the distances in its "
                "training data: make one with `nequix coverage build`, or leave the guard out"
            )


def check_guard(guard: str | None) -> None:
    """Check what is to be done about atoms that are too close.

    Args:
        guard: ``warn``, ``error`` or None.

    Raises:
        ValueError: For anything else.
    """
    if guard is not None and guard not in ("warn", "error"):
        raise ValueError(f"guard = {guard!r}, expected 'warn', 'error' or None")
