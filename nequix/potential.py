"""What potentials share on every backend: the methods that users call, in NumPy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nequix.core.spec import ModelSpec
from nequix.graphs.graph import Graph
from nequix.graphs.results import EnsembleResults, Results, check_direction, check_graph, unpad_results
from nequix.io.ensemble import check_members, n_shared_layers
from nequix.io.weights import Weights
from nequix.native.model import NativeModel

if TYPE_CHECKING:
    from jaxtyping import Float

Outputs = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Energies of atoms, eV, forces, eV/A, and virials ``dE/d(strain)``, eV; padding included."""


class Kernel(Protocol):
    """What computes the messages of a potential: its name, and how often it ran."""

    name: str
    n_calls: int


class Potential(ABC):
    """A model ready to evaluate graphs; every backend has a subclass of this name.

    Attributes:
        backend: Name of the backend.
        spec: The model's specification.
        kernel: Computes the messages.
        dtype: Precision of the layers, ``float32`` or ``float64``.
        device: Where it runs, as the backend calls it.

    Example:
        >>> from ase.build import bulk
        >>> from nequix import graph_from_atoms, load_model
        >>> potential = load_model("nequix-nano", "native", dtype="float64")
        >>> graph = graph_from_atoms(bulk("Si", a=5.4), potential.spec)
        >>> bool(abs(potential.evaluate(graph).forces.sum()) < 1e-9)
        True
    """

    backend: str
    spec: ModelSpec
    kernel: Any  # a Kernel; engines add methods
    dtype: str
    device: Any

    @property
    @abstractmethod
    def platform(self) -> str:
        """Kind of the device: ``cpu``, ``gpu``, ..."""

    @property
    def threads(self) -> int | None:
        """Threads of the native library; None if their number depends on the size of the system."""
        return getattr(self.kernel, "threads", None)

    @property
    def native(self) -> NativeModel | None:
        """The compiled model that evaluates energies and forces; None if the backend itself does."""
        return getattr(self.kernel, "model", None)

    def evaluate(self, graph: Graph) -> Results:
        """Evaluate energies, forces and stress.

        Args:
            graph: One structure or a batch.

        Raises:
            GraphError: If the graph was built with another cutoff or other elements.
        """
        check_graph(graph, self.spec)
        if self.native is None:
            return unpad_results(graph, *self._evaluate_graph(graph))
        outputs = self.native.evaluate_graph(graph, self.threads)
        self.kernel.n_calls += 1
        return unpad_results(graph, *outputs)

    def features(self, graph: Graph) -> Float[np.ndarray, "n_nodes n_features"]:
        """Evaluate the invariant features of every atom: its scalars after each layer, side by side.

        They do not change when a structure is moved or rotated, and cost a forward pass.

        Args:
            graph: One structure or a batch.

        Raises:
            GraphError: If the graph was built with another cutoff or other elements.
        """
        check_graph(graph, self.spec)
        if self.native is None:
            return self._evaluate_features(graph)[: graph.n_nodes]
        features = self.native.features(graph, self.threads)
        self.kernel.n_calls += 1
        return features

    def hessian_vector_product(
        self, graph: Graph, direction: Float[np.ndarray, "n_nodes 3"]
    ) -> Float[np.ndarray, "n_nodes 3"]:
        """Multiply the Hessian by a direction, eV/A^2 times the unit of the direction.

        Args:
            graph: One structure or a batch.
            direction: A displacement of every atom.

        Raises:
            GraphError: If the graph was built with another cutoff or other elements, or the direction is
                not one finite vector per atom.
        """
        check_graph(graph, self.spec)
        return self._hessian_products(graph, check_direction(graph, direction)[None])[0]

    def hessian(self, graph: Graph) -> Float[np.ndarray, "n_nodes 3 n_nodes 3"]:
        """Evaluate ``d2E/dx_ia dx_jb``, eV/A^2, summed over periodic images.

        Args:
            graph: One structure or a batch.

        Raises:
            GraphError: If the graph was built with another cutoff or other elements.
        """
        check_graph(graph, self.spec)
        n = graph.n_nodes
        columns = self._hessian_products(graph, np.eye(3 * n).reshape(3 * n, n, 3))
        return columns.reshape(n, 3, n, 3)

    @abstractmethod
    def _evaluate_graph(self, graph: Graph) -> Outputs:
        """Evaluate energies, forces and virials by the backend."""

    @abstractmethod
    def _evaluate_features(self, graph: Graph) -> np.ndarray:
        """Evaluate the invariant features of the atoms, padding included."""

    @abstractmethod
    def _hessian_products(self, graph: Graph, directions: np.ndarray) -> np.ndarray:
        """Multiply the Hessian by several directions, ``(n_directions, n_nodes, 3)``."""


