"""A model in the compiled library: energies and their first derivatives, on any number of threads."""

from __future__ import annotations

import ctypes
import hashlib
import os
import threading
import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np

from nequix.core.errors import BackendUnavailable, GraphError, ResourceError, SpecError
from nequix.core.numpy_errors import usual_errors
from nequix.core.parameters import manifest
from nequix.core.paths import plan
from nequix.core.spec import ModelSpec
from nequix.graphs.graph import Graph
from nequix.io.weights import Weights
from nequix.native import library
from nequix.native.generate import MAX_DEGREE
from nequix.native.packing import Packed, padded
from nequix.native.radial import Tables
from nequix.native.thread_counts import choose_threads

if TYPE_CHECKING:
    from jaxtyping import Float, Int32

_RESOURCE_MESSAGES = ("the system refused to start", "out of memory")
"""Prefixes of the library's messages about the system; all others are about the structure."""

_TABLES: WeakValueDictionary[int, Tables] = WeakValueDictionary()
"""Tables of existing models by digest: another model of the same weights reuses them."""

_SHARED: WeakValueDictionary[int, NativeModel] = WeakValueDictionary()
"""Of :func:`shared_model`, by their keys."""

_SHARING = threading.RLock()
if hasattr(os, "register_at_fork"):  # a child would wait forever for a lock that another thread had
    os.register_at_fork(
        before=_SHARING.acquire, after_in_parent=_SHARING.release, after_in_child=_SHARING.release
    )


def check_supported(spec: ModelSpec) -> None:
    """Reject a specification that has no compiled kernels.

    Args:
        spec: The model's specification.

    Raises:
        SpecError: Naming the unsupported part.
    """
    highest = max(max(path.l1, path.l2, path.l3) for layer in plan(spec) for path in layer.paths)
    if highest > MAX_DEGREE or max(spec.hidden) > MAX_DEGREE:
        raise SpecError(
            f"the native kernels go up to degree {MAX_DEGREE}, this model ({spec.hidden_irreps}, lmax = "
            f"{spec.lmax}) up to {max(highest, *spec.hidden)}: use kernel='plain'"
        )
    if not spec.radial_polynomial_p.is_integer():
        raise SpecError(
            f"the native kernels tabulate the radial functions, which radial_polynomial_p = "
            f"{spec.radial_polynomial_p} makes rough near zero; only whole powers: use kernel='plain'"
        )


def check_precision(dtype: str) -> None:
    """Reject edge vectors of another precision, which would round energies.

    Args:
        dtype: Type of the vectors.

    Raises:
        GraphError: Unless it is ``float32`` or ``float64``.
    """
    if dtype not in ("float32", "float64"):
        raise GraphError(f"the edge vectors hold {dtype}, expected float32 or float64: convert them")


