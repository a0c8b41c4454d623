"""The model in NumPy, edge by edge, written from docs/architecture.md and nothing else.

Features are ``h[l]`` of shape ``(..., atoms, channels, 2l+1)``, as on that page. Every function is
analytic (no absolute values, no conjugates), so that an imaginary step of 1e-30 in positions, strain or
parameters gives derivatives to the last digit; leading axes hold such steps side by side. Couplings come
from integrals of three harmonics over the sphere rather than from Racah's formula, and harmonics from
Legendre polynomials rather than from couplings: no table is shared with the engines.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.polynomial import legendre

from tests import dual
from tests.dual import einsum

GATE = 0.5964586854233045


def harmonics(unit, lmax):
    """``Y_0 ... Y_lmax`` of unit vectors: polar axis y, azimuth from z to x, ``|Y_l|^2 = 2l + 1``."""
    x, y, z = unit[..., 0], unit[..., 1], unit[..., 2]
    cosine, sine = [x * 0 + 1], [x * 0]  # real and imaginary part of (z + ix)^m
    for _ in range(lmax):
        cosine.append(z * cosine[-1] - x * sine[-1])
        sine.append(z * sine[-1] + x * cosine[-2])
    return [dual.stack([_harmonic(l, m, y, cosine, sine) for m in range(-l, l + 1)]) for l in range(lmax + 1)]


def _harmonic(l, m, y, cosine, sine):
    order = abs(m)
    derivative = legendre.leg2poly(legendre.legder([0] * l + [1], order))
    polar = sum((float(c) * y**k for k, c in enumerate(derivative[1:], 1)), y * 0 + float(derivative[0]))
    norm = (2 * l + 1) * (2 if m else 1) * math.factorial(l - order) / math.factorial(l + order)
    return polar * (sine if m < 0 else cosine)[order] * math.sqrt(norm)


@cache
def coupling(l1, l2, l3):
    """``C[l1,l2,l3]``: the integral of three harmonics, scaled to the norm ``sqrt(2 l3 + 1)``."""
    degree = l1 + l2 + l3  # of the integrand: the quadrature below is exact up to it
    y, weight = legendre.leggauss(degree // 2 + 1)
    angle = np.arange(degree + 1) * 2 * np.pi / (degree + 1)
    y, angle = (grid.ravel() for grid in np.meshgrid(y, angle, indexing="ij"))
    radius = np.sqrt(1 - y * y)
    points = np.stack([radius * np.sin(angle), y, radius * np.cos(angle)], -1)
    Y = harmonics(points, max(l1, l2, l3))
    integral = np.einsum("e,ei,ej,ek->ijk", np.repeat(weight, degree + 1), Y[l1], Y[l2], Y[l3])
    return math.sqrt(2 * l3 + 1) * integral / np.linalg.norm(integral)


def edge_quantities(spec, vectors):
    """Section 3: the radial basis and the harmonics of edges."""
    distance = dual.sqrt(einsum("...ec,...ec->...e", vectors, vectors))[..., None]
    n = np.arange(1, spec.radial_basis_size + 1)
    bessel = 2 / spec.cutoff * dual.sin(n * math.pi / spec.cutoff * distance) / distance
    p, x = spec.radial_polynomial_p, distance / spec.cutoff
    envelope = 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
    return bessel * dual.where(x.real < 1, envelope, 0.0), harmonics(vectors / distance, spec.lmax)


def silu(x):
    negative = x.real < 0
    decaying = dual.exp(x * np.where(negative, 1, -1))  # on either side: no overflow, no cancellation
    return x * dual.where(negative, decaying, 1.0) / (1 + decaying)


def linear(matrix, block):
    return einsum("...aum,...uv->...avm", block, matrix) / math.sqrt(block.shape[-2])


def irrep(l):
    return f"{l}{'eo'[l % 2]}"


def paths(inputs, outputs, lmax):
    """Step 3 of section 4: ``(l1, l2, l3)`` in the order of the radial weights' columns."""
    unsorted = [
        (l1, l2, l3)
        for l1 in inputs
        for l2 in range(lmax + 1)
        for l3 in range(abs(l1 - l2), l1 + l2 + 1)
        if l3 in outputs and (l1 + l2 + l3) % 2 == 0
    ]
    return sorted(unsorted, key=lambda path: path[2])


