"""One comparison of both engines and the reference."""

import numpy as np
import pytest

import nequix.jax
import nequix.jax.convolution
import nequix.torch
import nequix.torch.convolution
from nequix.graphs.graph import Graph
from nequix.io.weights import Weights
from tests.parity.compare import assert_agree
from tests.parity.outcomes import Probe, forget_compiled, jax_outcome, reference_outcome, torch_outcome
from tests.systems import Case, random_weights


def random_probe(weights: Weights, graph: Graph, seed: int) -> Probe:
    """Draw directions for every derivative."""
    rng = np.random.default_rng(seed)
    shapes = {name: values.shape for name, values in weights.parameters.items()}
    return Probe(
        displacement=rng.normal(size=(graph.n_nodes, 3)),
        energies=rng.normal(size=graph.n_nodes),
        forces=rng.normal(size=(graph.n_nodes, 3)),
        parameters={name: rng.normal(size=shape) for name, shape in shapes.items()},
    )


def check(case: Case, dtype: str) -> None:
    """Compare every quantity of every graph, with the padding and the chunks that the case asks for."""
    weights = random_weights(case.spec, case.seed)
    with pytest.MonkeyPatch.context() as patch:
        for engine in (nequix.jax.convolution, nequix.torch.convolution):
            patch.setattr(engine, "CHUNK_TILES", case.chunk_tiles)
        where = {"dtype": dtype, "kernel": "plain", "device": "cpu"}
        in_jax, in_torch = (engine.Potential(weights, **where) for engine in (nequix.jax, nequix.torch))
        for graph in case.graphs:
            probe = random_probe(weights, graph, case.seed)
            reference = reference_outcome(weights, graph, probe)
            a = jax_outcome(in_jax, graph, case.sizes, probe)
            b = torch_outcome(in_torch, graph, case.sizes, probe)
            assert_agree(a.along(probe), reference, case.spec, dtype, "JAX and the reference")
            assert_agree(b.along(probe), reference, case.spec, dtype, "PyTorch and the reference")
            assert_agree(a, b, case.spec, dtype, "JAX and PyTorch")
    forget_compiled()
