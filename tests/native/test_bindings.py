"""The operators of both engines: differentiable, compilable, and found to be missing when they are."""

import copy
import dataclasses
import gc
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import nequix.jax
import nequix.torch
from nequix import NequixEnsembleCalculator
from nequix.core.errors import BackendUnavailable, GraphError
from nequix.native.model import NativeModel
from tests.kernels.engines import ENGINES, engine, spec_with
from tests.systems import random_weights, structure
from tests.tolerances import PARITY_FLOAT64

SPEC = spec_with("3x0e + 2x1o + 1x2e", lmax=2)
WEIGHTS = random_weights(SPEC, 3)
GRAPH = structure(SPEC, 0, 3)
ARRAYS = (GRAPH.vectors, GRAPH.senders, GRAPH.receivers, GRAPH.species, GRAPH.node_graph)
TORCH, JAX = nequix.torch.potential.Arrays, nequix.jax.potential.Arrays
SEED = np.random.default_rng(0).normal(size=GRAPH.n_nodes)


def kernel_of(name):
    return engine(name).potential.Potential(WEIGHTS, kernel="native", dtype="float64", device="cpu").kernel


def placed(name, *arrays):
    return engine(name).potential.Arrays(*map(engine(name).place, arrays))


def plain_gradient():
    potential = nequix.torch.Potential(WEIGHTS, kernel="plain", dtype="float64", device="cpu")
    layout = potential._arrange(GRAPH)
    arrays = potential._arrays(layout)
    vectors = arrays.vectors.requires_grad_()
    energies = potential.model(arrays._replace(vectors=vectors), potential.kernel)
    (gradient,) = torch.autograd.grad((energies * torch.tensor(SEED)).sum(), vectors)
    return energies.detach().numpy(), gradient.numpy()[layout.slots]


def test_torch_operator_has_plain_s_gradient_compiled_or_not():
    kernel, (expected, slopes) = kernel_of("torch"), plain_gradient()
    vectors, *rest = map(torch.tensor, ARRAYS)
    vectors.requires_grad_()

    def energies(vectors):
        return kernel.energies(TORCH(vectors, *rest))

    for function in (energies, torch.compile(energies, fullgraph=True, backend="aot_eager")):
        evaluated = function(vectors)
        (gradient,) = torch.autograd.grad((evaluated * torch.tensor(SEED)).sum(), vectors)
        np.testing.assert_allclose(evaluated.detach(), expected, rtol=PARITY_FLOAT64, atol=PARITY_FLOAT64)
        np.testing.assert_allclose(gradient, slopes, rtol=0, atol=1e-9 * np.abs(slopes).max())


def test_torch_operator_passes_torch_s_own_checks():
    kernel = kernel_of("torch")
    vectors, *rest = map(torch.tensor, ARRAYS)
    vectors.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda v: kernel.energies(TORCH(v, *rest)), vectors, eps=1e-6, atol=1e-5, rtol=1e-4
    )
    checks = ("test_schema", "test_faketensor", "test_autograd_registration")
    columns = vectors.detach().T.contiguous().T.requires_grad_()  # not in C order
    for given in (vectors, columns):
        arguments, key = (given, *rest[:3]), kernel.model.key
        torch.library.opcheck(
            torch.ops.nequix.native_energies.default, (*arguments, key, 1), test_utils=checks
        )
        torch.library.opcheck(
            torch.ops.nequix.native_gradient.default,
            (*arguments, torch.tensor(SEED), key, 1),
            test_utils=checks,
        )


def test_torch_refuses_second_derivatives():
    kernel = kernel_of("torch")
    vectors, *rest = map(torch.tensor, ARRAYS)
    vectors.requires_grad_()
    (gradient,) = torch.autograd.grad(
        kernel.energies(TORCH(vectors, *rest)).sum(), vectors, create_graph=True
    )
    with pytest.raises(NotImplementedError, match=r"no second derivatives.*kernel='plain'"):
        gradient.sum().backward()


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # PyTorch's own use of it
def test_torch_refuses_forward_derivatives():
    kernel = kernel_of("torch")
    vectors, *rest = map(torch.tensor, ARRAYS)
    ones = torch.ones_like(vectors)
    with pytest.raises(NotImplementedError, match=r"no forward derivatives.*kernel='plain'"):
        torch.func.jvp(lambda v: kernel.energies(TORCH(v, *rest)), (vectors,), (ones,))
    with torch.autograd.forward_ad.dual_level(), pytest.raises(NotImplementedError, match="no forward"):
        kernel.energies(TORCH(torch.autograd.forward_ad.make_dual(vectors, ones), *rest))


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_torch_func_maps_and_its_derivatives_are_refused():
    kernel = kernel_of("torch")
    vectors, *rest = map(torch.tensor, ARRAYS)

    def total(vectors):
        return kernel.energies(TORCH(vectors, *rest)).sum()

    for transform in (torch.func.grad, torch.func.jacrev, torch.func.hessian):
        with pytest.raises(NotImplementedError, match=r"torch.autograd.grad, or kernel='plain'|no forward"):
            transform(total)(vectors)
    several = torch.stack([vectors, 1.01 * vectors])
    assert torch.equal(torch.func.vmap(total)(several), torch.stack([total(one) for one in several]))


