"""Several models at once: what they share is computed once, the rest side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from nequix.graphs.graph import Graph
from nequix.graphs.results import check_graph, unpad_results
from nequix.io.ensemble import EnsembleResults, check_members, n_shared_layers
from nequix.io.weights import Weights
from nequix.torch.potential import (
    Arrays,
    Potential,
    forces_from_gradient,
    virial_from_gradient,
)

if TYPE_CHECKING:
    from jaxtyping import Float


class EnsemblePotential:
    """Models of one specification ready to evaluate graphs together (docs/ensembles.md).

    Args:
        members: Two models at least.
        kernel: ``auto`` or the name of a convolution kernel.
        dtype: Precision of the layers, ``float32`` or ``float64``.
        device: ``cpu``, ``gpu``, ``gpu:1``, ...; by default the first that the backend offers.
        threads: Of the native kernel; by default ``OMP_NUM_THREADS`` or all processors, fewer for small
            systems.

    Attributes:
        backend: The engine's name.
        potentials: Each member alone.

    Raises:
        BackendUnavailable: If the kernel or the device is not there.
        WeightsError: If the models are no ensemble.
        ValueError: For another dtype, or threads that the kernel cannot take.
    """

    backend = "torch"

    def __init__(
        self,
        members: Sequence[Weights],
        *,
        kernel: str = "auto",
        dtype: str = "float32",
        device: str | None = None,
        threads: int | None = None,
    ) -> None:
        check_members(members)

        def make(kernel: str) -> list[Potential]:
            return [
                Potential(weights, kernel=kernel, dtype=dtype, device=device, threads=threads)
                for weights in members
            ]

        self.potentials = make(kernel)
        if len({potential.kernel.name for potential in self.potentials}) > 1:
            self.potentials = make("plain")  # the native kernel, by 'auto', does not take all of them
        first = self.potentials[0]
        self.spec, self.kernel, self.dtype, self.device = first.spec, first.kernel, first.dtype, first.device
        self._n_shared = n_shared_layers(members)

    def evaluate(self, graph: Graph) -> EnsembleResults:
        """Evaluate energies, forces and stress of every member.

        Args:
            graph: One structure or a batch.

        Raises:
            GraphError: If the graph was built with another cutoff or other elements.
        """
        if self.kernel.whole:
            check_graph(graph, self.spec)
            first, *others = (potential.kernel for potential in self.potentials)
            together = first.evaluate_members(others, self._n_shared, graph)
            return EnsembleResults(tuple(unpad_results(graph, *member) for member in together))
        first = self.potentials[0]
        layout = first._arrange(graph)
        with first._precision(), torch.enable_grad():
            arrays = first._arrays(layout)
            arrays = arrays._replace(vectors=arrays.vectors.requires_grad_())
            told = self._members(arrays, layout.n_graphs)
        return EnsembleResults(
            tuple(unpad_results(graph, *(x.detach().cpu().numpy() for x in m)) for m in told)
        )

    def _members(self, arrays: Arrays, n_graphs: int) -> list[tuple[torch.Tensor, ...]]:
        """Run the shared layers forwards once; each member goes on from there, and back to the edges."""
        model, told = self.potentials[0].model, []
        edges, blocks = model.begin(*arrays[:4])
        for layer in list(model.layers)[: self._n_shared]:
            blocks = layer(blocks, edges, self.kernel)
        for potential in self.potentials:
            energies = potential.model.finish(
                blocks, edges, arrays.vectors, arrays.species, self.kernel, self._n_shared
            )
            (gradient,) = torch.autograd.grad(energies.sum(), arrays.vectors, retain_graph=True)
            virial = virial_from_gradient(gradient, arrays, n_graphs)
            told.append((energies, forces_from_gradient(gradient, arrays), virial))
        return told

    def hessian_vector_product(
        self, graph: Graph, direction: Float[np.ndarray, "n_nodes 3"]
    ) -> Float[np.ndarray, "n_nodes 3"]:
        """Multiply the Hessian of the mean energy with a direction, eV/A^2 times the direction's unit.

        Args:
            graph: One structure or a batch.
            direction: A displacement of every atom.

        Raises:
            GraphError: If the graph or the direction does not fit the models.
        """
        return np.mean([p.hessian_vector_product(graph, direction) for p in self.potentials], axis=0)

    def hessian(self, graph: Graph) -> Float[np.ndarray, "n_nodes 3 n_nodes 3"]:
        """Evaluate the Hessian of the mean energy, eV/A^2, periodic images folded.

        Args:
            graph: One structure or a batch.

        Raises:
            GraphError: If the graph was built with another cutoff or other elements.
        """
        return np.mean([potential.hessian(graph) for potential in self.potentials], axis=0)
