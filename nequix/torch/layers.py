"""The equations of a layer, as functions on arrays; the module only holds the parameters.

Features are ``{degree: (n_nodes, 2 * degree + 1, channels)}``: channels last, where they are contiguous.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from nequix.core.coupling import harmonic_step
from nequix.core.irreps import label
from nequix.core.paths import LayerPlan
from nequix.core.spec import GATE_NORMALISATION, NORM_EPSILON, ModelSpec
from nequix.torch import ops
from nequix.torch.convolution import Edges, Kernel, aggregate
from nequix.torch.ops import Array

if TYPE_CHECKING:
    from jaxtyping import Float

Features = dict[int, Array]
Matrices = Mapping[str, Array] | nn.ParameterDict


def silu(x: Array) -> Array:
    """Evaluate ``x * sigmoid(x)``.

    Args:
        x: Any array.
    """
    return x * ops.sigmoid(x)


def radial_basis(distances: Float[Array, " n_edges"], spec: ModelSpec) -> Float[Array, "n_edges n_basis"]:
    """Evaluate Bessel functions times the polynomial envelope (docs/architecture.md, edges).

    Finite with finite derivatives at distance zero; exactly zero from the cutoff on.

    Args:
        distances: A.
        spec: Gives the cutoff, its power and the number of functions.
    """
    frequencies = ops.constant(np.arange(1, spec.radial_basis_size + 1) * math.pi / spec.cutoff, distances)
    d = distances[:, None]
    touching = d == 0
    bessel = ops.where(touching, frequencies, ops.sin(frequencies * d) / ops.where(touching, 1.0, d))
    p = spec.radial_polynomial_p
    p = int(p) if p.is_integer() else p  # whole powers are products: quicker, and exact at zero
    inside = d < spec.cutoff
    x = ops.where(inside, d / spec.cutoff, 0.0)  # null edges are longer: their powers must not overflow
    polynomial = (
        1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
    )
    return 2 / spec.cutoff * bessel * ops.where(inside, polynomial, 0.0)


def spherical_harmonics(unit: Float[Array, "n_edges 3"], lmax: int) -> Float[Array, "n_edges n_harmonics"]:
    """Evaluate ``Y_0 ... Y_lmax``, side by side, by recursion (docs/architecture.md, harmonics).

    Args:
        unit: Unit vectors; a zero vector gives zeros above degree 0.
        lmax: Highest degree.
    """
    blocks = [ops.ones_like(unit[:, :1])]
    first = math.sqrt(3) * unit
    for degree in range(1, lmax + 1):
        step = ops.constant(harmonic_step(degree).reshape(-1, 2 * degree + 1), unit)
        products = blocks[-1][:, :, None] * first[:, None, :]
        blocks.append(products.reshape(len(unit), 3 * (2 * degree - 1)) @ step)
    return ops.concatenate(blocks, -1)


def edge_features(
    vectors: Float[Array, "n_edges 3"], spec: ModelSpec
) -> tuple[Float[Array, "n_edges n_basis"], Float[Array, "n_edges n_harmonics"]]:
    """Evaluate the radial basis and the spherical harmonics of edges.

    Args:
        vectors: ``r_e``, A; a zero vector is allowed and has finite derivatives.
        spec: The model's specification.
    """
    square = (vectors * vectors).sum(-1)
    touching = square == 0
    lengths = ops.sqrt(ops.where(touching, 1.0, square))
    distances = ops.where(touching, 0.0, lengths)
    return radial_basis(distances, spec), spherical_harmonics(vectors / lengths[:, None], spec.lmax)


def radial_mlp(matrices: Sequence[Array], radial: Float[Array, "n_edges n_basis"]) -> Array:
    """Evaluate the radial weights of every path: matrices with SiLU between, no biases.

    Args:
        matrices: First to last.
        radial: The radial basis.
    """
    hidden = radial
    for matrix in matrices[:-1]:
        hidden = silu(hidden @ matrix)
    return hidden @ matrices[-1]


def linear(matrices: Matrices, features: Features) -> Features:
    """Mix channels within each degree that has a matrix: ``h @ W / sqrt(n_in)``.

    Args:
        matrices: By irrep, ``0e``, ``1o``, ...
        features: Blocks by degree.
    """
    return {
        l: block @ (matrices[label(l)] / math.sqrt(block.shape[-1]))
        for l, block in features.items()
        if label(l) in matrices
    }


def add(a: Features, b: Features) -> Features:
    """Add features; a degree that one of them lacks counts as zero.

    Args:
        a: Blocks by degree.
        b: Blocks by degree.
    """
    both = {l: a[l] + b[l] for l in a if l in b}
    return dict(sorted({**a, **b, **both}.items()))


def rms_norm(gains: Matrices, features: Features) -> Features:
    """Apply the equivariant RMS layer norm (docs/architecture.md, norm).

    Args:
        gains: One gain a channel, by irrep.
        features: Blocks by degree before the activation.
    """
    squares = [(z * z).sum((1, 2))[:, None] / (2 * l + 1) ** 2 for l, z in features.items()]
    square = ops.concatenate(squares, 1).sum(1) / len(squares)
    scale = (1 / ops.sqrt(square + NORM_EPSILON))[:, None, None]
    return {l: z * gains[label(l)] * scale for l, z in features.items()}


def gate(features: Features, n_gates: int) -> Features:
    """Activate scalars and gate the rest by the last ``n_gates`` of them (docs/architecture.md, gate).

    Args:
        features: Blocks by degree; ``0e`` holds the scalars, then the gates in order of degree.
        n_gates: Number of gates.
    """
    scalars = silu(features[0]) / GATE_NORMALISATION
    start = scalars.shape[-1] - n_gates
    gated = {0: scalars[:, :, :start]}
    for l, block in features.items():
        if l > 0:
            gated[l] = block * scalars[:, :, start : start + block.shape[-1]]
            start += block.shape[-1]
    return gated


class Interaction(nn.Module):
    """One interaction layer (docs/architecture.md, layer).

    Args:
        groups: Parameters by group (``radial``, ``linear_1``, ``linear_2``, ``skip``, ``norm``) and name.
        plan: The layer's tables.
        spec: The model's specification.
    """

    def __init__(self, groups: Mapping[str, dict[str, Array]], plan: LayerPlan, spec: ModelSpec) -> None:
        super().__init__()
        self.radial = nn.ParameterDict(groups["radial"])
        self.linear_1 = nn.ParameterDict(groups["linear_1"])
        self.linear_2 = nn.ParameterDict(groups["linear_2"])
        self.skip = nn.ParameterDict(groups["skip"])
        self.norm = nn.ParameterDict(groups.get("norm", {}))
        self.plan = plan
        self.spec = spec

    def forward(self, features: Features, edges: Edges, kernel: Kernel) -> Features:
        """Update the features of every atom.

        Args:
            features: Blocks by degree.
            edges: The graph's edges with their features.
            kernel: Computes the messages and their sum.
        """
        matrices = [self.radial[name] for name in sorted(self.radial, key=int)]
        mixed = linear(self.linear_1, features)
        summed = aggregate(kernel, self.plan, mixed, edges, radial_mlp, matrices)
        norm = math.sqrt(self.spec.avg_n_neighbors)
        messages = {l: block / norm for l, block in summed.items()}
        updated = add(linear(self.linear_2, messages), linear(self.skip, features))
        if self.spec.layer_norm:
            updated = rms_norm(self.norm, updated)
        return gate(updated, self.plan.n_gates)