@pytest.mark.parametrize("name", ENGINES)
def test_atoms_beyond_32_bits_are_refused(name):
    kernel = kernel_of(name)
    senders = GRAPH.senders.astype(np.int64)
    senders[0] += 2**32
    with jax.enable_x64(True):
        with pytest.raises(Exception, match=r"4294967\d+ at 0|edge 0 runs from atom -1"):
            np.asarray(kernel.energies(placed(name, ARRAYS[0], senders, *ARRAYS[2:])))
        narrow = (array.astype(np.int8) for array in ARRAYS[1:])
        alike = kernel.energies(placed(name, ARRAYS[0], *narrow))
        np.testing.assert_array_equal(np.asarray(alike), np.asarray(kernel.energies(placed(name, *ARRAYS))))
        with pytest.raises(GraphError, match="whole numbers"):
            np.asarray(kernel.energies(placed(name, *ARRAYS[:3], GRAPH.species + 0.9, GRAPH.node_graph)))


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("dtype", ["int32", "float16", "bfloat16", "complex64"])
def test_vectors_that_would_round_energies_are_refused(name, dtype):
    kernel, arrays = kernel_of(name), placed(name, *ARRAYS)
    vectors = arrays.vectors
    given = vectors.to(getattr(torch, dtype)) if name == "torch" else vectors.astype(dtype)
    with pytest.raises(GraphError, match=f"the edge vectors hold {dtype}, expected float32 or float64"):
        kernel.energies(arrays._replace(vectors=given))


@pytest.mark.parametrize("name", ENGINES)
def test_a_program_continues_when_another_potential_of_its_weights_is_gone(name):
    kernel, other = kernel_of(name), kernel_of(name)
    arrays = placed(name, *ARRAYS)
    expected = np.asarray(kernel.energies(arrays))
    assert other.model is kernel.model
    del other
    gc.collect()
    np.testing.assert_array_equal(np.asarray(kernel.energies(arrays)), expected)


@pytest.mark.parametrize("name", ENGINES)
def test_an_ensemble_of_which_one_member_has_no_table_is_plain_as_a_whole(name):
    make, steep = engine(name), random_weights(SPEC, 4)
    parameters = {**steep.parameters, "layers.0.radial.0": 1e5 * steep.parameters["layers.0.radial.0"]}
    members = [WEIGHTS, dataclasses.replace(steep, parameters=parameters), random_weights(SPEC, 5)]
    with pytest.warns(RuntimeWarning, match="too steep"):
        ensemble = make.ensemble.EnsemblePotential(members, dtype="float64", device="cpu")
    assert {potential.kernel.name for potential in ensemble.potentials} == {"plain"}
    single = [
        make.potential.Potential(weights, kernel="plain", dtype="float64", device="cpu").evaluate(GRAPH)
        for weights in members
    ]
    told = ensemble.evaluate(GRAPH)
    assert len(told.members) == 3
    np.testing.assert_allclose(told.mean.energy, np.mean([each.energy for each in single], axis=0))


def test_models_are_copied_by_their_weights():
    potential = nequix.torch.Potential(WEIGHTS, kernel="native", dtype="float64", device="cpu")
    other = copy.deepcopy(potential)
    assert other.kernel.model is potential.kernel.model
    np.testing.assert_array_equal(other.evaluate(GRAPH).forces, potential.evaluate(GRAPH).forces)
    model = NativeModel(WEIGHTS, "float64", "base")
    assert copy.copy(model).instructions == "base"


def test_jax_function_has_plain_s_gradient_mapped_or_not():
    kernel, (expected, slopes) = kernel_of("jax"), plain_gradient()
    with jax.enable_x64(True):
        vectors, *rest = map(jnp.asarray, ARRAYS)

        def total(vectors):
            energies = kernel.energies(JAX(vectors, *rest))
            return (energies * SEED).sum(), energies

        gradient, energies = jax.jit(jax.grad(total, has_aux=True))(vectors)
        replicas = jnp.stack([vectors, 1.01 * vectors])
        mapped = jax.jit(jax.vmap(jax.grad(total, has_aux=True)))(replicas)[0]
        apart = [jax.grad(total, has_aux=True)(replica)[0] for replica in replicas]
    np.testing.assert_allclose(energies, expected, rtol=PARITY_FLOAT64, atol=PARITY_FLOAT64)
    np.testing.assert_allclose(gradient, slopes, rtol=0, atol=1e-9 * np.abs(slopes).max())
    np.testing.assert_array_equal(mapped, np.stack(apart))


