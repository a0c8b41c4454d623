"""Models that have compiled kernels, and the plain kernel's numbers to compare with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from nequix.core import irreps
from nequix.core.spec import ModelSpec
from nequix.graphs.graph import Graph
from nequix.graphs.results import Results
from nequix.io.weights import Weights
from nequix.native.model import NativeModel
from nequix.torch import Potential
from tests.systems import specifications

SEEDS = st.integers(0, 2**32 - 1)


def supported(spec: ModelSpec) -> ModelSpec:
    """Bring a specification within what has compiled kernels."""
    channels = {l: n for l, n in spec.hidden.items() if l <= 3}
    return replace(
        spec,
        hidden_irreps=irreps.format(channels),
        lmax=min(spec.lmax, 3),
        radial_polynomial_p=float(int(spec.radial_polynomial_p)),
    )


def native_specifications(n_layers: int) -> st.SearchStrategy[ModelSpec]:
    """Draw specifications with compiled kernels: everything else that a specification can have."""
    return specifications(n_layers).map(supported)


def plain(weights: Weights, graph: Graph, dtype: str = "float64") -> Results:
    """Evaluate by the plain kernel."""
    return Potential(weights, kernel="plain", dtype=dtype, device="cpu").evaluate(graph)


def native(weights: Weights, graph: Graph, dtype: str = "float64", **options) -> Results:
    """Evaluate by the library, and see that it ran."""
    model = NativeModel(weights, dtype, options.pop("instructions", None))
    energies, forces, virials = model.evaluate_graph(graph, **options)
    assert model.calls == 1
    energy = np.bincount(graph.node_graph, energies, graph.n_graphs)
    with np.errstate(divide="ignore", invalid="ignore"):
        stress = virials / np.where(graph.volume > 0, graph.volume, np.nan)[:, None, None]
    return Results(energy, energies, forces, stress)
