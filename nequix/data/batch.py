"""Batches of fixed shapes for a training step: packed structures and their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from nequix.core.errors import DataError, GraphError
from nequix.core.spec import ModelSpec
from nequix.data.packing import Budget
from nequix.data.structure import Structure, refuse_not_finite
from nequix.graphs.graph import Graph, batch, build_graph
from nequix.graphs.tiling import TiledGraph, tile_edges

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int32


@dataclass(frozen=True, eq=False)
class Batch:
    """Structures and their labels, padded; missing labels and padding are zero and masked.

    Attributes:
        layout: The graphs.
        energy: eV.
        forces: eV/A.
        stress: eV/A^3, positive under tension.
        volume: A^3; one if there is none, so that it can be a divisor.
        n_atoms: Atoms of each structure; one for padding, so that it can be a divisor.
        graph_mask: Which graphs are structures and not padding.
        node_mask: Which atoms belong to structures.
        energy_mask: Which structures have an energy.
        forces_mask: Which atoms have a force.
        stress_mask: Which structures have a stress, and a volume.
        energy_weight: Factor of each structure's energy in the loss.
        forces_weight: Factor of each atom's force in the loss.
        stress_weight: Factor of each structure's stress in the loss.
        direction: A displacement of every atom (:class:`nequix.data.structure.HessianProduct`).
        product: The Hessian times the direction, eV/A^2.
        product_mask: Which atoms belong to structures with such a product.
        energies: Energy of every atom, eV.
        energies_mask: Which atoms have an energy label.
        names: The structures' names, without padding.
    """

    layout: TiledGraph
    energy: Float[np.ndarray, " n_graphs"]
    forces: Float[np.ndarray, "n_nodes 3"]
    stress: Float[np.ndarray, "n_graphs 3 3"]
    volume: Float[np.ndarray, " n_graphs"]
    n_atoms: Int32[np.ndarray, " n_graphs"]
    graph_mask: Bool[np.ndarray, " n_graphs"]
    node_mask: Bool[np.ndarray, " n_nodes"]
    energy_mask: Bool[np.ndarray, " n_graphs"]
    forces_mask: Bool[np.ndarray, " n_nodes"]
    stress_mask: Bool[np.ndarray, " n_graphs"]
    energy_weight: Float[np.ndarray, " n_graphs"]
    forces_weight: Float[np.ndarray, " n_nodes"]
    stress_weight: Float[np.ndarray, " n_graphs"]
    direction: Float[np.ndarray, "n_nodes 3"]
    product: Float[np.ndarray, "n_nodes 3"]
    product_mask: Bool[np.ndarray, " n_nodes"]
    energies: Float[np.ndarray, " n_nodes"]
    energies_mask: Bool[np.ndarray, " n_nodes"]
    names: tuple[str, ...]

    def arrays(self) -> dict[str, np.ndarray]:
        """List every array of fixed shape: those of the layout but ``slots``, the labels and the masks."""
        own = (item.name for item in fields(self) if item.name not in ("layout", "names"))
        return {**self.layout.arrays(), **{name: getattr(self, name) for name in own}}


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
    have = np.array([[x is not None for x in (s.energy, s.forces, s.stress)] for s in structures], bool)
    have = have.reshape(n_graphs, 3) & np.stack([volume == volume, volume == volume, volume > 0], axis=1)
    weights = np.array([s.weights for s in structures], float).reshape(n_graphs, 3)
    owner = layout.node_graph[:n_nodes]
    hessians = [s.hessian for s in structures]
    atomic = [np.zeros(s.numbers.size) if s.energies is None else s.energies for s in structures]
    has_atomic = np.array([s.energies is not None for s in structures], bool)
    return Batch(
        layout=layout,
        energy=_padded([s.energy or 0.0 for s in structures], budget.n_graphs, 0.0),
        forces=_vectors(structures, [s.forces for s in structures], budget),
        stress=_padded(_stresses(structures), budget.n_graphs, 0.0),
        volume=_padded(np.where(volume > 0, volume, 1.0), budget.n_graphs, 1.0),
        n_atoms=_padded(graph.n_node[:n_graphs], budget.n_graphs, np.int32(1)),
        graph_mask=_padded(np.ones(n_graphs, bool), budget.n_graphs, False),
        node_mask=_padded(np.ones(n_nodes, bool), budget.n_nodes, False),
        energy_mask=_padded(have[:, 0], budget.n_graphs, False),
        forces_mask=_padded(have[owner, 1], budget.n_nodes, False),
        stress_mask=_padded(have[:, 2], budget.n_graphs, False),
        energy_weight=_padded(weights[:, 0], budget.n_graphs, 0.0),
        forces_weight=_padded(weights[owner, 1], budget.n_nodes, 0.0),
        stress_weight=_padded(weights[:, 2], budget.n_graphs, 0.0),
        direction=_vectors(structures, [h and h.direction for h in hessians], budget),
        product=_vectors(structures, [h and h.product for h in hessians], budget),
        product_mask=_padded(np.array([h is not None for h in hessians], bool)[owner], budget.n_nodes, False),
        energies=_padded(np.concatenate([*atomic, np.zeros(0)]), budget.n_nodes, 0.0),
        energies_mask=_padded(has_atomic[owner], budget.n_nodes, False),
        names=tuple(structure.name for structure in structures),
    )


def composition(batch: Batch, n_species: int) -> Float[np.ndarray, "n_graphs n_species"]:
    """Count the atoms of each species in every structure.

    Args:
        batch: Packed structures.
        n_species: Number of species that the model knows.
    """
    counts = np.zeros((len(batch.energy), n_species))
    np.add.at(counts, (batch.layout.node_graph, batch.layout.species), batch.node_mask)
    return counts


def _padded(values: object, n: int, fill: float | np.int32) -> np.ndarray:
    """Append padding; it determines the type, because there may be no values."""
    array = np.asarray(values)
    padded = np.full((n, *array.shape[1:]), fill)
    padded[: len(array)] = array
    return padded


def _vectors(
    structures: Sequence[Structure], given: Sequence[np.ndarray | None], budget: Budget
) -> Float[np.ndarray, "n_nodes 3"]:
    """Concatenate vectors of atoms, with zeros for structures without any."""
    each = [np.zeros((s.numbers.size, 3)) if v is None else v for s, v in zip(structures, given, strict=True)]
    return _padded(np.concatenate([*each, np.zeros((0, 3))]), budget.n_nodes, 0.0)


def _stresses(structures: Sequence[Structure]) -> Float[np.ndarray, "n 3 3"]:
    stresses = [np.zeros((3, 3)) if s.stress is None else s.stress for s in structures]
    return np.array(stresses).reshape(len(structures), 3, 3)


def _nothing(spec: ModelSpec) -> Graph:
    """Build a single atom without edges, for a batch without structures."""
    return build_graph([spec.atomic_numbers[0]], np.zeros((1, 3)), None, False, spec)
