"""Both engines side by side, and one layer's messages as either of them computes it."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import jax
import numpy as np
import torch

from nequix.core.coupling import spherical_harmonics
from nequix.core.paths import LayerPlan
from nequix.core.spec import ModelSpec
from nequix.graphs.tiling import tile_edges
from tests.systems import structure

ENGINES = ("jax", "torch")
QUICK = {"xla_backend_optimization_level": 0}  # compiling is nearly all of the time


def engine(name: str) -> SimpleNamespace:
    """Name what a test needs of an engine."""
    modules = {
        module: importlib.import_module(f"nequix.{name}.{module}")
        for module in (
            "convolution",
            "kernels",
            "potential",
            "ensemble",
            "e3nn_kernel",
            "openequivariance_kernel",
        )
    }
    place = torch.tensor if name == "torch" else jax.numpy.asarray
    return SimpleNamespace(**modules, name=name, place=place)


def spec_with(hidden_irreps: str, lmax: int, n_layers: int = 2) -> ModelSpec:
    """Make a small specification."""
    return ModelSpec(
        atomic_numbers=(1, 8, 30),
        avg_n_neighbors=9.0,
        scale=-1.3,
        shift=0.7,
        cutoff=3.0,
        hidden_irreps=hidden_irreps,
        lmax=lmax,
        n_layers=n_layers,
        radial_basis_size=3,
        radial_mlp_size=4,
    )


def messages(where: SimpleNamespace, kernel, plan: LayerPlan, spec: ModelSpec, seed: int, dtype: str) -> dict:
    """Ask a kernel for the messages of one layer, from random features and weights on a random graph."""
    rng = np.random.default_rng(seed)
    layout = tile_edges(structure(spec, seed))
    units = layout.vectors / np.linalg.norm(layout.vectors, axis=1, keepdims=True)
    features = {l: rng.normal(size=(len(layout.species), 2 * l + 1, mul)) for l, mul in plan.inputs}
    weights = rng.normal(size=(len(units), plan.n_weights))
    weights[np.setdiff1d(np.arange(len(units)), layout.slots)] = 0.0  # null edges
    arrays = [spherical_harmonics(units, plan.lmax), weights, *features.values()]
    n_nodes = len(layout.species)
    with jax.enable_x64(True):
        place = where.place
        harmonics, weights, *blocks = (place(array.astype(dtype)) for array in arrays)
        senders, receivers = place(layout.senders), place(layout.receivers)
        edges = where.convolution.Edges(weights[:, :0], harmonics, senders, receivers)
        given = (dict(zip(features, blocks, strict=True)), weights, edges)

        def convolve(features, weights, edges):
            return kernel.convolve(plan, features, weights, edges, n_nodes)

        sums = (jax.jit(convolve, compiler_options=QUICK) if where.name == "jax" else convolve)(*given)
    return {l: np.asarray(block) for l, block in sums.items()}


def difference(a: dict, b: dict) -> float:
    """Largest difference of two layers' messages, relative to the largest of the second's."""
    if list(a) != list(b) or any(a[l].shape != b[l].shape or a[l].dtype != b[l].dtype for l in b):
        return np.inf
    largest = max(np.abs(block).max() for block in b.values())
    return max(np.abs(a[l] - b[l]).max() for l in b) / largest
