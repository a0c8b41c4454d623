"""Batches of fixed shapes for a training step: packed structures and their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nequix.core.errors import DataError, GraphError
from nequix.core.spec import ModelSpec
from nequix.data.label_table import HESSIAN, LABEL_TABLE, Label
from nequix.data.packing import Budget
from nequix.data.structure import Structure, refuse_not_finite
from nequix.graphs.graph import Graph, batch, build_graph
from nequix.graphs.tiling import TiledGraph, tile_edges

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int32


class PaddedLabel(NamedTuple):
    """A label of all structures of a batch; what is missing or padding is zero and masked.

    Attributes:
        values: In the label's unit, one per structure or per atom.
        mask: Which structures or atoms have the label.
        weight: The factor of each in the loss, zero for padding.
    """

    values: Float[np.ndarray, "n ..."]
    mask: Bool[np.ndarray, " n"]
    weight: Float[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Structures and their labels, padded.

    Attributes:
        layout: The graphs.
        labels: By name, every label of :data:`nequix.data.label_table.LABEL_TABLE`.
        direction: A displacement of every atom (:class:`nequix.data.structure.HessianProduct`), zero where
            there is no product of the Hessian.
        volume: A^3; one if there is none, so that it can be a divisor.
        n_atoms: Atoms of each structure; one for padding, so that it can be a divisor.
        graph_mask: Which graphs are structures and not padding.
        node_mask: Which atoms belong to structures.
        names: The structures' names, without padding.
    """

    layout: TiledGraph
    labels: dict[str, PaddedLabel]
    direction: Float[np.ndarray, "n_nodes 3"]
    volume: Float[np.ndarray, " n_graphs"]
    n_atoms: Int32[np.ndarray, " n_graphs"]
    graph_mask: Bool[np.ndarray, " n_graphs"]
    node_mask: Bool[np.ndarray, " n_nodes"]
    names: tuple[str, ...]

    def arrays(self) -> dict[str, np.ndarray]:
        """List every array of fixed shape: those of the layout but ``slots``, the labels and the masks."""
        own = ("direction", "volume", "n_atoms", "graph_mask", "node_mask")
        labels = {
            f"{name}_{part}": array
            for name, label in self.labels.items()
            for part, array in label._asdict().items()
        }
        return {**self.layout.arrays(), **labels, **{name: getattr(self, name) for name in own}}


def graph_of(structure: Structure, spec: ModelSpec) -> Graph:
    """Build a structure's graph; errors contain its name.

    Args:
        structure: The structure.
        spec: The model's specification: its elements and its cutoff.

    Raises:
        GraphError: For a structure that the model cannot evaluate.
    """
    try:
        return build_graph(structure.numbers, structure.positions, structure.cell, structure.pbc, spec)
    except GraphError as error:
        raise GraphError(f"{structure.name}: {error}") from None


def collate(
    structures: Sequence[Structure],
    spec: ModelSpec,
    budget: Budget,
    graphs: Sequence[Graph] | None = None,
) -> Batch:
    """Build the graphs of some structures and pad them and their labels to a budget.

    Args:
        structures: The structures; an empty list gives a batch of only padding.
        spec: The model's specification: its elements and its cutoff.
        budget: The shapes.
        graphs: The structures' graphs, if already built.

    Raises:
        DataError: If a label is not finite, or the structures exceed the budget, naming them.
        GraphError: For a structure that the model cannot evaluate, naming it.
    """
    for structure in structures:
        refuse_not_finite(structure)
    if graphs is None:
        graphs = [graph_of(structure, spec) for structure in structures]
    graph = batch(graphs or [_nothing(spec)])
    try:
        layout = tile_edges(graph, budget.n_nodes, budget.n_tiles, budget.n_graphs)
    except GraphError as error:
        names = ", ".join(structure.name for structure in structures)
        raise DataError(f"{names}: {error}; raise the budget") from None
    n_graphs, n_nodes = len(structures), graph.n_nodes if structures else 0
    volume = graph.volume[:n_graphs]
    owner = layout.node_graph[:n_nodes]
    directions = [s.hessian and s.hessian.direction for s in structures]
    return Batch(
        layout=layout,
        labels={label.name: _padded_label(label, structures, volume, owner, budget) for label in LABEL_TABLE},
        direction=_padded(_of_atoms(structures, directions, (3,)), budget.n_nodes, 0.0),
        volume=_padded(np.where(volume > 0, volume, 1.0), budget.n_graphs, 1.0),
        n_atoms=_padded(graph.n_node[:n_graphs], budget.n_graphs, np.int32(1)),
        graph_mask=_padded(np.ones(n_graphs, bool), budget.n_graphs, False),
        node_mask=_padded(np.ones(n_nodes, bool), budget.n_nodes, False),
        names=tuple(structure.name for structure in structures),
    )


def composition(batch: Batch, n_species: int) -> Float[np.ndarray, "n_graphs n_species"]:
    """Count the atoms of each species in every structure.

    Args:
        batch: Packed structures.
        n_species: Number of species that the model knows.
    """
    counts = np.zeros((len(batch.volume), n_species))
    np.add.at(counts, (batch.layout.node_graph, batch.layout.species), batch.node_mask)
    return counts


def _padded(values: object, n: int, fill: float | np.int32) -> np.ndarray:
    """Append padding; it determines the type, because there may be no values."""
    array = np.asarray(values)
    padded = np.full((n, *array.shape[1:]), fill)
    padded[: len(array)] = array
    return padded


def _value(structure: Structure, label: Label) -> np.ndarray | float | None:
    """Return a label of a structure; None if it is missing."""
    if label.name == HESSIAN:
        return structure.hessian and structure.hessian.product
    return getattr(structure, label.name)


def _padded_label(
    label: Label,
    structures: Sequence[Structure],
    volume: Float[np.ndarray, " n"],
    owner: Int32[np.ndarray, " n_nodes"],
    budget: Budget,
) -> PaddedLabel:
    """Concatenate a label of several structures; those of atoms have the mask of their structure."""
    n = len(structures)
    given = [_value(structure, label) for structure in structures]
    known = np.array([value is not None for value in given], bool)
    known &= volume > 0 if label.needs_volume else True
    weight = np.ones(n)
    if label.weighed_by is not None:
        weight = np.array([structure.weights[label.weighed_by] for structure in structures], float)
    if label.of_atoms:
        values = _of_atoms(structures, given, label.shape)
        known, weight, size = known[owner], weight[owner], budget.n_nodes
    else:
        each = [np.zeros(label.shape) if value is None else value for value in given]
        values, size = np.array(each, float).reshape(n, *label.shape), budget.n_graphs
    return PaddedLabel(_padded(values, size, 0.0), _padded(known, size, False), _padded(weight, size, 0.0))


def _of_atoms(
    structures: Sequence[Structure], given: Sequence[Any], shape: tuple[int, ...]
) -> Float[np.ndarray, "n_nodes ..."]:
    """Concatenate values of atoms, with zeros for structures without any."""
    pairs = zip(structures, given, strict=True)
    each = [np.zeros((s.numbers.size, *shape)) if value is None else value for s, value in pairs]
    return np.concatenate([*each, np.zeros((0, *shape))])


def _nothing(spec: ModelSpec) -> Graph:
    """Build a single atom without edges, for a batch without structures."""
    return build_graph([spec.atomic_numbers[0]], np.zeros((1, 3)), None, False, spec)
