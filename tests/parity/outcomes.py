"""Everything that two implementations must agree on, and how each of the three computes it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
import torch

import nequix.jax.layers
import nequix.jax.potential
import nequix.torch.layers
import nequix.torch.potential
from nequix.graphs.graph import Graph
from nequix.graphs.results import unpad_results
from nequix.graphs.tiling import tile_edges
from nequix.io.weights import Weights
from tests import dual, reference_model
from tests.dual import Dual

IMAGINARY = 1e-30
"""Size of a complex step: its square vanishes beside one, and no difference is taken."""

_QUICK = {"xla_backend_optimization_level": 0}  # compiling is nearly all of the time

Stages = list[tuple[str, dict[str, np.ndarray]]]


@dataclass(frozen=True, eq=False)
class Probe:
    """Directions along which derivatives are taken.

    Attributes:
        displacement: Of every atom, for the Hessian's product.
        energies: Factor of every atom's energy in a functional of the parameters.
        forces: Factor of every force in it; its gradient is the second derivative that training needs.
        parameters: A direction for every parameter.
    """

    displacement: np.ndarray
    energies: np.ndarray
    forces: np.ndarray
    parameters: dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one implementation makes of a graph; features as (atoms, channels, components)."""

    energy: np.ndarray
    energies: np.ndarray
    forces: np.ndarray
    stress: np.ndarray
    product: np.ndarray
    gradients: dict[str, np.ndarray]
    stages: Stages

    def along(self, probe: Probe) -> Outcome:
        """Replace the gradients by their products with the probe's parameters, one a tensor."""

        slopes = {name: np.sum(g * probe.parameters[name]) for name, g in self.gradients.items()}
        return Outcome(**{**vars(self), "gradients": slopes})


def _stages(graph, edges, layers, slots, lmax):
    """Bring an engine's edges and features into the reference's shape and names."""
    radial, harmonics = (np.asarray(x)[slots] for x in edges)
    degrees = {f"Y_{l}": harmonics[:, l**2 : (l + 1) ** 2] for l in range(lmax + 1)}
    stages = [("edges", {"radial": radial, **degrees})]
    for t, blocks in enumerate(layers):
        parts = {f"l = {l}": np.asarray(block)[: graph.n_nodes] for l, block in blocks.items()}
        stages.append((f"layer {t}", {l: block.transpose(0, 2, 1) for l, block in parts.items()}))
    return stages


def _padded(values, n_nodes):
    return np.concatenate([values, np.zeros((n_nodes - len(values), *values.shape[1:]))])


@partial(jax.jit, static_argnums=(1, 3), compiler_options=_QUICK)
def _compiled(model, kernel, arrays, n_graphs, displacement, energy_factors, force_factors):
    engine = nequix.jax.potential

    def functional(model):
        energies, gradient = engine.energy_gradient(model, kernel, arrays)
        forces = engine.forces_from_gradient(gradient, arrays)
        return (energies * energy_factors).sum() + (forces * force_factors).sum()

    energies, gradient = engine.energy_gradient(model, kernel, arrays)
    forces = engine.forces_from_gradient(gradient, arrays)
    virial = engine.virial_from_gradient(gradient, arrays, n_graphs)
    product = engine.hessian_product(model, kernel, arrays, displacement)
    gradients = jax.grad(functional)(model)
    edges = nequix.jax.layers.edge_features(arrays.vectors, model.spec)
    layers = model.features(arrays, kernel)
    return (energies, forces, virial), product, gradients, edges, layers


def _by_name(model):
    """List the parameters of a JAX model by the manifest's names."""
    named = {
        f"layers.{t}.{kind}.{leaf}": array
        for t, layer in enumerate(model.layers)
        for kind in ("radial", "linear_1", "linear_2", "skip", "norm")
        for leaf, array in getattr(layer, kind).items()
    }
    return {name: np.asarray(array) for name, array in {**named, "readout.0e": model.readout["0e"]}.items()}


def jax_outcome(
    potential: nequix.jax.potential.Potential, graph: Graph, sizes: tuple[int, int, int], probe: Probe
) -> Outcome:
    """Ask the JAX engine, in one compilation for all graphs of the same sizes."""
    layout = tile_edges(graph, *sizes)
    factors = [_padded(x, len(layout.species)) for x in (probe.displacement, probe.energies, probe.forces)]
    with potential._precision():
        given = (potential.model, potential.kernel, potential._arrays(layout), layout.n_graphs)
        outputs, product, gradients, edges, layers = _compiled(*given, *map(potential._put, factors))
    results = unpad_results(graph, *map(np.asarray, outputs))
    return Outcome(
        **vars(results),
        product=np.asarray(product)[: graph.n_nodes],
        gradients=_by_name(gradients),
        stages=_stages(graph, edges, layers, layout.slots, potential.spec.lmax),
    )


