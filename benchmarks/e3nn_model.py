"""The model written straight from e3nn-jax's primitives, all edges at once, for comparison."""

from __future__ import annotations

import math

import e3nn_jax as e3nn
import jax
import jax.numpy as jnp

from nequix.core.irreps import label
from nequix.core.parameters import group
from nequix.core.paths import plan
from nequix.core.spec import ModelSpec
from nequix.jax.potential import Arrays


def linear(matrices: dict, features: e3nn.IrrepsArray) -> e3nn.IrrepsArray:
    """Mix the channels of every irrep that has a matrix."""
    chunks = {
        str(ir): jnp.einsum("aui,uv->avi", chunk, matrices[str(ir)]) / math.sqrt(mul)
        for (mul, ir), chunk in zip(features.irreps, features.chunks, strict=True)
        if str(ir) in matrices
    }
    irreps = [(chunk.shape[1], ir) for ir, chunk in chunks.items()]
    return e3nn.from_chunks(irreps, list(chunks.values()), (features.shape[0],))


def norm(gains: dict, features: e3nn.IrrepsArray) -> e3nn.IrrepsArray:
    """Apply the equivariant RMS layer norm."""
    pairs = list(zip(features.irreps, features.chunks, strict=True))
    square = sum((chunk**2).sum((1, 2)) / (2 * ir.l + 1) ** 2 for (_, ir), chunk in pairs) / len(pairs)
    scale = jax.lax.rsqrt(square + 1e-12)[:, None, None]
    chunks = [chunk * gains[str(ir)][:, None] * scale for (_, ir), chunk in pairs]
    return e3nn.from_chunks(features.irreps, chunks, (features.shape[0],))


def radial_basis(spec: ModelSpec, distances: jax.Array) -> jax.Array:
    """Evaluate Bessel functions times the polynomial envelope."""
    p, x = spec.radial_polynomial_p, distances[:, None] / spec.cutoff
    bessel = 2 / spec.cutoff * jnp.sin(jnp.arange(1, spec.radial_basis_size + 1) * math.pi * x)
    powers = (p + 1) * (p + 2) / 2 * x**p - p * (p + 2) * x ** (p + 1) + p * (p + 1) / 2 * x ** (p + 2)
    return jnp.where(x < 1, bessel / distances[:, None] * (1 - powers), 0)


def energies(spec: ModelSpec, parameters: dict, arrays: Arrays) -> jax.Array:
    """Evaluate the energy of every atom, eV."""
    groups, n_nodes = group(spec, parameters), len(arrays.species)
    degrees = [label(l) for l in range(spec.lmax + 1)]
    harmonics = e3nn.spherical_harmonics(
        e3nn.Irreps(" + ".join(degrees)), arrays.vectors, normalize=True, normalization="component"
    )
    radial = radial_basis(spec, jnp.linalg.norm(arrays.vectors, axis=1))
    features = e3nn.as_irreps_array(jax.nn.one_hot(arrays.species, spec.n_species, dtype=radial.dtype))
    for i, layer in enumerate(plan(spec)):
        own = groups[f"layers.{i}"]
        weights = radial
        for name in sorted(own["radial"], key=int)[:-1]:
            weights = jax.nn.silu(weights @ own["radial"][name])
        weights = weights @ own["radial"][max(own["radial"], key=int)]
        messages = e3nn.tensor_product(
            linear(own["linear_1"], features)[arrays.senders],
            harmonics,
            filter_ir_out=[label(l) for l, _ in layer.messages],
        )
        summed = e3nn.scatter_sum(messages * weights, dst=arrays.receivers, output_size=n_nodes)
        summed = summed / math.sqrt(spec.avg_n_neighbors)
        mixed, kept = linear(own["linear_2"], summed), linear(own["skip"], features)
        chunks = dict(zip((str(ir) for _, ir in kept.irreps), kept.chunks, strict=True))
        mixed = e3nn.from_chunks(
            mixed.irreps,
            [
                chunk + chunks.get(str(ir), 0)
                for (_, ir), chunk in zip(mixed.irreps, mixed.chunks, strict=True)
            ],
            (n_nodes,),
        )
        features = e3nn.gate(
            norm(own["norm"], mixed) if spec.layer_norm else mixed,
            even_act=jax.nn.silu,
            even_gate_act=jax.nn.silu,
        )
    readout = linear(groups["readout"], features).array[:, 0]
    return readout * spec.scale + spec.shift + parameters["atom_energies"][arrays.species]
