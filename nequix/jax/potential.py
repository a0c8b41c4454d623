"""Energy, forces, stress and Hessian of graphs, with a model's weights on a device."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from nequix.engine_potential import EnginePotential
from nequix.graphs.graph import Graph
from nequix.graphs.tiling import CHUNK_TILES, TiledGraph, round_up, tile_edges, tiles_needed
from nequix.io.interrupts import compiling
from nequix.jax import ops
from nequix.jax.convolution import Arrays, Kernel
from nequix.jax.isolation import isolated
from nequix.jax.kernels import TABLE, find_device
from nequix.jax.model import Model
from nequix.jax.ops import Array
from nequix.potential import Outputs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float

_SPARE = 1.05
_WASTE = 1.5
_COMPILED = ("_evaluate", "_product", "_features", "_known")


def energy_gradient(
    model: Model, kernel: Kernel, arrays: Arrays
) -> tuple[Float[Array, " n_nodes"], Float[Array, "n_edges 3"]]:
    """Evaluate the energy of every atom, eV, and ``dE/dr_e`` of every edge, eV/A; differentiable.

    Args:
        model: The model.
        kernel: Computes the messages.
        arrays: One structure or a batch.
    """

    def total(vectors: Array) -> tuple[Array, Array]:
        energies = model(arrays._replace(vectors=vectors), kernel)
        return energies.sum(), energies

    gradient, energies = jax.grad(total, has_aux=True)(arrays.vectors)
    return energies, gradient


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
    change = ops.take(direction, arrays.senders) - ops.take(direction, arrays.receivers)

    def slope(vectors: Array) -> tuple[Array, tuple[Array, Array]]:
        energies, gradient = energy_gradient(model, kernel, arrays._replace(vectors=vectors))
        return (gradient * change).sum(), (energies, gradient)

    slopes, (energies, gradient) = jax.grad(slope, has_aux=True)(arrays.vectors)
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


def _evaluate(kernel: Kernel, model: Model, arrays: Arrays, n_graphs: int) -> tuple[Array, ...]:
    energies, gradient = energy_gradient(model, kernel, arrays)
    virial = virial_from_gradient(gradient, arrays, n_graphs)
    return energies, forces_from_gradient(gradient, arrays), virial


def _product(kernel: Kernel, model: Model, arrays: Arrays, direction: Array) -> Array:
    return hessian_product(model, kernel, arrays, direction)


def _features(kernel: Kernel, model: Model, arrays: Arrays) -> Array:
    return invariant_features(model, kernel, arrays)


class Potential(EnginePotential):
    """A model ready to evaluate graphs with JAX (:class:`nequix.engine_potential.EnginePotential`)."""

    backend = "jax"
    model: Model
    _table = TABLE
    _find_device = staticmethod(find_device)
    _isolated = isolated
    _arrays_type = Arrays

    def __getstate__(self) -> dict[str, Any]:
        """Copies find the device by its name and compile again; parameters travel as NumPy's, in full."""
        state = {name: value for name, value in vars(self).items() if name not in _COMPILED}
        index = jax.devices(self.platform).index(self.device)
        return {
            **state,
            "device": f"{self.platform}:{index}",
            "model": jax.tree.map(np.asarray, self.model),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, device=find_device(state["device"]))
        self._compile()
        with self._precision():
            self.model = jax.device_put(state["model"], self.device)

    @property
    def platform(self) -> str:
        """Kind of the device: ``cpu``, ``gpu``, ..."""
        return self.device.platform

    def _evaluate_graph(self, graph: Graph) -> Outputs:
        layout = self._arrange(graph)
        with self._precision(), self._compiling("energies and forces", layout):
            arrays = self._arrays(layout)
            energies, forces, virial = self._evaluate(self.kernel, self.model, arrays, layout.n_graphs)
            return np.asarray(energies), np.asarray(forces), np.asarray(virial)

    def _evaluate_features(self, graph: Graph) -> np.ndarray:
        layout = self._arrange(graph)
        with self._precision(), self._compiling("features", layout):
            features = self._features(self.kernel, self.model, self._arrays(layout))
            return np.asarray(features, np.float64)

    def _hessian_products(self, graph: Graph, directions: np.ndarray) -> np.ndarray:
        layout = self._arrange(graph)
        padded = np.zeros((len(directions), len(layout.species), 3))
        padded[:, : graph.n_nodes] = directions
        with self._precision(), self._compiling("Hessian products", layout):
            arrays = self._arrays(layout)
            # One product is compiled, for the whole Hessian and for single products of any such system.
            products = [
                self._product(self.kernel, self.model, arrays, self._put(direction)) for direction in padded
            ]
            return np.stack([np.asarray(product)[: graph.n_nodes] for product in products])

    def _prepare(self) -> None:
        self._sizes: list[tuple[int, int, int]] = []
        self._compile()

    def _make_model(self, parameters: dict[str, np.ndarray]) -> Model:
        return Model(self.spec, jax.device_put(parameters, self.device))

    def _compile(self) -> None:
        """Make the functions that compile when they are first called with new sizes."""
        self._known: set[tuple[str, int, int, int]] = set()
        # A partial is a separate function, so that only this potential's compilations are counted.
        self._evaluate = jax.jit(partial(_evaluate), static_argnums=(0, 3))
        self._product = jax.jit(partial(_product), static_argnums=0)
        self._features = jax.jit(partial(_features), static_argnums=0)

    @contextlib.contextmanager
    def _compiling(self, what: str, layout: TiledGraph) -> Iterator[None]:
        """Show that a function compiles when it is called with new sizes for the first time."""
        sizes = (what, len(layout.species), len(layout.senders), layout.n_graphs)
        if sizes in self._known:
            yield
            return
        with compiling(f"JAX compiles {what} for up to {sizes[1] - 1} atoms and {sizes[2]} edges"):
            yield
        self._known.add(sizes)

    def _put(self, array: np.ndarray) -> Array:
        return jax.device_put(array, self.device)

    def _arrange(self, graph: Graph) -> TiledGraph:
        """Arrange in sizes that were compiled before, if any of them fits without much waste."""
        # One atom and one structure more than there are: padding atoms are a structure of their own.
        needed = (graph.n_nodes + 1, tiles_needed(graph), graph.n_graphs + 1)
        fitting = [
            sizes
            for sizes in self._sizes
            if all(n <= size <= max(_WASTE * n, CHUNK_TILES) for n, size in zip(needed, sizes, strict=True))
        ]
        if not fitting:
            n_tiles = int(_SPARE * needed[1])
            granularity = CHUNK_TILES if n_tiles > CHUNK_TILES else 8
            sizes = (round_up(needed[0], 4), round_up(n_tiles, granularity), round_up(needed[2], 1))
            self._sizes.append(sizes)
            fitting = [sizes]
        return tile_edges(graph, *min(fitting))