def torch_outcome(
    potential: nequix.torch.potential.Potential, graph: Graph, sizes: tuple[int, int, int], probe: Probe
) -> Outcome:
    """Ask the PyTorch engine."""
    engine = nequix.torch.potential
    layout = tile_edges(graph, *sizes)
    arrays, model, kernel = potential._arrays(layout), potential.model, potential.kernel
    displacement, energy_factors, force_factors = (
        potential._put(_padded(x, len(layout.species)))
        for x in (probe.displacement, probe.energies, probe.forces)
    )
    product = engine.hessian_product(model, kernel, arrays, displacement)
    parameters = dict(model.named_parameters())
    model.requires_grad_(True)
    energies, gradient = engine.energy_gradient(model, kernel, arrays)
    forces = engine.forces_from_gradient(gradient, arrays)
    functional = (energies * energy_factors).sum() + (forces * force_factors).sum()
    gradients = torch.autograd.grad(functional, list(parameters.values()), materialize_grads=True)
    model.requires_grad_(False)
    with torch.no_grad():
        virial = engine.virial_from_gradient(gradient, arrays, layout.n_graphs)
        edges = nequix.torch.layers.edge_features(arrays.vectors, model.spec)
        layers = model.features(arrays, kernel)
    results = unpad_results(graph, *(array.detach().numpy() for array in (energies, forces, virial)))
    return Outcome(
        **vars(results),
        product=product.numpy()[: graph.n_nodes],
        gradients={name: x.numpy() for name, x in zip(parameters, gradients, strict=True)},
        stages=_stages(graph, edges, layers, layout.slots, potential.spec.lmax),
    )


def reference_outcome(weights: Weights, graph: Graph, probe: Probe) -> Outcome:
    """Ask the NumPy reference; its gradients are already those along the probe."""
    spec, parameters = weights.spec, weights.parameters

    def energies(positions=graph.positions, strain=None, parameters=parameters, stages=None):
        gather = np.eye(graph.n_nodes)[graph.senders] - np.eye(graph.n_nodes)[graph.receivers]
        images = np.einsum("ea,eab->eb", graph.shifts, graph.cell[graph.edge_graph])
        vectors = dual.einsum("ea,...ac->...ec", gather, positions) + images
        if strain is not None:
            vectors = dual.einsum("...ec,...cd->...ed", vectors, np.eye(3) + strain)
        given = (vectors, graph.senders, graph.receivers, graph.species)
        found, energies = reference_model.trace(spec, parameters, *given)
        if stages is not None:
            stages += found
        return energies

    def slopes(values):
        return np.imag(values) / IMAGINARY

    # Structures do not see each other, so that the n-th atoms of all of them can be displaced at once.
    ordinal = np.arange(graph.n_nodes) - (np.cumsum(graph.n_node) - graph.n_node)[graph.node_graph]
    n_moves = graph.n_node.max()
    moves = (ordinal == np.arange(n_moves)[:, None])[:, None, :, None] * np.eye(3)[:, None, :]
    moved = graph.positions + IMAGINARY * 1j * moves  # (ordinal, axis, atom, component)
    member = np.eye(graph.n_graphs)[graph.node_graph]
    stages: Stages = []
    values = energies(stages=stages)
    forces = -slopes(np.einsum("nxa,ag->gnx", energies(moved), member))
    symmetric = (np.eye(9) + np.eye(9)[np.arange(9).reshape(3, 3).T.ravel()]).reshape(3, 3, 3, 3) / 2
    virial = slopes(np.einsum("xya,ag->gxy", energies(strain=1j * IMAGINARY * symmetric), member))
    direction = np.broadcast_to(probe.displacement, moved.shape)
    product = slopes(np.einsum("nxa,ag->gnx", energies(Dual(moved, direction)).tangent, member))
    gradients = {}
    along = Dual(graph.positions, probe.forces)
    for name in (name for name in parameters if name != "atom_energies"):
        step = {**parameters, name: parameters[name] + 1j * IMAGINARY * probe.parameters[name]}
        shifted = energies(along, parameters=step)
        gradients[name] = slopes(shifted.value @ probe.energies - shifted.tangent.sum())
    own = (graph.node_graph, ordinal)
    results = unpad_results(graph, values, forces[own], virial)
    return Outcome(
        **vars(results),
        product=product[own],
        gradients=gradients,
        stages=stages,
    )


def forget_compiled() -> None:
    """Drop the compiled programs of models that are done with."""
    _compiled.clear_cache()
