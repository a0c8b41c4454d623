"""The compiled library as a kernel of an engine: the half that needs no framework."""

from __future__ import annotations

from typing import Any

from nequix.core.errors import BackendUnavailable
from nequix.core.paths import LayerPlan
from nequix.io.weights import Weights
from nequix.kernel import Kernel
from nequix.native import library
from nequix.native.model import NativeModel, shared_model
from nequix.native.thread_counts import check_threads


class BoundKernel(Kernel):
    """The compiled library as a differentiable operator (docs/native.md); single layers run in plain.

    Args:
        threads: Number of threads; by default as many as there are, if the system is large.

    Attributes:
        model: The compiled model; None until it is bound.

    Raises:
        BackendUnavailable: If the library was not built.
        ValueError: If the number of threads is impossible.
    """

    name = "native"
    platforms: tuple[str, ...] = ("cpu",)
    _plain_kernel: type[Any]

    def __init__(self, threads: int | None = None) -> None:
        super().__init__()
        library.load()
        self.threads = None if threads is None else check_threads(threads)
        self.model: NativeModel | None = None
        self._plain = self._plain_kernel()

    def bind(self, weights: Weights, dtype: str) -> None:
        """Load a model into the library and tabulate its radial functions.

        Args:
            weights: The model.
            dtype: Precision of the layers.

        Raises:
            SpecError: If the specification has no compiled kernels.
        """
        self.model = shared_model(weights, dtype)

    def use_threads(self, threads: int) -> None:
        """Use a number of threads from now on, for small systems, too.

        Args:
            threads: How many; no system gets more than it has atoms.

        Raises:
            ValueError: If the number is impossible.
        """
        self.threads = check_threads(threads)

    def convolve(
        self, plan: LayerPlan, features: dict[int, Any], weights: Any, edges: Any, n_nodes: int
    ) -> dict[int, Any]:
        """Use the plain kernel for single layers, which need derivatives of any order.

        Args:
            plan: The layer's tables.
            features: Mixed features of the senders, by degree.
            weights: Radial weights, paths side by side.
            edges: The edges, tile by tile.
            n_nodes: Number of atoms that receive.
        """
        return self._plain.convolve(plan, features, weights, edges, n_nodes)

    def _bound(self) -> NativeModel:
        if self.model is None:
            raise BackendUnavailable(
                "the native kernel has no model: give kernel='native' to Potential, or call bind()"
            )
        return self.model
