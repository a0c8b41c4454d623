"""The e3nn kernel, which knows none of the core's tables, gives the plain kernel's numbers."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from nequix.core.paths import plan
from tests.kernels.engines import ENGINES, difference, engine, messages, spec_with
from tests.parity.check import random_probe
from tests.parity.compare import assert_agree
from tests.parity.outcomes import forget_compiled, jax_outcome, torch_outcome
from tests.systems import arranged, cases, random_weights, specifications, structure
from tests.tolerances import PARITY_FLOAT32, PARITY_FLOAT64

SEEDS = st.integers(0, 2**32 - 1)
TOLERANCE = {"float32": PARITY_FLOAT32, "float64": PARITY_FLOAT64}
OUTCOMES = {"jax": jax_outcome, "torch": torch_outcome}
# Nothing is learned from a smaller failing example that would repay the time to find it.
_FEW = settings(
    max_examples=max(1, settings().max_examples // 2),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def _compare(case, name, dtype):
    """Compare energies, forces, stress, a product with the Hessian and gradients of the parameters."""
    where = engine(name)
    weights = random_weights(case.spec, case.seed)
    with pytest.MonkeyPatch.context() as patch:
        for module in (where.convolution, engine("torch").convolution):
            patch.setattr(module, "CHUNK_TILES", case.chunk_tiles)
        judge = where.potential.Potential(weights, kernel="e3nn", dtype=dtype, device="cpu")
        plain = engine("torch").potential.Potential(weights, kernel="plain", dtype=dtype, device="cpu")
        judge.kernel.chunked = True
        for graph in case.graphs:
            probe = random_probe(weights, graph, case.seed)
            outcome = OUTCOMES[name](judge, graph, case.sizes, probe)
            trusted = torch_outcome(plain, graph, case.sizes, probe)
            assert_agree(outcome, trusted, case.spec, dtype, f"e3nn in {name} and plain")
    assert judge.kernel.name == "e3nn"
    assert judge.kernel.n_calls >= case.spec.n_layers
    forget_compiled()


@given(case=cases(n_layers=2, n_graphs=1))
@_FEW
def test_e3nn_gives_plain_s_derivatives_in_torch(case):
    _compare(case, "torch", "float64")


def test_e3nn_gives_plain_s_derivatives_in_jax():
    spec = spec_with("2x0e + 2x1o + 1x2e", lmax=2)
    _compare(arranged(spec, 1, [structure(spec, 1)], chunk_tiles=2), "jax", "float64")


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("dtype", TOLERANCE)
@given(spec=specifications(n_layers=2), seed=SEEDS)
@_FEW
def test_e3nn_gives_plain_s_messages(name, dtype, spec, seed):
    where = engine(name)
    judge, plain = where.kernels.select_kernel("e3nn", "cpu"), where.convolution.PlainKernel()
    for layer in plan(spec):
        given = (layer, spec, seed, dtype)
        assert difference(messages(where, judge, *given), messages(where, plain, *given)) <= TOLERANCE[dtype]


@pytest.mark.parametrize("name", ENGINES)
def test_e3nn_covers_every_path_up_to_degree_four(name):
    where = engine(name)
    spec = spec_with("3x0e + 2x1o + 1x2e + 2x3o + 2x4e", lmax=4)
    layer = plan(spec_with("3x0e + 2x1o + 1x2e + 2x3o + 2x4e", lmax=4, n_layers=3))[1]
    assert len(layer.paths) == 42
    judge, plain = where.kernels.select_kernel("e3nn", "cpu"), where.convolution.PlainKernel()
    given = (layer, spec, 5, "float64")
    assert difference(messages(where, judge, *given), messages(where, plain, *given)) <= PARITY_FLOAT64


@pytest.mark.parametrize("name", ENGINES)
def test_e3nn_shares_no_table_with_plain(name, monkeypatch):
    where, spec = engine(name), spec_with("2x0e + 2x1o", lmax=2)
    layer = plan(spec)[-1]
    given = (layer, spec, 2, "float64")
    before = messages(where, where.kernels.select_kernel("e3nn", "cpu"), *given)
    coupling = where.convolution.coupling
    monkeypatch.setattr(where.convolution, "coupling", lambda *degrees: -coupling(*degrees))
    after = messages(where, where.kernels.select_kernel("e3nn", "cpu"), *given)
    wrong = messages(where, where.convolution.PlainKernel(), *given)
    assert difference(after, before) == 0.0
    assert difference(wrong, before) > 1.0


def test_e3nn_counts_its_calls():
    spec = spec_with("2x0e + 2x1o", lmax=1)
    potential = engine("torch").potential.Potential(random_weights(spec, 0), kernel="e3nn")
    graph = structure(spec, 0)
    for evaluations in (1, 2):
        potential.evaluate(graph)
        assert potential.kernel.n_calls == evaluations * spec.n_layers


def test_e3nn_evaluates_an_atom_without_neighbours():
    spec = spec_with("2x0e + 2x1o", lmax=1)
    weights, graph = random_weights(spec, 0), structure(spec, 0, n_atoms=1, pbc=(False,) * 3)
    assert graph.n_edges == 0
    judge, plain = (
        engine("torch").potential.Potential(weights, kernel=kernel, dtype="float64").evaluate(graph)
        for kernel in ("e3nn", "plain")
    )
    assert judge.energy == pytest.approx(plain.energy, rel=PARITY_FLOAT64)
    assert not judge.forces.any()


@pytest.mark.parametrize("name", ENGINES)
def test_e3nn_can_take_chunks_or_all_edges(name):
    spec = spec_with("2x0e + 2x1o", lmax=1)
    where, weights, graph = engine(name), random_weights(spec, 0), structure(spec, 0)
    results, calls = [], []
    for chunked in (True, False):
        potential = where.potential.Potential(weights, kernel="e3nn", dtype="float64", device="cpu")
        potential.kernel.chunked = chunked
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(where.convolution, "CHUNK_TILES", 1)
            results.append(potential.evaluate(graph))
        calls.append(potential.kernel.n_calls)
    assert results[0].forces == pytest.approx(results[1].forces, rel=PARITY_FLOAT64, abs=PARITY_FLOAT64)
    if name == "torch":  # JAX traces a chunk and repeats it
        assert calls[0] > calls[1] == spec.n_layers
