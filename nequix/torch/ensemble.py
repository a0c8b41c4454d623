"""Several models at once: what they share is computed once, the rest side by side."""

from __future__ import annotations

import torch

from nequix.graphs.graph import Graph
from nequix.potential import EnsemblePotential as BaseEnsemblePotential
from nequix.potential import Outputs
from nequix.torch.convolution import Arrays
from nequix.torch.potential import Potential, forces_from_gradient, virial_from_gradient


class EnsemblePotential(BaseEnsemblePotential):
    """Models of one specification on a device, evaluated together (docs/ensembles.md)."""

    backend = "torch"
    _member = Potential
    potentials: list[Potential]

    def _evaluate_members(self, graph: Graph) -> list[Outputs]:
        if self.potentials[0].native is not None:
            return super()._evaluate_members(graph)
        first = self.potentials[0]
        layout = first._arrange(graph)
        with first._precision(), torch.enable_grad():
            arrays = first._arrays(layout)
            arrays = arrays._replace(vectors=arrays.vectors.requires_grad_())
            outputs = self._run_members(arrays, layout.n_graphs)
        return [(e.cpu().numpy(), f.cpu().numpy(), v.cpu().numpy()) for e, f, v in outputs]

    def _run_members(self, arrays: Arrays, n_graphs: int) -> list[tuple[torch.Tensor, ...]]:
        """Run the shared layers forward once, then each member forward from there and back to the edges."""
        model, outputs = self.potentials[0].model, []
        edges, blocks = model.begin(arrays)
        for layer in list(model.layers)[: self._n_shared]:
            blocks = layer(blocks, edges, self.kernel)
        for potential in self.potentials:
            energies = potential.model.finish(blocks, edges, arrays, self.kernel, self._n_shared)
            (gradient,) = torch.autograd.grad(energies.sum(), arrays.vectors, retain_graph=True)
            virial = virial_from_gradient(gradient, arrays, n_graphs)
            outputs.append((energies.detach(), forces_from_gradient(gradient, arrays), virial.detach()))
        return outputs
