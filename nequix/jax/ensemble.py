"""Several models at once: what they share is computed once, the rest side by side."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from nequix.core.parameters import cast_parameters
from nequix.core.spec import ModelSpec
from nequix.graphs.graph import Graph
from nequix.io.ensemble import own_parameters
from nequix.io.weights import Weights
from nequix.jax.convolution import Arrays, Kernel
from nequix.jax.model import Model
from nequix.jax.ops import Array
from nequix.jax.potential import Potential, energy_gradient, forces_from_gradient, virial_from_gradient
from nequix.potential import EnsemblePotential as BaseEnsemblePotential
from nequix.potential import Outputs


class EnsemblePotential(BaseEnsemblePotential):
    """Models of one specification on a device, evaluated together (docs/ensembles.md)."""

    backend = "jax"
    _member = Potential
    potentials: list[Potential]

    def __init__(self, members: Sequence[Weights], **options: Any) -> None:
        super().__init__(members, **options)
        first = self.potentials[0]
        values = [cast_parameters(weights.parameters, self.dtype) for weights in members]
        names = own_parameters(members)
        with first._precision():
            self._own = {n: first._put(np.stack([value[n] for value in values])) for n in names}
            self._shared = {n: first._put(x) for n, x in values[0].items() if n not in names}
        self._evaluate = jax.jit(partial(_evaluate), static_argnums=(0, 1, 5))

    def __getstate__(self) -> dict[str, Any]:
        """Copies are on the device of their members and compile again, as these do."""
        state = {name: value for name, value in vars(self).items() if name not in ("device", "_evaluate")}
        return {**state, **{name: jax.tree.map(np.asarray, state[name]) for name in ("_own", "_shared")}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        first = state["potentials"][0]
        vars(self).update(state, device=first.device)
        with first._precision():
            self._own, self._shared = jax.device_put((state["_own"], state["_shared"]), first.device)
        self._evaluate = jax.jit(partial(_evaluate), static_argnums=(0, 1, 5))

    def _evaluate_members(self, graph: Graph) -> list[Outputs]:
        if self.potentials[0].native is not None:
            return super()._evaluate_members(graph)
        first = self.potentials[0]
        layout = first._arrange(graph)
        with first._precision(), first._compiling(f"{len(self.potentials)} members", layout):
            arrays = first._arrays(layout)
            outputs = self._evaluate(self.spec, self.kernel, self._shared, self._own, arrays, layout.n_graphs)
            return list(zip(*map(np.asarray, outputs), strict=True))


def _evaluate(
    spec: ModelSpec,
    kernel: Kernel,
    shared: dict[str, Array],
    own: dict[str, Array],
    arrays: Arrays,
    n_graphs: int,
) -> tuple[Array, ...]:
    """Map only over the parameters that differ between members: the shared part is evaluated once."""

    def member(own: dict[str, Array]) -> tuple[Array, ...]:
        energies, gradient = energy_gradient(Model(spec, {**shared, **own}), kernel, arrays)
        virial = virial_from_gradient(gradient, arrays, n_graphs)
        return energies, forces_from_gradient(gradient, arrays), virial

    return jax.vmap(member)(own)
