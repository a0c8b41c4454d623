"""Structures as graphs: atoms are nodes, pairs within the cutoff are edges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nequix.core.errors import GraphError
from nequix.core.spec import ModelSpec
from nequix.graphs.memory import refuse_huge_batch
from nequix.graphs.neighbors import SINGULAR, neighbor_list

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int32

MAX_COORDINATE = 1e6
"""Largest allowed position and lattice vector, A: a tenth of a millimetre is a mistake."""

_SYMBOLS = (
    "X H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb "
    "Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf "
    "Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh "
    "Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og"
)


SHORT = 0.1
"""A lattice vector of a non-periodic direction that is shorter (A) counts as absent."""


@dataclass(frozen=True, eq=False)
class Graph:
    """One structure, or several side by side (docs/architecture.md, notation).

    Attributes:
        positions: A, wrapped or not.
        species: Index into the model's ``atomic_numbers``.
        cell: Rows are lattice vectors, A; a zero row where there is none.
        senders: Atom ``j`` of each edge.
        receivers: Atom ``i`` of each edge, ascending.
        shifts: Lattice vectors crossed from ``i`` to ``j``: ``r = x_j - x_i + shift @ cell``.
        n_node: Atoms of each structure.
        n_edge: Edges of each structure.
        cutoff: Radius that the edges were built with, A.
        atomic_numbers: Those of the model, which ``species`` point to; empty if unknown.

    Example:
        >>> from ase.build import bulk
        >>> from nequix import graph_from_atoms, load_weights
        >>> graph = graph_from_atoms(bulk("Si", a=5.4), load_weights("nequix-nano").spec)
        >>> graph.n_nodes, graph.n_edges
        (2, 56)
        >>> float(graph.volume[0].round(3))  # A^3
        39.366
    """

    positions: Float[np.ndarray, "n_nodes 3"]
    species: Int32[np.ndarray, " n_nodes"]
    cell: Float[np.ndarray, "n_graphs 3 3"]
    senders: Int32[np.ndarray, " n_edges"]
    receivers: Int32[np.ndarray, " n_edges"]
    shifts: Int32[np.ndarray, "n_edges 3"]
    n_node: Int32[np.ndarray, " n_graphs"]
    n_edge: Int32[np.ndarray, " n_graphs"]
    cutoff: float
    atomic_numbers: tuple[int, ...] = ()

    @property
    def n_nodes(self) -> int:
        """Number of atoms in all structures."""
        return len(self.positions)

    @property
    def n_edges(self) -> int:
        """Number of edges in all structures."""
        return len(self.senders)

    @property
    def n_graphs(self) -> int:
        """Number of structures."""
        return len(self.n_node)

    @property
    def node_graph(self) -> Int32[np.ndarray, " n_nodes"]:
        """Structure of each atom."""
        return np.repeat(np.arange(self.n_graphs, dtype=np.int32), self.n_node)

    @property
    def edge_graph(self) -> Int32[np.ndarray, " n_edges"]:
        """Structure of each edge."""
        return np.repeat(np.arange(self.n_graphs, dtype=np.int32), self.n_edge)

    @property
    def vectors(self) -> Float[np.ndarray, "n_edges 3"]:
        """Edge vectors ``r_e = x_j - x_i + S_e @ cell``, A."""
        vectors = self.positions[self.senders] - self.positions[self.receivers]
        ends = np.cumsum(self.n_edge)
        for cell, start, end in zip(self.cell, ends - self.n_edge, ends, strict=True):
            vectors[start:end] += self.shifts[start:end] @ cell
        return vectors

    @property
    def volume(self) -> Float[np.ndarray, " n_graphs"]:
        """``|det cell|``, A^3; exactly zero for a structure without a three-dimensional cell."""
        return np.where(_is_regular(self.cell), np.abs(np.linalg.det(self.cell)), 0.0)


def build_graph(
    numbers: Any, positions: Any, cell: Any, pbc: Any, spec: ModelSpec, search: Callable = neighbor_list
) -> Graph:
    """Build the graph of one structure.

    Args:
        numbers: Atomic numbers.
        positions: A, wrapped or not.
        cell: Rows are lattice vectors, A, or None; a row shorter than ``SHORT`` in a non-periodic direction
            counts as zero.
        pbc: Which lattice vectors are periodic: three bools, or one for all.
        spec: The model's specification: its elements and its cutoff.
        search: Function that finds the edges, with the signature of ``neighbor_list``.

    Raises:
        GraphError: For a structure that the model cannot evaluate, naming the atom and its value.
    """
    species = _species(numbers, spec)
    positions = _coordinates("positions", positions, (len(species), 3))
    pbc = _periodicity(pbc)
    cell = np.zeros((3, 3)) if cell is None else _coordinates("cell", cell, (3, 3))
    refuse_singular(cell, pbc)
    # Nothing repeats along such a row; as a height it would make the volume, and thus the stress,
    # meaningless.
    cell[~pbc & (np.linalg.norm(cell, axis=1) < SHORT)] = 0.0
    senders, receivers, shifts = search(positions, cell, pbc, spec.cutoff)
    counts = (np.array([len(positions)], np.int32), np.array([len(senders)], np.int32))
    edges = (senders, receivers, shifts)
    return Graph(positions, species, cell[None], *edges, *counts, spec.cutoff, spec.atomic_numbers)


def _species(numbers: Any, spec: ModelSpec) -> Int32[np.ndarray, " n"]:
    values = np.asarray(numbers)
    if values.size == 0:
        raise GraphError("the structure has no atoms; give at least one")
    if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
        raise GraphError(
            f"numbers have shape {values.shape} and type {values.dtype}, expected one integer per atom"
        )
    known = np.array(spec.atomic_numbers)
    species = np.minimum(np.searchsorted(known, values), len(known) - 1)
    unknown = np.flatnonzero(known[species] != values)
    if len(unknown):
        atom = int(unknown[0])
        number, elements = int(values[atom]), _element_ranges(spec.atomic_numbers)
        raise GraphError(
            f"atom {atom} is {_symbol(number)} (Z = {number}), expected {elements}, which this model knows "
            f"({len(unknown)} atoms are of others); choose another model"
        )
    return species.astype(np.int32)


def _element_ranges(numbers: Sequence[int]) -> str:
    starts = [number for number in numbers if number - 1 not in numbers]
    ends = [number for number in numbers if number + 1 not in numbers]
    pairs = zip(starts, ends, strict=True)
    return ", ".join(
        _symbol(start) if start == end else f"{_symbol(start)}-{_symbol(end)}" for start, end in pairs
    )


def _symbol(number: int) -> str:
    symbols = _SYMBOLS.split()
    return symbols[number] if 0 <= number < len(symbols) else "not an element"


def _coordinates(name: str, values: Any, shape: tuple[int, int]) -> Float[np.ndarray, "n 3"]:
    try:
        array = np.asarray(values)
        if np.iscomplexobj(array):
            raise TypeError("complex")
        array = np.array(array, np.float64)  # a copy: the caller's array may change later
    except (TypeError, ValueError) as error:
        raise GraphError(f"{name} are not numbers of shape {shape}: {error}") from None
    if array.shape != shape:
        raise GraphError(f"{name} have shape {array.shape}, expected {shape}: a row of x, y, z (A) for each")
    wrong = np.flatnonzero(~(np.abs(array) <= MAX_COORDINATE).all(axis=1))  # NaN compares false
    if len(wrong):
        row = int(wrong[0])
        whose = f"atom {row} lies at" if name == "positions" else f"cell row {row} is"
        raise GraphError(
            f"{whose} {array[row].tolist()}, expected finite numbers within {MAX_COORDINATE:g} A; "
            "correct the structure"
        )
    return array


def _periodicity(pbc: Any) -> Bool[np.ndarray, " 3"]:
    values = np.asarray(pbc)
    if values.shape not in ((), (3,)) or not all(value in (False, True) for value in values.ravel().tolist()):
        raise GraphError(f"pbc = {pbc!r}, expected true or false, or three of them")
    return np.broadcast_to(values.astype(bool), 3)


def refuse_singular(cell: Float[np.ndarray, "3 3"], pbc: Bool[np.ndarray, " 3"]) -> None:
    """Reject missing or linearly dependent periodic lattice vectors.

    Args:
        cell: Lattice vectors in rows, A.
        pbc: Which of them are periodic.

    Raises:
        GraphError: Naming the vectors.
    """
    directions = np.flatnonzero(pbc).tolist()
    vectors = cell[directions]
    for direction, vector in zip(directions, vectors, strict=True):
        if not vector.any():
            raise GraphError(
                f"pbc is true along direction {direction}, where the cell's row is zero; give a lattice "
                "vector there, or set pbc to false"
            )
    if directions and not _is_regular(vectors):
        raise GraphError(
            f"the periodic lattice vectors {vectors.tolist()} A (rows {directions} of the cell) are linearly "
            "dependent; give independent ones, or set pbc to false"
        )


def _is_regular(vectors: Float[np.ndarray, "*batch n 3"]) -> Bool[np.ndarray, "*batch"]:
    sizes = np.linalg.svd(vectors, compute_uv=False)
    return sizes[..., -1] > SINGULAR * sizes[..., 0]


def graph_from_atoms(atoms: Any, spec: ModelSpec, search: Callable = neighbor_list) -> Graph:
    """Build the graph of an ``ase.Atoms``, or of anything with its four attributes.

    Args:
        atoms: Has ``numbers``, ``positions`` (A), ``cell`` (A) and ``pbc``.
        spec: The model's specification.
        search: Function that finds the edges, with the signature of ``neighbor_list``.

    Raises:
        GraphError: As :func:`build_graph`.

    Example:
        >>> from ase.build import bulk
        >>> from nequix import graph_from_atoms, load_model
        >>> potential = load_model("nequix-nano")
        >>> graph = graph_from_atoms(bulk("Si", a=5.4), potential.spec)
        >>> graph.n_nodes, graph.n_edges
        (2, 56)
    """
    missing = [name for name in ("numbers", "positions", "cell", "pbc") if not hasattr(atoms, name)]
    if missing:
        raise GraphError(f"{type(atoms).__name__} has no {', '.join(missing)}; give an ase.Atoms")
    return build_graph(atoms.numbers, atoms.positions, np.asarray(atoms.cell), atoms.pbc, spec, search)


def batch(graphs: Sequence[Graph]) -> Graph:
    """Batch graphs; there are no edges between them.

    Args:
        graphs: At least one graph, all of one cutoff and for the same elements.

    Raises:
        GraphError: For no graphs, graphs of different specifications, or more edges than the memory holds.

    Example:
        >>> from ase.build import bulk
        >>> from nequix import batch, graph_from_atoms, load_model
        >>> potential = load_model("nequix-nano")
        >>> graphs = [graph_from_atoms(bulk("Si", a=a), potential.spec) for a in (5.3, 5.4)]
        >>> potential.evaluate(batch(graphs)).energy.shape
        (2,)
    """
    if not graphs:
        raise GraphError("cannot batch no graphs; give at least one")
    cutoffs = sorted({graph.cutoff for graph in graphs})
    if len(cutoffs) > 1:
        raise GraphError(f"cannot batch graphs of different cutoffs {cutoffs} A; build them with one spec")
    elements = {graph.atomic_numbers for graph in graphs if graph.atomic_numbers}
    if len(elements) > 1:
        raise GraphError("cannot batch graphs for models of different elements; build them with one spec")
    refuse_huge_batch(sum(graph.n_edges for graph in graphs), len(graphs))
    starts = np.cumsum([0, *(graph.n_nodes for graph in graphs[:-1])], dtype=np.int32)
    pieces = {
        name: np.concatenate([getattr(graph, name) for graph in graphs])
        for name in ("positions", "species", "cell", "shifts", "n_node", "n_edge")
    }
    for name in ("senders", "receivers"):
        pieces[name] = np.concatenate(
            [getattr(graph, name) + start for graph, start in zip(graphs, starts, strict=True)]
        )
    return Graph(**pieces, cutoff=cutoffs[0], atomic_numbers=next(iter(elements), ()))