def messages(spec, W, h, radial, Y, gather, out):
    """Steps 1 to 4: the aggregated blocks of each ``l3``, one a path."""
    y = {l: linear(W[f"linear_1.{irrep(l)}"], block) for l, block in h.items()}
    w = radial
    for i in range(spec.radial_mlp_layers + 1):
        w = einsum("...en,...nm->...em", w if i == 0 else silu(w), W[f"radial.{i}"])
    blocks, column = {}, 0
    for l1, l2, l3 in paths(h, out, spec.lmax):
        mul = h[l1].shape[-2]
        sent = einsum("ea,...aum->...eum", gather["senders"], y[l1])
        rotation = einsum("...ej,ijk->...eik", Y[l2], coupling(l1, l2, l3))
        message = einsum("...eui,...eik->...euk", sent, rotation) * w[..., column : column + mul, None]
        summed = einsum("ea,...euk->...auk", gather["receivers"], message)
        blocks.setdefault(l3, []).append(summed / math.sqrt(spec.avg_n_neighbors))
        column += mul
    return blocks


def interaction(spec, W, h, radial, Y, gather, last):
    """Section 4: one layer."""
    hidden = {0: spec.hidden[0]} if last else spec.hidden
    aggregated = messages(spec, W, h, radial, Y, gather, hidden)
    out = {l: mul for l, mul in hidden.items() if l in aggregated or l in h}
    z = {}
    for l in out:
        terms = [linear(W[f"skip.{irrep(l)}"], h[l])] if l in h else []
        width, start = sum(block.shape[-2] for block in aggregated.get(l, [])), 0
        for block in aggregated.get(l, []):  # W over the blocks side by side, summed block by block
            mul = block.shape[-2]
            part = W[f"linear_2.{irrep(l)}"][..., start : start + mul, :]
            terms.append(einsum("...aum,...uv->...avm", block, part) / math.sqrt(width))
            start += mul
        z[l] = sum(terms[1:], terms[0])
    if spec.layer_norm:
        squares = [einsum("...aum,...aum->...a", z[l], z[l]) / (2 * l + 1) ** 2 / len(z) for l in z]
        q = sum(squares[1:], squares[0])
        scale = (1 / dual.sqrt(q + 1e-12))[..., None, None]
        z = {l: z[l] * W[f"norm.{irrep(l)}"][..., None, :, None] * scale for l in z}
    scalars, start = silu(z[0]) / GATE, out[0]
    gated = {0: scalars[..., :start, :]}
    for l, mul in list(out.items())[1:]:
        gated[l] = z[l] * scalars[..., start : start + mul, :]
        start += mul
    return gated


def trace(spec, parameters, vectors, senders, receivers, species):
    """Every stage: ``("edges", ...)``, ``("layer 0", ...)``, ... and the energy of every atom, eV."""
    n_atoms = len(species)
    gather = {"senders": np.eye(n_atoms)[senders], "receivers": np.eye(n_atoms)[receivers]}
    radial, Y = edge_quantities(spec, vectors)
    stages = [("edges", {"radial": radial, **{f"Y_{l}": block for l, block in enumerate(Y)}})]
    h = {0: np.eye(spec.n_species)[species][:, :, None]}
    for t in range(spec.n_layers):
        prefix = f"layers.{t}."
        W = {name.removeprefix(prefix): value for name, value in parameters.items() if prefix in name}
        h = interaction(spec, W, h, radial, Y, gather, t == spec.n_layers - 1)
        stages.append((f"layer {t}", {f"l = {l}": block for l, block in h.items()}))
    readout = einsum("...au,...uv->...a", h[0][..., 0], parameters["readout.0e"]) / math.sqrt(h[0].shape[-2])
    return stages, readout * spec.scale + spec.shift + parameters["atom_energies"][..., species]
