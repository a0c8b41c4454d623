"""Energy, forces, stress and Hessian of graphs, with a model's weights on a device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from nequix.engine_potential import EnginePotential
from nequix.graphs.graph import Graph
from nequix.graphs.tiling import TiledGraph, tile_edges
from nequix.potential import Outputs
from nequix.torch import ops
from nequix.torch.convolution import Arrays, Kernel
from nequix.torch.isolation import isolated
from nequix.torch.kernels import TABLE, find_device
from nequix.torch.model import Model
from nequix.torch.ops import Array

if TYPE_CHECKING:
    from jaxtyping import Float


def energy_gradient(
    model: Model, kernel: Kernel, arrays: Arrays
) -> tuple[Float[Array, " n_nodes"], Float[Array, "n_edges 3"]]:
    """Evaluate the energy of every atom, eV, and ``dE/dr_e`` of every edge, eV/A; differentiable.

    Args:
        model: The model.
        kernel: Computes the messages.
        arrays: One structure or a batch.
    """
    differentiable = torch.is_grad_enabled()
    with torch.enable_grad():
        vectors = arrays.vectors if arrays.vectors.requires_grad else arrays.vectors.detach().requires_grad_()
        energies = model(arrays._replace(vectors=vectors), kernel)
        (gradient,) = torch.autograd.grad(energies.sum(), vectors, create_graph=differentiable)
    return energies if differentiable else energies.detach(), gradient


def forces_from_gradient(gradient: Float[Array, "n_edges 3"], arrays: Arrays) -> Float[Array, "n_nodes 3"]:
    """Sum ``F = -dE/dx`` from the gradients of edges, eV/A.

    Args:
        gradient: ``dE/dr_e``, eV/A.
        arrays: One structure or a batch.
    """
    n_nodes = len(arrays.species)
    received = ops.segment_sum(gradient, arrays.receivers, n_nodes)
    return received - ops.scatter_sum(gradient, arrays.senders, n_nodes)


def virial_from_gradient(
    gradient: Float[Array, "n_edges 3"], arrays: Arrays, n_graphs: int
) -> Float[Array, "n_graphs 3 3"]:
    """Sum ``dE/d(strain)`` of every structure, symmetric, eV.

    Args:
        gradient: ``dE/dr_e``, eV/A.
        arrays: One structure or a batch.
        n_graphs: Number of structures.
    """
    outer = arrays.vectors[:, :, None] * gradient[:, None, :]
    virial = ops.segment_sum(outer, ops.take(arrays.node_graph, arrays.receivers), n_graphs)
    return (virial + virial.swapaxes(1, 2)) / 2


def hessian_product(
    model: Model, kernel: Kernel, arrays: Arrays, direction: Float[Array, "n_nodes 3"]
) -> Float[Array, "n_nodes 3"]:
    """Multiply the Hessian ``d2E/dx dx`` with a direction, eV/A^2 times the direction's unit.

    Args:
        model: The model.
        kernel: Computes the messages.
        arrays: One structure or a batch.
        direction: A displacement of every atom.
    """
    with torch.no_grad():
        return -forces_from_gradient(gradient_slope(model, kernel, arrays, direction)[2], arrays)


def gradient_slope(
    model: Model, kernel: Kernel, arrays: Arrays, direction: Float[Array, "n_nodes 3"]
) -> tuple[Float[Array, " n_nodes"], Float[Array, "n_edges 3"], Float[Array, "n_edges 3"]]:
    """Evaluate energies and ``dE/dr_e`` as :func:`energy_gradient` does, and the latter's change.

    Args:
        model: The model.
        kernel: Computes the messages.
        arrays: One structure or a batch.
        direction: A displacement of every atom.

    Returns:
        The energy of every atom, eV; ``dE/dr_e``, eV/A; its derivative along the direction, eV/A^2 times the
        direction's unit. All are differentiable.
    """
    differentiable = torch.is_grad_enabled()
    change = ops.take(direction, arrays.senders) - ops.take(direction, arrays.receivers)
    vectors = arrays.vectors.detach().requires_grad_()
    with torch.enable_grad():
        energies, gradient = energy_gradient(model, kernel, arrays._replace(vectors=vectors))
        slope = (gradient * change).sum()
        (slopes,) = torch.autograd.grad(slope, vectors, create_graph=differentiable)
    return energies, gradient, slopes


def invariant_features(model: Model, kernel: Kernel, arrays: Arrays) -> Float[Array, "n_nodes n_features"]:
    """Evaluate the scalars of every atom after every layer, side by side, the first layer's first.

    Args:
        model: The model.
        kernel: Computes the messages.
        arrays: One structure or a batch.
    """
    trace = model.features(arrays, kernel)
    return ops.concatenate([blocks[0][:, 0] for blocks in trace], 1)


class Potential(EnginePotential):
    """A model ready to evaluate graphs with PyTorch (:class:`nequix.engine_potential.EnginePotential`)."""

    backend = "torch"
    model: Model
    _table = TABLE
    _find_device = staticmethod(find_device)
    _isolated = isolated
    _arrays_type = Arrays

    @property
    def platform(self) -> str:
        """Kind of the device: ``cpu``, ``gpu``, ..."""
        return self.device.type

    def _evaluate_graph(self, graph: Graph) -> Outputs:
        layout = self._arrange(graph)
        with self._precision(), torch.no_grad():
            arrays = self._arrays(layout)
            energies, gradient = energy_gradient(self.model, self.kernel, arrays)
            forces = forces_from_gradient(gradient, arrays)
            virial = virial_from_gradient(gradient, arrays, layout.n_graphs)
        return energies.cpu().numpy(), forces.cpu().numpy(), virial.cpu().numpy()

    def _evaluate_features(self, graph: Graph) -> np.ndarray:
        layout = self._arrange(graph)
        with self._precision(), torch.no_grad():
            features = invariant_features(self.model, self.kernel, self._arrays(layout))
        return features.cpu().numpy().astype(np.float64)

    def _hessian_products(self, graph: Graph, directions: np.ndarray) -> np.ndarray:
        layout = self._arrange(graph)
        with self._precision(), torch.enable_grad():
            arrays = self._arrays(layout)
            products = [
                hessian_product(self.model, self.kernel, arrays, self._put(direction))
                for direction in directions
            ]
            return torch.stack(products).cpu().numpy()

    def _make_model(self, parameters: dict[str, np.ndarray]) -> Model:
        return Model(self.spec, {name: self._put(x) for name, x in parameters.items()}).requires_grad_(False)

    def _put(self, array: np.ndarray) -> Array:
        return torch.tensor(array, device=self.device)

    def _arrange(self, graph: Graph) -> TiledGraph:
        return tile_edges(graph)