class NativeModel:
    """A model that the library evaluates (docs/native.md).

    Args:
        weights: The model.
        dtype: Precision of the layers, ``float32`` or ``float64``; results are float64 in either.
        instructions: ``avx512``, ``avx2`` or ``base``; by default the best of this machine's.

    Attributes:
        tables: The tabulated radial functions.

    Raises:
        BackendUnavailable: If the library is not built or cannot be loaded.
        SpecError: If the specification has no compiled kernels.
    """

    def __init__(self, weights: Weights, dtype: str = "float32", instructions: str | None = None) -> None:
        check_supported(weights.spec)
        self._library = library.load()
        self._key = _digest(weights, dtype)
        with usual_errors():
            packed = Packed(weights, dtype, _TABLES.get(self._key))
        self.tables: Tables = packed.tables
        self.spec: ModelSpec = weights.spec
        _TABLES[self._key] = self.tables
        handle = ctypes.c_void_p()
        name = instructions.encode() if instructions else None
        bits = {"float32": 32, "float64": 64}[dtype]
        message = self._library.nequix_create(packed.struct, bits, name, ctypes.byref(handle))
        if message:
            raise SpecError(f"the native kernels reject this model: {message.decode()}")
        self.handle = handle
        # With a finalizer, which runs when no weak reference can pass the model to another thread any more.
        weakref.finalize(self, self._library.nequix_destroy, handle).atexit = False
        # The caller's arrays may change; copies use the parameters that the library has.
        own = {name: np.array(values) for name, values in weights.parameters.items()}
        self._made_of = (replace(weights, parameters=own), dtype, instructions)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies create a new model: a handle has one owner."""
        weights, dtype, instructions = self._made_of
        return (NativeModel, self._made_of) if instructions else (shared_model, (weights, dtype))

    @property
    def calls(self) -> int:
        """Number of evaluations by the library."""
        return self._library.nequix_calls(self.handle)

    @property
    def instructions(self) -> str:
        """The instruction set in use."""
        return self._library.nequix_instructions(self.handle).decode()

    @property
    def dtype(self) -> str:
        """Precision of the layers."""
        return self._made_of[1]

    @property
    def key(self) -> int:
        """A number that identifies specification, parameters and precision, also in compiled programs."""
        return self._key

    def evaluate_graph(
        self, graph: Graph, threads: int | None = None
    ) -> tuple[
        Float[np.ndarray, " n_nodes"], Float[np.ndarray, "n_nodes 3"], Float[np.ndarray, "n_graphs 3 3"]
    ]:
        """Evaluate energies, eV, forces, eV/A, and virials ``dE/d(strain)``, eV.

        Args:
            graph: One structure or a batch.
            threads: Number of threads; by default as many as there are, if the system is large.

        Raises:
            GraphError: For an invalid atom or edge.
        """
        vectors, ends = graph.vectors, (graph.senders, graph.receivers)
        energies, gradient = self.evaluate(vectors, *ends, graph.species, threads=threads)
        gradient = np.zeros((0, 3)) if gradient is None else gradient
        return energies, *self.forces(gradient, vectors, *ends, graph.node_graph, graph.n_graphs)

    def evaluate(
        self,
        vectors: Float[np.ndarray, "n_edges 3"],
        senders: Int32[np.ndarray, " n_edges"],
        receivers: Int32[np.ndarray, " n_edges"],
        species: Int32[np.ndarray, " n_nodes"],
        seed: Float[np.ndarray, " n_nodes"] | None = None,
        *,
        gradient: bool = True,
        threads: int | None = None,
    ) -> tuple[Float[np.ndarray, " n_nodes"], Float[np.ndarray, "n_edges 3"] | None]:
        """Evaluate the energy of every atom, eV, and the gradient of their sum by edge vectors, eV/A.

        Edges from the cutoff on contribute nothing.

        Args:
            vectors: ``r_e``, A.
            senders: Atom ``j`` of each edge.
            receivers: Atom ``i`` of each edge, ascending.
            species: Index into the model's ``atomic_numbers``.
            seed: Weights of the energies in the sum; by default ones.
            gradient: Whether to evaluate it.
            threads: Number of threads; by default as many as there are, if the system is large.

        Raises:
            GraphError: For an invalid atom or edge.
        """
        n_nodes, n_edges = len(species), len(senders)
        given = _system(vectors, senders, receivers, species)
        if seed is not None:
            seed = _array(seed, np.float64, (n_nodes,))
        energies = np.empty(n_nodes)
        slopes = np.empty((n_edges, 3)) if gradient else None
        arrays = map(_address, (*given, seed, energies, slopes))
        threads = choose_threads(threads, n_edges)
        _check(self._library.nequix_evaluate(self.handle, n_nodes, n_edges, *arrays, threads))
        return energies, slopes

    def features(self, graph: Graph, threads: int | None = None) -> Float[np.ndarray, "n_nodes n_features"]:
        """Evaluate the scalars of every atom after each layer, side by side, the first layer's first.

        Args:
            graph: One structure or a batch.
            threads: Number of threads; by default as many as there are, if the system is large.

        Raises:
            GraphError: For an impossible atom or edge.
        """
        n_nodes, n_edges = len(graph.species), len(graph.senders)
        system = _system(graph.vectors, graph.senders, graph.receivers, graph.species)
        widths = [dict(layer.outputs)[0] for layer in plan(self.spec)]
        energies, features = np.empty(n_nodes), np.empty((n_nodes, sum(map(padded, widths))))
        arrays = map(_address, (*system, energies, features))
        n_threads = choose_threads(threads, n_edges)
        _check(self._library.nequix_features(self.handle, n_nodes, n_edges, *arrays, n_threads))
        starts = np.cumsum([0, *map(padded, widths)])
        columns = [start + np.arange(width) for start, width in zip(starts, widths, strict=False)]
        return features[:, np.concatenate(columns)]

    def evaluate_members(
        self, others: Sequence[NativeModel], n_shared: int, graph: Graph, threads: int | None = None
    ) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Evaluate this and other models like :meth:`evaluate_graph`; shared layers run forwards once.

        Args:
            others: Models of the same specification and precision.
            n_shared: Number of interaction layers, from the first on, with equal parameters in all members.
            graph: One structure or a batch.
            threads: Number of threads; by default as many as there are, if the system is large.

        Raises:
            GraphError: For an invalid atom or edge, or models of several kinds.
        """
        models = [self, *others]
        n_nodes, n_edges = len(graph.species), len(graph.senders)
        ends = (graph.senders, graph.receivers)
        given = _system(graph.vectors, *ends, graph.species)
        energies, slopes = np.empty((len(models), n_nodes)), np.empty((len(models), n_edges, 3))
        handles = (ctypes.c_void_p * len(models))(*(model.handle.value for model in models))
        arrays = map(_address, (*given, energies, slopes))
        message = self._library.nequix_evaluate_members(
            handles, len(models), n_shared, n_nodes, n_edges, *arrays, choose_threads(threads, n_edges)
        )
        _check(message)
        return [
            (e, *self.forces(slope, graph.vectors, *ends, graph.node_graph, graph.n_graphs))
            for e, slope in zip(energies, slopes, strict=True)
        ]

    def forces(
        self,
        gradient: Float[np.ndarray, "n_edges 3"],
        vectors: Float[np.ndarray, "n_edges 3"],
        senders: Int32[np.ndarray, " n_edges"],
        receivers: Int32[np.ndarray, " n_edges"],
        node_graph: Int32[np.ndarray, " n_nodes"],
        n_graphs: int,
    ) -> tuple[Float[np.ndarray, "n_nodes 3"], Float[np.ndarray, "n_graphs 3 3"]]:
        """Sum forces, eV/A, and virials ``dE/d(strain)``, eV, from the gradient by edge vectors.

        Args:
            gradient: ``dE/dr_e``, eV/A.
            vectors: ``r_e``, A.
            senders: Atom ``j`` of each edge.
            receivers: Atom ``i`` of each edge.
            node_graph: Structure of each atom.
            n_graphs: Number of structures.

        Raises:
            GraphError: For an invalid atom or edge.
        """
        n_nodes, n_edges = len(node_graph), len(senders)
        vectors, gradient = (_array(values, np.float64, (n_edges, 3)) for values in (vectors, gradient))
        senders, receivers = (_array(ends, np.int32, (n_edges,)) for ends in (senders, receivers))
        node_graph = _array(node_graph, np.int32, (n_nodes,))
        forces, virials = np.empty((n_nodes, 3)), np.empty((n_graphs, 3, 3))
        arrays = map(_address, (vectors, senders, receivers, node_graph, gradient, forces, virials))
        _check(self._library.nequix_forces(n_nodes, n_edges, n_graphs, *arrays))
        return forces, virials


