"""The gradients of the loss, written in PyTorch too, are those that training follows."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import nequix.torch.model
import nequix.torch.potential
from nequix.core.parameters import initialise, manifest
from nequix.data.loader import Loader
from nequix.data.opening import open_source
from nequix.graphs.tiling import TILE
from nequix.jax import convolution
from nequix.jax.convolution import PlainKernel
from nequix.jax.kernels import select_kernel
from nequix.torch.kernels import select_kernel as select_torch_kernel
from nequix.train.config import read_config
from nequix.train.loss import BACKWARDS, TERMS, LossConfig, counts, loss_and_gradient
from nequix.train.step import make_mesh, spread
from tests.tolerances import PARITY_FLOAT64
from tests.train.emt import write_config


def torch_loss(spec, parameters, batch, config):
    """The loss of docs/architecture.md, written once more and straight from the batch."""
    potential = nequix.torch.potential
    model = nequix.torch.model.Model(spec, parameters)
    model.requires_grad_(True)
    arrays = potential.Arrays(**{name: torch.tensor(x) for name, x in batch.layout.arrays().items()})
    energies, gradient = potential.energy_gradient(model, select_torch_kernel("plain", "cpu"), arrays)
    n_graphs = len(batch.volume)
    energy = torch.zeros(n_graphs, dtype=torch.float64).index_add(0, arrays.node_graph.long(), energies)
    forces = potential.forces_from_gradient(gradient, arrays)
    virial = potential.virial_from_gradient(gradient, arrays, n_graphs)
    stress = virial / torch.tensor(batch.volume)[:, None, None]
    known = {name: torch.tensor(label.mask) for name, label in batch.labels.items()}
    given = {name: torch.tensor(label.values) for name, label in batch.labels.items()}
    per_atom = (energy - given["energy"]) / torch.tensor(batch.n_atoms)
    of_atoms = (energies - given["energies"])[known["energies"]].abs().mean()
    terms = (
        (config.energies or 0) * of_atoms,
        config.energy * per_atom[known["energy"]].abs().mean(),
        config.forces * (forces - given["forces"])[known["forces"]].norm(dim=1).mean(),
        config.stress * (stress - given["stress"])[known["stress"]].abs().mean(),
    )
    return model, sum(terms)


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gradients")
    config = read_config(write_config(folder, 12, dtype="float64"))
    source = open_source(config.data.train)
    spec = config.model.spec((29, 47, 79), 12.0, 0.7, -0.3)
    (batch,) = next(Loader(source, spec, batch_size=12, epochs=1))
    masks = {name: label.mask for name, label in batch.labels.items()}
    for mask in (masks["energy"][: len(batch.names)], masks["energies"][batch.node_mask]):
        assert mask.any()
        assert not mask.all()  # some labels are missing
    return config, spec, batch


def jax_gradients(spec, parameters, batch, config):
    """The loss and its gradients as training computes them, and the operations that this takes."""
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        atomic = config.energies is not None
        placed = spread(make_mesh(), [batch], "float64", parameters["atom_energies"], energies=atomic)
        arrays, labels = jax.tree.map(lambda x: x[0], placed)
        kernel = select_kernel("plain", "cpu")

        def gradients(values):
            return loss_and_gradient(config, spec, kernel, values, {}, (arrays, labels), counts(labels))

        values = {name: jnp.asarray(x, "float64") for name, x in parameters.items()}
        compiled = jax.jit(gradients).lower(values).compile()
        (value, _), gradients = compiled(values)
        gradients = {name: np.asarray(x) for name, x in gradients.items()}
        return float(value), gradients, compiled.cost_analysis()["flops"]


@pytest.mark.parametrize("terms", [("energy", "forces", "stress"), ("energy",), ("forces", "energies")])
def test_both_engines_have_the_same_loss_and_gradients(case, terms):
    config, spec, batch = case
    weights = {name: getattr(config.loss, name) * (name in terms) for name in TERMS}
    if "energies" in terms:
        weights["energies"] = 7.0
    config = dataclasses.replace(config, loss=LossConfig(**weights))
    parameters = initialise(spec, 3, {29: -3.0, 47: -2.5, 79: -3.1})
    value, gradients, _ = jax_gradients(spec, parameters, batch, config.loss)
    model, other = torch_loss(spec, {n: torch.tensor(x) for n, x in parameters.items()}, batch, config.loss)
    assert value == pytest.approx(other.item(), rel=PARITY_FLOAT64)
    other.backward()
    others = {name: x.grad.numpy() for name, x in model.named_parameters() if x.grad is not None}
    names = [parameter.name for parameter in manifest(spec) if parameter.learned]
    assert set(names) <= set(others)
    for name in names:
        size = np.abs(gradients[name]).max()
        assert size > 1e-6, name
        np.testing.assert_allclose(others[name], gradients[name], rtol=0, atol=PARITY_FLOAT64 * size)


class Backwards(PlainKernel):
    """A kernel without forward derivatives, under the name of one."""

    name = BACKWARDS[0]

    def _convolve(self, plan, features, weights, edges, n_nodes):
        def plain(features, weights, edges):
            return super(Backwards, self)._convolve(plan, features, weights, edges, n_nodes)

        def forward(*arguments):
            return plain(*arguments), arguments

        def backward(arguments, cotangent):
            return jax.vjp(plain, *arguments)[1](cotangent)

        convolve = jax.custom_vjp(plain)
        convolve.defvjp(forward, backward)
        return convolve(features, weights, edges)


@pytest.mark.parametrize("trained", ["", "layers.1", "readout"])
@pytest.mark.parametrize("n_tiles", [4, 64])
def test_going_forwards_changes_no_gradient(case, monkeypatch, trained, n_tiles):
    config, spec, batch = case
    monkeypatch.setattr(convolution, "CHUNK_TILES", n_tiles)  # in several pieces, and in one
    n_pieces = len(batch.layout.senders) / (n_tiles * TILE)
    assert n_pieces < 1 or n_pieces == int(n_pieces) > 1
    loss = dataclasses.replace(config.loss, energies=7.0)
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        values = {
            name: jnp.asarray(x) for name, x in initialise(spec, 3, {29: -3.0, 47: -2.5, 79: -3.1}).items()
        }
        own = {name: x for name, x in values.items() if name.startswith(trained)}
        frozen = {name: x for name, x in values.items() if name not in own}
        placed = spread(make_mesh(), [batch], "float64", np.asarray(values["atom_energies"]), energies=True)
        pack = jax.tree.map(lambda x: x[0], placed)
        (one, gradient), (other, judge) = (
            jax.jit(partial(loss_and_gradient, loss, spec, kernel))(own, frozen, pack, counts(pack[1]))
            for kernel in (select_kernel("plain", "cpu"), Backwards())
        )
    assert gradient.keys() == own.keys()
    assert float(one[0]) == pytest.approx(float(other[0]), rel=PARITY_FLOAT64)
    for name, values in judge.items():
        size = np.abs(values).max()
        assert size > 0 or name == "atom_energies"
        np.testing.assert_allclose(gradient[name], values, rtol=0, atol=PARITY_FLOAT64 * size)


def test_only_energies_cost_no_derivatives_of_forces(case):
    config, spec, batch = case
    parameters = initialise(spec, 3, {29: -3.0, 47: -2.5, 79: -3.1})
    alone = LossConfig(energy=config.loss.energy, forces=0, stress=0)
    costs = [jax_gradients(spec, parameters, batch, loss)[2] for loss in (alone, config.loss)]
    assert costs[0] < 0.6 * costs[1]
