"""The native backend: whole models evaluated by the compiled library, without a framework."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from nequix import engines
from nequix.core.errors import BackendUnavailable
from nequix.core.parameters import check_dtype
from nequix.core.spec import ModelSpec
from nequix.graphs.graph import Graph
from nequix.io.weights import Weights
from nequix.native.model import NativeModel, shared_model
from nequix.native.thread_counts import check_threads
from nequix.potential import EnsemblePotential as BaseEnsemblePotential
from nequix.potential import Outputs
from nequix.potential import Potential as BasePotential

KERNELS = ("native",)


class NativeKernel:
    """The compiled library as a kernel: model, threads and number of evaluations."""

    name = "native"

    def __init__(self, model: NativeModel, threads: int | None = None) -> None:
        self.model = model
        self.threads: int | None = None if threads is None else check_threads(threads)
        self.n_calls = 0


class Potential(BasePotential):
    """A model that the compiled library evaluates on a CPU (docs/native.md).

    It needs neither JAX nor PyTorch. Second derivatives are those of an installed engine's plain kernel.

    Args:
        weights: The model: specification, parameters, provenance.
        kernel: ``auto`` or ``native``, which are equivalent here.
        dtype: Precision of the layers, ``float32`` or ``float64``; outputs are float64 in either.
        device: ``cpu`` or None.
        threads: Number of threads; by default ``OMP_NUM_THREADS`` or all processors, fewer for small systems.

    Attributes:
        backend: Name of the backend.

    Raises:
        BackendUnavailable: If the library was not built, or for another kernel or device.
        SpecError: If the library cannot run such a model.
        ValueError: For an unknown dtype, or an invalid number of threads.

    Example:
        >>> from ase.build import bulk
        >>> from nequix import load_weights
        >>> from nequix.graphs.graph import graph_from_atoms
        >>> from nequix.native import Potential
        >>> potential = Potential(load_weights("nequix-nano"))
        >>> results = potential.evaluate(graph_from_atoms(bulk("Si"), potential.spec))
        >>> results.forces.shape
        (2, 3)
    """

    backend = "native"
    device = "cpu"

    def __init__(
        self,
        weights: Weights,
        *,
        kernel: str = "auto",
        dtype: str = "float32",
        device: str | None = None,
        threads: int | None = None,
    ) -> None:
        if kernel not in ("auto", *KERNELS):
            raise BackendUnavailable(
                f"kernel {kernel!r} needs an engine, and the native backend has only 'native': choose "
                "backend='jax' or backend='torch'"
            )
        if device not in (None, "cpu", "cpu:0"):
            raise BackendUnavailable(
                f"the native backend runs on a CPU, not on {device!r}: choose device='cpu', or backend='jax' "
                "or backend='torch'"
            )
        check_dtype(dtype)
        self.spec: ModelSpec = weights.spec
        self.dtype: str = dtype
        self.kernel: Any = NativeKernel(shared_model(weights, dtype), threads)
        self._weights = weights
        self._engine: tuple[int, BasePotential] | None = None

    @property
    def platform(self) -> str:
        """Kind of the device: always ``cpu``."""
        return "cpu"

    def _evaluate_graph(self, graph: Graph) -> Outputs:
        raise NotImplementedError  # the compiled model evaluates

    def _evaluate_features(self, graph: Graph) -> np.ndarray:
        raise NotImplementedError  # the compiled model evaluates

    def _hessian_products(self, graph: Graph, directions: np.ndarray) -> np.ndarray:
        return self._with_engine()._hessian_products(graph, directions)

    def _with_engine(self) -> BasePotential:
        """Return this model on an installed engine, for second derivatives."""
        process = os.getpid()
        if self._engine is None or self._engine[0] != process:  # not all engines survive a fork
            engine = engines.load_engine(self._weights, dtype=self.dtype, kernel="plain", device="cpu")
            self._engine = process, engine
        return self._engine[1]


class EnsemblePotential(BaseEnsemblePotential):
    """Models of one specification that the compiled library evaluates together (docs/ensembles.md)."""

    backend = "native"
    _member = Potential
