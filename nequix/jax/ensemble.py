"""Several models at once: what they share is computed once, the rest side by side."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from nequix.core.spec import ModelSpec
from nequix.graphs.graph import Graph
from nequix.graphs.results import cast_parameters, check_graph, unpad_results
from nequix.io.ensemble import EnsembleResults, check_members, n_shared_layers, own_parameters
from nequix.io.weights import Weights
from nequix.jax.convolution import Kernel
from nequix.jax.model import Model
from nequix.jax.ops import Array
from nequix.jax.potential import (
    Arrays,
    Potential,
    energy_gradient,
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

    backend = "jax"

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
        values = [cast_parameters(weights, dtype) for weights in members]
        names = own_parameters(members)
        self._n_shared = n_shared_layers(members)
        with first._precision():
            self._own = {n: first._put(np.stack([value[n] for value in values])) for n in names}
            self._shared = {n: first._put(x) for n, x in values[0].items() if n not in names}
        self._evaluate = jax.jit(partial(_evaluate), static_argnums=(0, 1, 5))

    def __getstate__(self) -> dict[str, Any]:
        """Copies are on the device of their members and compile anew, as these do."""
        state = {name: value for name, value in vars(self).items() if name not in ("device", "_evaluate")}
        return {**state, **{name: jax.tree.map(np.asarray, state[name]) for name in ("_own", "_shared")}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        first = state["potentials"][0]
        vars(self).update(state, device=first.device)
        with first._precision():
            self._own, self._shared = jax.device_put((state["_own"], state["_shared"]), first.device)
        self._evaluate = jax.jit(partial(_evaluate), static_argnums=(0, 1, 5))

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
        with first._precision():
            arrays = first._arrays(layout)
            told = self._evaluate(self.spec, self.kernel, self._shared, self._own, arrays, layout.n_graphs)
            members = zip(*map(np.asarray, told), strict=True)
            return EnsembleResults(tuple(unpad_results(graph, *member) for member in members))

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


def _evaluate(
    spec: ModelSpec,
    kernel: Kernel,
    shared: dict[str, Array],
    own: dict[str, Array],
    arrays: Arrays,
    n_graphs: int,
) -> tuple[Array, ...]:
    """Map over the members' own parameters alone: what does not depend on them is not repeated."""

    def member(own: dict[str, Array]) -> tuple[Array, ...]:
        energies, gradient = energy_gradient(Model(spec, {**shared, **own}), kernel, arrays)
        virial = virial_from_gradient(gradient, arrays, n_graphs)
        return energies, forces_from_gradient(gradient, arrays), virial

    return jax.vmap(member)(own)