def test_jax_function_takes_single_precision_and_refuses_second_derivatives():
    kernel, (expected, _) = kernel_of("jax"), plain_gradient()
    vectors, *rest = (jnp.asarray(array) for array in ARRAYS)
    energies = jax.jit(kernel.energies)(JAX(vectors, *rest))
    assert energies.dtype == jnp.float32
    np.testing.assert_allclose(energies, expected, rtol=1e-4, atol=1e-4)
    slope = jax.grad(lambda v: kernel.energies(JAX(v, *rest)).sum())
    with pytest.raises((NotImplementedError, TypeError)):
        jax.grad(lambda v: slope(v).sum())(vectors)


def test_jax_tells_what_is_wrong():
    kernel = kernel_of("jax")
    arrays = placed("jax", *ARRAYS)
    with pytest.raises(Exception, match="atom 0 has species 7"):
        kernel.energies(arrays._replace(species=arrays.species.at[0].set(7))).block_until_ready()
    energies = jax.jit(kernel.energies)
    energies(arrays)
    kernel.model = None
    with pytest.raises(Exception, match="no such model"):
        energies(arrays).block_until_ready()


@pytest.mark.parametrize("name", ENGINES)
def test_potential_evaluates_by_the_library_and_hessians_by_plain(name):
    potential = engine(name).potential.Potential(WEIGHTS, dtype="float64", device="cpu")
    assert potential.kernel.name == "native"
    model = potential.kernel.model
    before = model.calls  # another potential of these weights may live, which shares it
    potential.evaluate(GRAPH)
    assert potential.kernel.n_calls == model.calls - before == 1
    product = potential.hessian_vector_product(GRAPH, np.ones((GRAPH.n_nodes, 3)))
    assert np.abs(product).max() < 1e-8  # a translation
    assert model.calls == before + 1


@pytest.fixture
def taken(monkeypatch):
    """The numbers of threads that the library is asked for."""
    taken, evaluate = [], NativeModel.evaluate

    def noted(*args, threads, **kwargs):
        taken.append(threads)
        return evaluate(*args, threads=threads, **kwargs)

    monkeypatch.setattr(NativeModel, "evaluate", noted)
    return taken


@pytest.mark.parametrize("name", ENGINES)
def test_potential_takes_a_number_of_threads(name, taken):
    make = engine(name).potential.Potential
    potential = make(WEIGHTS, kernel="native", device="cpu", threads=2)
    first, second = (potential.evaluate(GRAPH) for _ in range(2))
    assert taken == [2, 2]  # a small system, too
    assert (first.forces == second.forces).all()
    make(WEIGHTS, kernel="native", device="cpu", threads=np.int64(2))
    for threads in (0, -1, 1025, 2.0, True):
        with pytest.raises(ValueError, match="expected a whole number from 1 to 1024"):
            make(WEIGHTS, kernel="native", device="cpu", threads=threads)
    with pytest.raises(ValueError, match=r"threads = 2, but kernel 'plain'.*OMP_NUM_THREADS"):
        make(WEIGHTS, kernel="plain", device="cpu", threads=2)


def test_jax_function_gets_threads_by_its_size(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    kernel, arrays = kernel_of("jax"), placed("jax", *ARRAYS)

    def threads():
        text = jax.jit(lambda given: kernel.energies(given)).lower(arrays).as_text()
        return re.search(r"threads = (\d+)", text)[1]

    assert threads() == "1"
    monkeypatch.setattr("nequix.native.thread_counts.EDGES_PER_THREAD", GRAPH.n_edges // 2)
    assert threads() == "2"
    kernel.use_threads(3)
    assert threads() == "3"


@pytest.mark.parametrize("name", ENGINES)
def test_an_ensemble_takes_the_threads(name, monkeypatch):
    taken, evaluate = [], NativeModel.evaluate_members

    def noted(self, others, n_shared, graph, threads=None):
        taken.append(threads)
        return evaluate(self, others, n_shared, graph, threads)

    monkeypatch.setattr(NativeModel, "evaluate_members", noted)
    models = [WEIGHTS, random_weights(SPEC, 4)]
    NequixEnsembleCalculator(models, name, kernel="native", device="cpu", threads=2)._evaluate(GRAPH)
    assert taken == [2]
    with pytest.raises(ValueError, match="threads = 0, expected a whole number from 1 to 1024"):
        NequixEnsembleCalculator(models, name, kernel="native", device="cpu", threads=0)
    with pytest.raises(ValueError, match=r"threads = 2, but kernel 'plain'.*OMP_NUM_THREADS"):
        NequixEnsembleCalculator(models, name, kernel="plain", device="cpu", threads=2)


@pytest.mark.parametrize("name", ENGINES)
def test_kernel_without_a_model_is_an_error(name):
    kernel = engine(name).kernels.select_kernel("native", "cpu")
    with pytest.raises(BackendUnavailable, match="has no model"):
        kernel.energies(placed(name, *ARRAYS))
