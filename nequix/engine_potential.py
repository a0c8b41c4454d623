"""What the potentials of both engines share: how one is made, and how a graph reaches the device."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

from nequix.core.parameters import cast_parameters
from nequix.core.spec import ModelSpec
from nequix.graphs.tiling import TiledGraph
from nequix.io.weights import Weights
from nequix.isolation import Isolation
from nequix.kernel_table import KernelTable
from nequix.potential import Potential


class EnginePotential(Potential):
    """A model ready to evaluate graphs.

    Args:
        weights: The model: specification, parameters, provenance.
        kernel: ``auto``, ``plain``, ``native``, ``e3nn`` or ``openequivariance``.
        dtype: Precision of the layers, ``float32`` or ``float64``; edge features, sums over edges and
            outputs are float64 in either.
        device: ``cpu``, ``gpu``, ``gpu:1``, ...; by default the first that the backend offers.
        threads: Of the native kernel; by default ``OMP_NUM_THREADS`` or all processors, fewer for small
            systems.

    Attributes:
        backend: The engine's name.
        model: The engine's model, with its parameters on the device.

    Raises:
        BackendUnavailable: If the kernel or the device is not there.
        SpecError: If the kernel that was asked for cannot run such a model.
        ValueError: For another dtype, or threads that the kernel cannot take.
    """

    model: Any
    _table: ClassVar[KernelTable[Any]]
    _isolated: ClassVar[Isolation]
    _arrays_type: ClassVar[type[Any]]

    def __init__(
        self,
        weights: Weights,
        *,
        kernel: str = "auto",
        dtype: str = "float32",
        device: str | None = None,
        threads: int | None = None,
    ) -> None:
        parameters = cast_parameters(weights.parameters, dtype)
        self.dtype = dtype
        self.spec: ModelSpec = weights.spec
        self.device: Any = self._find_device(device)
        self._prepare()
        with self._precision():
            self.model = self._make_model(parameters)
        self.kernel: Any = self._table.bound(kernel, self.platform, weights, dtype, threads)

    @staticmethod
    @abstractmethod
    def _find_device(name: str | None) -> Any:
        """Find a device by name."""

    def _prepare(self) -> None:
        """Do what an engine needs before it places anything; most need nothing."""

    @abstractmethod
    def _make_model(self, parameters: dict[str, np.ndarray]) -> Any:
        """Make the model with its parameters on the device."""

    @abstractmethod
    def _put(self, array: np.ndarray) -> Any:
        """Place an array on the device."""

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        """Run with the settings of this engine instead of the caller's."""
        return self._isolated(self.platform)

    def _arrays(self, layout: TiledGraph) -> Any:
        return self._arrays_type(**{name: self._put(array) for name, array in layout.arrays().items()})