def shared_model(weights: Weights, dtype: str) -> NativeModel:
    """Return the shared model of some weights, created on first use and kept while it is referenced.

    Compiled programs find it by its key.

    Args:
        weights: The model.
        dtype: Precision of the layers, ``float32`` or ``float64``.

    Raises:
        BackendUnavailable: If the library is not built or cannot be loaded.
        SpecError: If the specification has no compiled kernels.
    """
    with _SHARING:
        known = _SHARED.get(_digest(weights, dtype))
        if known is not None:
            return known
        made = NativeModel(weights, dtype)
        library.load().nequix_register(made.handle, made.key)
        _SHARED[made.key] = made
        return made


def find_model(key: int) -> NativeModel:
    """Return a shared model.

    Args:
        key: Key of the model.

    Raises:
        BackendUnavailable: If the model no longer exists.
    """
    found = _SHARED.get(key)
    if found is None:
        raise BackendUnavailable("this process has no such model: create the potential again")
    return found


def _digest(weights: Weights, dtype: str) -> int:
    digest = hashlib.blake2b(f"{weights.spec.to_json()} {dtype}".encode(), digest_size=8)
    for parameter in manifest(weights.spec):
        digest.update(np.ascontiguousarray(weights.parameters[parameter.name], np.float64).tobytes())
    return int.from_bytes(digest.digest(), "little") >> 1 or 1


def _system(vectors: Any, senders: Any, receivers: Any, species: Any) -> list[np.ndarray]:
    """Return the arrays of a system in the library's types."""
    n_nodes, n_edges = len(species), len(senders)
    ends = [_array(values, np.int32, (n_edges,)) for values in (senders, receivers)]
    return [_array(vectors, np.float64, (n_edges, 3)), *ends, _array(species, np.int32, (n_nodes,))]


def _array(values: Any, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    given = np.asarray(values)
    if dtype is np.int32 and given.size and not np.can_cast(given.dtype, np.int32):
        _refuse_no_index(given)
    array = np.ascontiguousarray(given, dtype)
    if array.shape != shape:
        raise GraphError(f"an array has shape {array.shape}, expected {shape}; one row per edge or atom")
    return array


def _refuse_no_index(values: np.ndarray) -> None:
    """Reject values that would become another atom or element as 32-bit integers."""
    if not np.issubdtype(values.dtype, np.integer):
        raise GraphError(f"an array of atoms or species holds {values.dtype}, expected whole numbers")
    limits = np.iinfo(np.int32)
    wrong = np.flatnonzero((values < limits.min) | (values > limits.max))
    if len(wrong):
        raise GraphError(f"an array of atoms or species has {values.flat[wrong[0]]} at {wrong[0]}: none has")


def _address(array: np.ndarray | None) -> int | None:
    return None if array is None else array.ctypes.data


def _check(message: bytes | None) -> None:
    """Raise the error that the library describes.

    Raises:
        ResourceError: If the system lacks memory or threads.
        GraphError: If the structure is wrong.
    """
    if not message:
        return
    text = message.decode()
    lacking = any(text.startswith(start) for start in _RESOURCE_MESSAGES)
    raise (ResourceError if lacking else GraphError)(text)
