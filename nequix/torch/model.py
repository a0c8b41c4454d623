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
from nequix.torch.convolution import Arrays, Edges, Kernel
from nequix.torch.layers import Features, Interaction, edge_features
from nequix.torch.ops import Array

if TYPE_CHECKING:
    from jaxtyping import Float


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

    def begin(self, arrays: Arrays) -> tuple[Edges, Features]:
        """Evaluate what the first layer reads: the edges' features and the one-hot of the species.

        Args:
            arrays: One structure or a batch.
        """
        found = edge_features(arrays.vectors, self.spec)
        radial, harmonics = (ops.cast(x, self.readout["0e"]) for x in found)
        blocks = {0: ops.one_hot(arrays.species, self.spec.n_species, radial)[:, None, :]}
        return Edges(radial, harmonics, arrays.senders, arrays.receivers), blocks

    def features(self, arrays: Arrays, kernel: Kernel) -> list[Features]:
        """Evaluate the features after each layer, for finding where two engines differ.

        Args:
            arrays: One structure or a batch.
            kernel: Computes the messages and their sum.
        """
        edges, blocks = self.begin(arrays)
        trace = []
        for layer in self.layers:
            blocks = layer(blocks, edges, kernel)
            trace.append(blocks)
        return trace

    def finish(
        self,
        blocks: Features,
        edges: Edges,
        arrays: Arrays,
        kernel: Kernel,
        start: int = 0,
    ) -> Float[Array, " n_nodes"]:
        """Evaluate the energy of every atom, eV, from the features that a layer reads.

        Args:
            blocks: Those features.
            edges: The edges' features.
            arrays: One structure or a batch; the energies have the precision of its vectors.
            kernel: Computes the messages and their sum.
            start: The layer.
        """
        for layer in list(self.layers)[start:]:
            blocks = layer(blocks, edges, kernel)
        scalars = blocks[0][:, 0]
        readout = ops.cast((scalars @ self.readout["0e"])[:, 0], arrays.vectors) / math.sqrt(
            scalars.shape[-1]
        )
        atom_energies = ops.cast(ops.take(self.atom_energies, arrays.species), arrays.vectors)
        return readout * self.spec.scale + self.spec.shift + atom_energies

    def forward(self, arrays: Arrays, kernel: Kernel) -> Float[Array, " n_nodes"]:
        """Evaluate the energy of every atom, eV (docs/architecture.md, readout).

        Args:
            arrays: One structure or a batch.
            kernel: Computes the messages and their sum.
        """
        edges, blocks = self.begin(arrays)
        return self.finish(blocks, edges, arrays, kernel)
