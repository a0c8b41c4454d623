"""Write the coupling tensors as C++ code, with their non-zero components as compile-time constants.

    python -m nequix.native.generate couplings.inc

The build runs it. Loops over components become straight-line code without the vanishing products, a quarter
of all.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nequix.core.coupling import coupling, harmonic_step

MAX_DEGREE = 3
"""Degrees up to this one have compiled kernels."""


def paths() -> Iterator[tuple[int, int, int]]:
    """List every path ``(l1, l2, l3)`` that has a compiled kernel."""
    degrees = range(MAX_DEGREE + 1)
    for l1 in degrees:
        for l2 in degrees:
            for l3 in range(abs(l1 - l2), min(l1 + l2, MAX_DEGREE) + 1):
                if (l1 + l2 + l3) % 2 == 0:
                    yield l1, l2, l3


def specialise(l1: int, l2: int, l3: int) -> str:
    """Write one path: the matrix ``M[i, k] = sum_j C[i, j, k] Y[j]`` and the operations with its entries.

    Args:
        l1: Degree of the sender's feature.
        l2: Degree of the spherical harmonic.
        l3: Degree of the message.
    """
    tensor = coupling(l1, l2, l3)
    # By message component, so that each component of the message's gradient is read once.
    pairs = [(int(i), int(k)) for k, i in np.argwhere((tensor != 0).any(axis=1).T)]
    terms = [[(int(j), float(tensor[i, j, k])) for j in np.flatnonzero(tensor[i, :, k])] for i, k in pairs]
    contract = [
        f"    M[{n}] = {' + '.join(f'Y[{j}] * T({c!r})' for j, c in term)};" for n, term in enumerate(terms)
    ]
    message = [f"    add(out[{k}], x[{i}], M[{n} * TILE]);" for n, (i, k) in enumerate(pairs)]
    feature_adjoint, harmonic_adjoint = [], []
    for n, ((i, k), term) in enumerate(zip(pairs, terms, strict=True)):
        if k not in {k for _, k in pairs[:n]}:
            load = f"    const Block<V, B> g{k}(G + {k} * stride);"
            feature_adjoint.append(load)
            harmonic_adjoint.append(load)
        feature_adjoint.append(f"    add(q[{i}], g{k}, M[{n} * TILE]);")
        harmonic_adjoint.append(f"    {{ const V p = dot(x[{i}], g{k});")
        harmonic_adjoint += [f"      dY[{j}] += p * T({c!r});" for j, c in term]
        harmonic_adjoint.append("    }")
    return "\n".join(
        [
            f"template <> struct Coupling<{l1}, {l2}, {l3}> {{",
            f"  static constexpr int size = {len(pairs)};",
            "  template <class T, class W> static INLINE void contract(const W* Y, W* M) {",
            *contract,
            "  }",
            "  template <class T, class V, int B>",
            "  static INLINE void message(const T* M, const Block<V, B>* x, Block<V, B>* out) {",
            *message,
            "  }",
            "  template <class T, class V, int B>",
            "  static INLINE void feature_adjoint(const T* M, const T* G, long stride, Block<V, B>* q) {",
            *feature_adjoint,
            "  }",
            "  template <class T, class V, int B>",
            "  static INLINE void harmonic_adjoint(const Block<V, B>* x, const T* G, long stride, V* dY) {",
            *harmonic_adjoint,
            "  }",
            "};",
        ]
    )


def harmonics() -> str:
    """Write the recursion of the spherical harmonics and its derivative (docs/architecture.md)."""
    lines = []
    for l in range(2, MAX_DEGREE + 1):
        step = harmonic_step(l)
        up, down = [], []
        for k in range(2 * l + 1):
            entries = [(int(i), int(j), float(step[i, j, k])) for i, j in np.argwhere(step[:, :, k])]
            products = [f"Y[{(l - 1) ** 2 + i}] * Y[{1 + j}] * {c!r}" for i, j, c in entries]
            up.append(f"  Y[{l * l + k}] = {' + '.join(products)};")
            for i, j, c in entries:
                down.append(f"  dY[{(l - 1) ** 2 + i}] += dY[{l * l + k}] * Y[{1 + j}] * {c!r};")
                down.append(f"  dY[{1 + j}] += dY[{l * l + k}] * Y[{(l - 1) ** 2 + i}] * {c!r};")
        lines += [
            f"template <class W> INLINE void raise_{l}(W* Y) {{",
            *up,
            "}",
            f"template <class W> INLINE void lower_{l}(const W* Y, W* dY) {{",
            *down,
            "}",
        ]
    return "\n".join(lines)


def source() -> str:
    """Write all paths and harmonics."""
    listed = " \\\n".join(f"  VISIT({l1}, {l2}, {l3})" for l1, l2, l3 in paths())
    return "\n\n".join(
        [
            "// Written by nequix.native.generate from nequix.core.coupling; uses kernels/simd.h.",
            f"#define NEQUIX_PATHS(VISIT) \\\n{listed}",
            "namespace nequix::NEQUIX_ISA {\nnamespace {",
            "template <int L1, int L2, int L3> struct Coupling;",
            *(specialise(*path) for path in paths()),
            harmonics(),
            "}  // namespace\n}  // namespace nequix::NEQUIX_ISA\n",
        ]
    )


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(source())
