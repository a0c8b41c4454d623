"""The model: interaction layers between the one-hot species and the energy of every atom."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import nn

from nequix.core.parameters import group
from nequix.core.paths import plan
from nequix.core.spec import ModelSpec
from nequix.torch import ops
from nequix.torch.convolution import Edges, Kernel
from nequix.torch.layers import Features, Interaction, edge_features
from nequix.torch.ops import Array

if TYPE_CHECKING:
    from jaxtyping import Float, Int


class Model(nn.Module):
    """A Nequix model as a function of edge vectors (docs/architecture.md).

    Layers run in the precision of the parameters; edge features, outputs and derivatives have that of
    the vectors. Float64 vectors cost little and spare float32 layers half of the error in forces.

    Args:
        spec: The model's specification.
        parameters: Every parameter of the manifest by name.
    """

    def __init__(self, spec: ModelSpec, parameters: Mapping[str, Array]) -> None:
        super().__init__()
        groups = group(spec, parameters)
        layers = [Interaction(groups[f"layers.{i}"], layer, spec) for i, layer in enumerate(plan(spec))]
        self.layers = nn.ModuleList(layers)
        self.readout = nn.ParameterDict(groups["readout"])
        self.atom_energies = nn.Buffer(parameters["atom_energies"])
        self.spec = spec

    def begin(
        self,
        vectors: Float[Array, "n_edges 3"],
        senders: Int[Array, " n_edges"],
        receivers: Int[Array, " n_edges"],
        species: Int[Array, " n_nodes"],
    ) -> tuple[Edges, Features]:
        """Evaluate what the first layer reads: the edges' features and the one-hot of the species.

        Args:
            vectors: ``r_e``, A.
            senders: Atom ``j`` of each edge.
            receivers: Atom ``i`` of each edge, ascending, tile by tile.
            species: Index into the model's ``atomic_numbers``.
        """
        radial, harmonics = (ops.cast(x, self.readout["0e"]) for x in edge_features(vectors, self.spec))
        blocks = {0: ops.one_hot(species, self.spec.n_species, radial)[:, None, :]}
        return Edges(radial, harmonics, senders, receivers), blocks

    def features(
        self,
        vectors: Float[Array, "n_edges 3"],
        senders: Int[Array, " n_edges"],
        receivers: Int[Array, " n_edges"],
        species: Int[Array, " n_nodes"],
        kernel: Kernel,
    ) -> list[Features]:
        """Evaluate the features after each layer, for finding where two engines differ.

        Args:
            vectors: ``r_e``, A.
            senders: Atom ``j`` of each edge.
            receivers: Atom ``i`` of each edge, ascending, tile by tile.
            species: Index into the model's ``atomic_numbers``.
            kernel: Computes the messages and their sum.
        """
        edges, blocks = self.begin(vectors, senders, receivers, species)
        trace = []
        for layer in self.layers:
            blocks = layer(blocks, edges, kernel)
            trace.append(blocks)
        return trace

    def finish(
        self,
        blocks: Features,
        edges: Edges,
        vectors: Float[Array, "n_edges 3"],
        species: Int[Array, " n_nodes"],
        kernel: Kernel,
        start: int = 0,
    ) -> Float[Array, " n_nodes"]:
        """Evaluate the energy of every atom, eV, from the features that a layer reads.

        Args:
            blocks: Those features.
            edges: The edges' features.
            vectors: ``r_e``, A; their precision is that of the energies.
            species: Index into the model's ``atomic_numbers``.
            kernel: Computes the messages and their sum.
            start: The layer.
        """
        for layer in list(self.layers)[start:]:
            blocks = layer(blocks, edges, kernel)
        scalars = blocks[0][:, 0]
        readout = ops.cast((scalars @ self.readout["0e"])[:, 0], vectors) / math.sqrt(scalars.shape[-1])
        return (
            readout * self.spec.scale
            + self.spec.shift
            + ops.cast(ops.take(self.atom_energies, species), vectors)
        )

    def forward(
        self,
        vectors: Float[Array, "n_edges 3"],
        senders: Int[Array, " n_edges"],
        receivers: Int[Array, " n_edges"],
        species: Int[Array, " n_nodes"],
        kernel: Kernel,
    ) -> Float[Array, " n_nodes"]:
        """Evaluate the energy of every atom, eV (docs/architecture.md, readout).

        Args:
            vectors: ``r_e``, A.
            senders: Atom ``j`` of each edge.
            receivers: Atom ``i`` of each edge, ascending, tile by tile.
            species: Index into the model's ``atomic_numbers``.
            kernel: Computes the messages and their sum.
        """
        edges, blocks = self.begin(vectors, senders, receivers, species)
        return self.finish(blocks, edges, vectors, species, kernel)