class EnsemblePotential(ABC):
    """Models of one specification, ready to evaluate graphs together (docs/ensembles.md).

    Args:
        members: At least two models.
        kernel: ``auto`` or the name of a convolution kernel.
        dtype: Precision of the layers, ``float32`` or ``float64``.
        device: ``cpu``, ``gpu``, ``gpu:1``, ...; by default the first that the backend offers.
        threads: Threads of the native library; by default ``OMP_NUM_THREADS`` or all processors, fewer for
            small systems.

    Attributes:
        backend: Name of the backend.
        potentials: Each member by itself.

    Raises:
        BackendUnavailable: If the kernel or the device is not available.
        WeightsError: If the models do not form an ensemble.
        ValueError: For an unknown dtype, or a number of threads that the kernel cannot use.
    """

    backend: str
    spec: ModelSpec
    kernel: Any  # a Kernel
    dtype: str
    device: Any
    _member: type[Potential]

    def __init__(
        self,
        members: Sequence[Weights],
        *,
        kernel: str = "auto",
        dtype: str = "float32",
        device: str | None = None,
        threads: int | None = None,
    ) -> None:
        check_members(members)

        def make(kernel: str) -> list[Potential]:
            create = self._member
            return [create(w, kernel=kernel, dtype=dtype, device=device, threads=threads) for w in members]  # pyright: ignore[reportCallIssue]

        self.potentials: Any = make(kernel)
        if len({potential.kernel.name for potential in self.potentials}) > 1:
            self.potentials = make("plain")  # 'auto' found that the native kernel cannot take all of them
        first = self.potentials[0]
        self.spec, self.kernel, self.dtype, self.device = first.spec, first.kernel, first.dtype, first.device
        self._n_shared = n_shared_layers(members)

    @property
    def platform(self) -> str:
        """Kind of the device: ``cpu``, ``gpu``, ..."""
        return self.potentials[0].platform

    @property
    def threads(self) -> int | None:
        """Threads of the native library; None if their number depends on the size of the system."""
        return self.potentials[0].threads

    def evaluate(self, graph: Graph) -> EnsembleResults:
        """Evaluate energies, forces and stress of every member.

        Args:
            graph: One structure or a batch.

        Raises:
            GraphError: If the graph was built with another cutoff or other elements.
        """
        check_graph(graph, self.spec)
        outputs = self._evaluate_members(graph)
        return EnsembleResults(tuple(unpad_results(graph, *member) for member in outputs))

    def hessian_vector_product(
        self, graph: Graph, direction: Float[np.ndarray, "n_nodes 3"]
    ) -> Float[np.ndarray, "n_nodes 3"]:
        """Multiply the Hessian of the mean energy by a direction, eV/A^2 times the unit of the direction.

        Args:
            graph: One structure or a batch.
            direction: A displacement of every atom.

        Raises:
            GraphError: If the graph or the direction does not fit the models.
        """
        return np.mean([p.hessian_vector_product(graph, direction) for p in self.potentials], axis=0)

    def hessian(self, graph: Graph) -> Float[np.ndarray, "n_nodes 3 n_nodes 3"]:
        """Evaluate the Hessian of the mean energy, eV/A^2, summed over periodic images.

        Args:
            graph: One structure or a batch.

        Raises:
            GraphError: If the graph was built with another cutoff or other elements.
        """
        return np.mean([potential.hessian(graph) for potential in self.potentials], axis=0)

    def _evaluate_members(self, graph: Graph) -> list[Outputs]:
        """Evaluate all members; the native library evaluates the layers that they share once."""
        models = [potential.native for potential in self.potentials if potential.native is not None]
        outputs = models[0].evaluate_members(models[1:], self._n_shared, graph, self.threads)
        for potential in self.potentials:
            potential.kernel.n_calls += 1
        return outputs
