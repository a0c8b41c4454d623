"""JAX, PyTorch and the NumPy reference give the same numbers for any specification and any system."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from nequix.core.spec import ModelSpec
from nequix.graphs.graph import batch
from tests.parity.check import check
from tests.systems import CELLS, PERIODICITIES, arranged, cases, structure

# Every example compiles a program of its own, and a failing one is not made smaller. Compiling one layer is
# quick; of deeper models a few are drawn.
_ALL = settings(phases=[Phase.explicit, Phase.reuse, Phase.generate], suppress_health_check=list(HealthCheck))
_FEW = settings(_ALL, max_examples=max(1, settings().max_examples // 3))


_CORNERS = {
    "gaps and l = 4": {"hidden_irreps": "3x0e + 2x2e + 2x4e", "lmax": 4},
    "no reachable degree": {"hidden_irreps": "3x0e + 2x1o", "lmax": 0, "layer_norm": False},
    "scalars only": {"hidden_irreps": "4x0e", "lmax": 3, "radial_polynomial_p": 2.0},
    "published shape": {"hidden_irreps": "4x0e + 3x1o + 2x2e + 2x3o", "lmax": 3},
}


@pytest.mark.parametrize("corner", _CORNERS)
def test_engines_agree_with_the_reference_in_corners(corner):
    fields = {"n_layers": 2, "cutoff": 3.0, "radial_mlp_size": 5, "radial_basis_size": 3, **_CORNERS[corner]}
    spec = ModelSpec(atomic_numbers=(1, 8, 30), avg_n_neighbors=9.0, scale=-1.3, shift=0.7, **fields)
    kinds = [(pbc, CELLS[index % len(CELLS)]) for index, pbc in enumerate(PERIODICITIES)]
    graphs = [structure(spec, seed, 3, pbc, cell) for seed, (pbc, cell) in enumerate(kinds)]
    check(arranged(spec, 1, [graphs[0], batch(graphs[:4]), batch(graphs[4:])], chunk_tiles=2), "float64")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@given(case=cases(n_layers=1, n_graphs=3))
@_ALL
def test_engines_agree_with_the_reference_in_one_layer(dtype, case):
    check(case, dtype)


@given(case=cases(n_layers=2, n_graphs=3))
@_FEW
def test_engines_agree_with_the_reference_in_two_layers(case):
    check(case, "float64")


@given(case=cases(n_layers=3, n_graphs=3))
@_FEW
def test_engines_agree_with_the_reference_in_three_layers(case):
    check(case, "float64")


@given(case=cases(n_layers=2, n_graphs=3))
@_FEW
def test_engines_agree_with_the_reference_in_float32(case):
    check(case, "float32")
