"""A share of a system that is divided among processes, evaluated layer by layer (docs/native.md).

Hosts that divide systems, such as LAMMPS, call the C interface; this is the same from Python.
"""

from __future__ import annotations

import ctypes
import weakref
from typing import TYPE_CHECKING

import numpy as np

from nequix.native import library
from nequix.native.model import NativeModel, _address, _array, _check

if TYPE_CHECKING:
    from jaxtyping import Float, Int32, Int64


class Part:
    """Receivers with their edges, and ghosts that send to them.

    A step is :meth:`begin`, the forward stages in order and, with a gradient, the backward stages from the
    last layer to the first. Between two stages the caller exchanges rows: features of receivers go to their
    ghosts, derivatives of ghosts go to their receivers.

    Args:
        model: The model.
        threads: Threads of each stage.

    Attributes:
        energies: Energy of every receiver, eV, after the last forward stage.
        gradient: Gradient of the total energy by the edge vectors, eV/A, after the last backward stage.

    Raises:
        BackendUnavailable: If the library is not there.
        GraphError: For a number of threads that cannot be.
    """

    def __init__(self, model: NativeModel, threads: int = 1) -> None:
        self._library = library.load()
        self._dtype = np.dtype(model.dtype)
        handle = ctypes.c_void_p()
        _check(self._library.nequix_part_create(model.handle, threads, ctypes.byref(handle)))
        self._handle = handle
        weakref.finalize(self, self._library.nequix_part_destroy, handle).atexit = False
        self.energies, self.gradient = np.zeros(0), np.zeros((0, 3))

    @property
    def n_layers(self) -> int:
        """Interaction layers of the model."""
        return self._library.nequix_part_layers(self._handle)

    @property
    def n_bytes(self) -> int:
        """Memory that the part holds."""
        return self._library.nequix_part_bytes(self._handle)

    def width(self, t: int) -> int:
        """Count the numbers that the exchange before layer ``t`` has per node.

        Args:
            t: Layer; 1 or more.
        """
        return self._library.nequix_part_width(self._handle, t) // self._dtype.itemsize

    def begin(
        self,
        first: Int64[np.ndarray, " n_receivers_and_one"],
        vectors: Float[np.ndarray, "n_edges 3"],
        senders: Int32[np.ndarray, " n_edges"],
        species: Int32[np.ndarray, " n_nodes"],
        *,
        gradient: bool = True,
    ) -> None:
        """Begin a step.

        Args:
            first: First edge of every receiver, and the number of edges.
            vectors: From receiver to sender, A.
            senders: Node of each edge.
            species: Index into the model's ``atomic_numbers``, of receivers and then ghosts.
            gradient: Whether to evaluate it.

        Raises:
            GraphError: For a node or an edge that cannot be.
        """
        n_edges, n_receivers = len(senders), len(first) - 1
        # The library reads and writes these arrays until the step ends.
        self._arrays = [
            np.ascontiguousarray(first, np.int64),
            _array(vectors, np.float64, (n_edges, 3)),
            _array(senders, np.int32, (n_edges,)),
            _array(species, np.int32, (len(species),)),
        ]
        self.energies: np.ndarray = np.empty(n_receivers)
        self.gradient: np.ndarray = np.empty((n_edges, 3))
        arrays = [_address(array) for array in self._arrays]
        results = [_address(self.energies), _address(self.gradient)]
        _check(
            self._library.nequix_part_begin(
                self._handle, n_receivers, len(species), *arrays, gradient, *results
            )
        )

    def forward(self, t: int) -> None:
        """Evaluate a layer.

        Args:
            t: Layer.

        Raises:
            GraphError: If another call comes next, or a ghost has no features.
        """
        _check(self._library.nequix_part_forward(self._handle, t))

    def backward(self, t: int) -> None:
        """Differentiate a layer.

        Args:
            t: Layer.

        Raises:
            GraphError: If another call comes next.
        """
        _check(self._library.nequix_part_backward(self._handle, t))

    def read(
        self, t: int, nodes: Int32[np.ndarray, " n"] | range, *, derivatives: bool = False
    ) -> Float[np.ndarray, "n width"]:
        """Read rows of the exchange before layer ``t``, in the model's precision.

        Args:
            t: Layer.
            nodes: Atoms of the rows.
            derivatives: Those by the features, not the features.

        Raises:
            GraphError: For nodes that do not exist, or if there are no such rows now.
        """
        rows = np.empty((len(nodes), self.width(t)), self._dtype)
        given, start = _listed(nodes)
        call = self._library.nequix_part_read
        _check(call(self._handle, derivatives, t, len(nodes), _address(given), start, _address(rows)))
        return rows

    def write(
        self,
        t: int,
        nodes: Int32[np.ndarray, " n"] | range,
        rows: Float[np.ndarray, "n width"],
        *,
        derivatives: bool = False,
    ) -> None:
        """Set features of nodes, or add to their derivatives.

        Args:
            t: Layer.
            nodes: Atoms of the rows.
            rows: What :meth:`read` returned for the same atoms elsewhere.
            derivatives: Those by the features, not the features.

        Raises:
            GraphError: For nodes that do not exist, or if no such rows are expected now.
        """
        rows = _array(rows, self._dtype.type, (len(nodes), self.width(t)))
        given, start = _listed(nodes)
        call = self._library.nequix_part_write
        _check(call(self._handle, derivatives, t, len(nodes), _address(given), start, _address(rows)))


def _listed(nodes: Int32[np.ndarray, " n"] | range) -> tuple[np.ndarray | None, int]:
    """Return a list of nodes, or the first of consecutive ones."""
    if isinstance(nodes, range) and nodes.step == 1:
        return None, nodes.start
    return _array(nodes, np.int32, (len(nodes),)), 0
