"""The OpenEquivariance kernel keeps the contract of the library, for which a double stands in."""

import contextlib

import numpy as np
import pytest
import torch

from nequix.core.paths import plan
from tests.kernels.engines import ENGINES, difference, engine, messages, spec_with
from tests.kernels.openequivariance_double import Refused
from tests.parity.check import random_probe
from tests.parity.compare import assert_agree
from tests.parity.outcomes import forget_compiled, jax_outcome, torch_outcome
from tests.systems import arranged, random_weights, structure
from tests.tolerances import PARITY_FLOAT32, PARITY_FLOAT64

OUTCOMES = {"jax": jax_outcome, "torch": torch_outcome}
SPECS = {
    "published shape": spec_with("4x0e + 3x1o + 2x2e + 2x3o", lmax=3),
    "degrees that no path reads": spec_with("2x0e + 2x1o + 2x3o", lmax=2),
    "harmonics that no path reads": spec_with("2x0e + 2x1o", lmax=4),
    "up to degree four": spec_with("2x0e + 1x2e + 2x4e", lmax=4),
}


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_double_gives_plain_s_messages(name, spec, dtype, double):
    where = engine(name)
    kernel, plain = where.openequivariance_kernel.OpenEquivarianceKernel(), where.convolution.PlainKernel()
    tolerance = {"float32": PARITY_FLOAT32, "float64": PARITY_FLOAT64}[dtype]
    for layer in plan(spec):
        given = (layer, spec, 3, dtype)
        assert difference(messages(where, kernel, *given), messages(where, plain, *given)) <= tolerance


@pytest.mark.parametrize("name", ENGINES)
def test_model_through_double_gives_plain_s_derivatives(name, double):
    spec = spec_with("2x0e + 2x1o", lmax=1)
    case = arranged(spec, 4, [structure(spec, 4)], chunk_tiles=2)
    weights = random_weights(spec, case.seed)
    where = engine(name)
    probe = random_probe(weights, case.graphs[0], case.seed)
    plain = engine("torch").potential.Potential(weights, kernel="plain", dtype="float64", device="cpu")
    fused = where.potential.Potential(weights, dtype="float64", device="cpu")
    fused.kernel = where.openequivariance_kernel.OpenEquivarianceKernel()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(where.convolution, "CHUNK_TILES", case.chunk_tiles)
        outcome = OUTCOMES[name](fused, case.graphs[0], case.sizes, probe)
    trusted = torch_outcome(plain, case.graphs[0], case.sizes, probe)
    assert_agree(outcome, trusted, spec, "float64", f"the double in {name} and plain")
    fused.evaluate(case.graphs[0])  # another compilation must not meet what an earlier one left behind
    assert fused.kernel.n_calls == len(double.forwards) > 0
    assert set(double.forwards) == {len(fused._arrange(case.graphs[0]).senders), 16 * case.sizes[1]}
    assert len(double.problems) == 1 + spec.n_layers  # the trial, then one a layer however often it runs
    forget_compiled()


@pytest.mark.parametrize("name", ENGINES)
def test_description_follows_the_path_table(name, double):
    where = engine(name)
    layer = plan(spec_with("2x0e + 3x1o", lmax=1, n_layers=3))[1]
    product = where.e3nn_kernel.describe(layer)
    assert product.irreps_in1 == "2x0e + 3x1o"
    assert product.irreps_in2 == "1x0e + 1x1o"
    assert product.irreps_out == "2x0e + 3x0e + 2x1o + 3x1o"
    uvu = ("uvu", True)
    assert product.instructions == ((0, 0, 0, *uvu), (1, 1, 1, *uvu), (0, 1, 2, *uvu), (1, 0, 3, *uvu))


def _swap_ends(monkeypatch, where):
    kernel = where.openequivariance_kernel.OpenEquivarianceKernel
    right = kernel._convolve

    def wrong(self, plan, features, weights, edges, n_nodes):
        edges = edges._replace(senders=edges.receivers, receivers=edges.senders)
        return right(self, plan, features, weights, edges, n_nodes)

    monkeypatch.setattr(kernel, "_convolve", wrong)


def _describe(change):
    def plant(monkeypatch, where):
        module = where.openequivariance_kernel
        right = module.describe
        monkeypatch.setattr(module, "describe", lambda plan: change(right(plan)))

    return plant


def _reverse_paths(product):
    parts = product.irreps_out.split(" + ")
    places = product.instructions
    return product._replace(
        irreps_out=" + ".join(reversed(parts)),
        instructions=tuple((i, j, len(parts) - 1 - k, *rest) for i, j, k, *rest in reversed(places)),
    )


def _exchange_inputs(product):
    return product._replace(instructions=tuple((j, i, *rest) for i, j, *rest in product.instructions))


def _lose_layout(monkeypatch, where):
    module = where.openequivariance_kernel

    def wrong(plan, features):
        blocks = [features[l].reshape(len(features[l]), -1) for l in module.describe(plan).degrees_in1]
        return where.e3nn_kernel.ops.concatenate(blocks, -1)

    monkeypatch.setattr(module, "flatten", wrong)


FAULTS = {
    "ends swapped": _swap_ends,
    "paths in another order": _describe(_reverse_paths),
    "inputs exchanged": _describe(_exchange_inputs),
    "layout lost": _lose_layout,
}


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_double_catches(name, fault, double, monkeypatch):
    where, spec = engine(name), spec_with("2x0e + 2x1o + 2x2e", lmax=2, n_layers=3)
    fault(monkeypatch, where)
    given = (plan(spec)[1], spec, 6, "float64")
    plain = messages(where, where.convolution.PlainKernel(), *given)
    kernel = where.openequivariance_kernel.OpenEquivarianceKernel()
    with contextlib.suppress(Refused):
        assert difference(messages(where, kernel, *given), plain) > 0.01


RIGHT = {"nodes": "float64", "harmonics": "float64", "weights": "float64", "rows": "int64", "cols": "int64"}


@pytest.mark.parametrize("argument", [None, *RIGHT])
def test_double_refuses_other_types(argument, double):
    where = engine("torch")
    kernel = where.openequivariance_kernel.OpenEquivarianceKernel()
    made = kernel._make(where.openequivariance_kernel.TRIAL, np.float64)
    other = {"float64": "float32", "int64": "int32"}
    dtypes = {**RIGHT, argument: other[RIGHT[argument]]} if argument else RIGHT
    arrays = [torch.zeros((3, 1) if "float" in d else 3).to(getattr(torch, d)) for d in dtypes.values()]
    with pytest.raises(Refused) if argument else contextlib.nullcontext():
        made.forward(*arrays)
