"""The energy in plain NumPy, equation by equation as in docs/architecture.md: the judge of all engines.

Without tiles, chunks, padding or a framework; only the coupling tensors and the harmonics are the ones
that the engines use, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from nequix.core.coupling import coupling, spherical_harmonics
from nequix.core.irreps import label
from nequix.core.parameters import group
from nequix.core.paths import LayerPlan, plan
from nequix.core.spec import GATE_NORMALISATION, NORM_EPSILON, ModelSpec
from nequix.graphs.graph import Graph
from nequix.io.weights import Weights

if TYPE_CHECKING:
    from jaxtyping import Float

Features = dict[int, Any]  # degree: (n_nodes, channels, components)


def energies(graph: Graph, weights: Weights) -> Float[np.ndarray, " n_nodes"]:
    """Evaluate the energy of every atom, eV, in float64.

    Args:
        graph: One structure or a batch.
        weights: The model.
    """
    spec = weights.spec
    arrays = {name: np.asarray(values, np.float64) for name, values in weights.parameters.items()}
    groups = group(spec, arrays)
    radial, harmonics = _edges(graph, spec)
    features: Features = {0: np.eye(spec.n_species)[graph.species][:, :, None]}
    for index, layer in enumerate(plan(spec)):
        matrices = groups[f"layers.{index}"]
        summed = _messages(graph, features, radial, harmonics, matrices, layer, spec)
        features = _gate(_norm(_mix(summed, features, matrices, layer), matrices, spec), layer)
    scalars = features[0][:, :, 0]
    readout = scalars @ arrays["readout.0e"][:, 0] / math.sqrt(scalars.shape[1])
    return readout * spec.scale + spec.shift + arrays["atom_energies"][graph.species]


def _edges(graph: Graph, spec: ModelSpec) -> tuple[np.ndarray, np.ndarray]:
    vectors = graph.vectors
    distances = np.linalg.norm(vectors, axis=1, keepdims=True)
    n, x, p = np.arange(1, spec.radial_basis_size + 1), distances / spec.cutoff, spec.radial_polynomial_p
    bessel = 2 / spec.cutoff * np.sin(n * math.pi * x) / distances
    envelope = 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
    return bessel * np.where(x < 1, envelope, 0.0), spherical_harmonics(vectors / distances, spec.lmax)


def _silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def _linear(block: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return np.einsum("aum,uv->avm", block, matrix, optimize=True) / math.sqrt(len(matrix))


def _messages(
    graph: Graph,
    features: Features,
    radial: np.ndarray,
    harmonics: np.ndarray,
    matrices: Mapping[str, Any],
    layer: LayerPlan,
    spec: ModelSpec,
) -> Features:
    w = radial @ matrices["radial"]["0"]
    for index in range(1, spec.radial_mlp_layers + 1):
        w = _silu(w) @ matrices["radial"][str(index)]
    mixed = {l: _linear(block, matrices["linear_1"][label(l)]) for l, block in features.items()}
    blocks: dict[int, list[np.ndarray]] = {}
    for path in layer.paths:
        Y = harmonics[:, path.l2**2 : (path.l2 + 1) ** 2]
        rotation = np.einsum("ej,ijk->eik", Y, coupling(path.l1, path.l2, path.l3))
        weighted = mixed[path.l1][graph.senders] * w[:, path.weight : path.weight + path.mul, None]
        total = np.zeros((graph.n_nodes, path.mul, 2 * path.l3 + 1))
        np.add.at(total, graph.receivers, weighted @ rotation)
        blocks.setdefault(path.l3, []).append(total / math.sqrt(spec.avg_n_neighbors))
    return {l: np.concatenate(parts, axis=1) for l, parts in blocks.items()}


def _mix(summed: Features, features: Features, matrices: Mapping[str, Any], layer: LayerPlan) -> Features:
    mixed: Features = {}
    for l, _ in layer.preactivation:
        for kind, blocks in (("linear_2", summed), ("skip", features)):
            if l in blocks:
                mixed[l] = mixed.get(l, 0.0) + _linear(blocks[l], matrices[kind][label(l)])
    return mixed


def _norm(z: Features, matrices: Mapping[str, Any], spec: ModelSpec) -> Features:
    if not spec.layer_norm:
        return z
    squares = [(block**2).mean(axis=2).sum(axis=1) / (2 * l + 1) / len(z) for l, block in z.items()]
    factor = 1 / np.sqrt(sum(squares) + NORM_EPSILON)
    return {l: block * matrices["norm"][label(l)][:, None] * factor[:, None, None] for l, block in z.items()}


def _gate(z: Features, layer: LayerPlan) -> Features:
    activated = _silu(z[0]) / GATE_NORMALISATION
    gated, start = {}, 0
    for l, mul in layer.outputs:
        gate = activated[:, start : start + mul]
        gated[l] = gate if l == 0 else z[l] * gate
        start += mul
    return gated
