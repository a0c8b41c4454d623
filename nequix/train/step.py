"""One training step over any number of devices and processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from nequix.core.spec import ModelSpec
from nequix.data.batch import Batch, composition
from nequix.data.label_table import ENERGIES, HESSIAN, LABELS
from nequix.jax.convolution import Kernel
from nequix.jax.ops import Array
from nequix.jax.potential import Arrays
from nequix.train.loss import (
    Labels,
    LossConfig,
    Predictions,
    Target,
    counts,
    error_sums,
    loss_and_gradient,
    predict,
)

if TYPE_CHECKING:
    from jaxtyping import Float

COUNTED = "counted"
"""Among the metrics of a step, the number of labels of each term."""

AXIS = "packs"
"""Name of the mesh axis along which the packs of a batch are spread."""

Parameters = dict[str, Array]

Packs = tuple[Arrays, Labels]
"""Packed structures and their labels, with a leading axis of packs."""


class State(NamedTuple):
    """Everything that a step changes.

    Attributes:
        step: Steps done.
        parameters: Those that are trained, by name.
        frozen: The others, by name.
        average: Exponential moving average of ``parameters``.
        optimizer: The optimiser's own.
    """

    step: Array
    parameters: Parameters
    frozen: Parameters
    average: Parameters
    optimizer: Any


def initial_state(
    parameters: Parameters, frozen: Parameters, optimizer: optax.GradientTransformation
) -> State:
    """Begin a run.

    Args:
        parameters: Those that are trained, by name.
        frozen: The others, by name.
        optimizer: The transformation of gradients to updates.
    """
    average = jax.tree.map(jnp.copy, parameters)
    return State(jnp.zeros((), jnp.int32), parameters, frozen, average, optimizer.init(parameters))


def ema_decay(step: Array, largest: float) -> Array:
    """Return the decay of the moving average, small at first: ``min(largest, (1 + t) / (10 + t))``.

    Args:
        step: Steps done before.
        largest: Decay in the long run.
    """
    return jnp.minimum(largest, (1 + step) / (10 + step))


def make_mesh() -> Mesh:
    """Arrange all devices of all processes along one axis, those of a process side by side."""
    return Mesh(np.array(jax.devices()), (AXIS,))


def make_step(
    spec: ModelSpec,
    kernel: Kernel,
    loss: LossConfig,
    optimizer: optax.GradientTransformation,
    largest_decay: float,
    mesh: Mesh,
) -> Callable[..., tuple[State, dict[str, Any]]]:
    """Compile a training step.

    Args:
        spec: The model's specification.
        kernel: Computes the messages.
        loss: Weights of the loss.
        optimizer: The transformation of gradients to updates.
        largest_decay: Decay of the moving average in the long run.
        mesh: The devices.

    Returns:
        A function of the state, the packed structures, their labels, and more pairs of both: other data of
        the same batch; its packs have other shapes. All have a leading axis of packs that is a multiple of
        the number of devices. It returns the new state and the metrics: ``loss``, ``gradient_norm``, the mean
        error of each term, over all data, and in ``COUNTED`` the labels of each term. Without labels, the
        error of a term is zero.
    """
    evaluate = partial(loss_and_gradient, loss, spec, kernel)

    def gradients(parameters: Parameters, frozen: Parameters, data: tuple[Packs, ...]) -> tuple:
        """Run on one device: go through its packs, one after the other, and add up with the others'."""
        local = [jax.tree.map(lambda x: x.sum(0), jax.vmap(counts)(labels)) for _, labels in data]
        totals = lax.psum(reduce(_added, local), AXIS)

        def add_pack(total: tuple, pack: Packs) -> tuple[tuple, None]:
            (value, sums), gradient = evaluate(parameters, frozen, pack, totals)
            added, errors, gradients = total
            return (added + value, _added(errors, sums), jax.tree.map(jnp.add, gradients, gradient)), None

        summed = jax.tree.map(jnp.zeros_like, (totals["energy"], totals, parameters))
        for packs in data:
            summed, _ = lax.scan(add_pack, summed, packs)
        return (*lax.psum(summed, AXIS), totals)

    everywhere, spread = PartitionSpec(), PartitionSpec(AXIS)
    sharded = jax.shard_map(
        gradients,
        mesh=mesh,
        in_specs=(everywhere, everywhere, spread),
        out_specs=everywhere,
        check_vma=False,
    )

    @partial(jax.jit, donate_argnums=0)
    def step(state: State, arrays: Arrays, labels: Labels, *more: Packs) -> tuple[State, dict[str, Any]]:
        data = ((arrays, labels), *more)
        value, sums, gradient, totals = sharded(state.parameters, state.frozen, data)
        updates, optimizer_state = optimizer.update(gradient, state.optimizer, state.parameters)
        parameters = jax.tree.map(jnp.add, state.parameters, updates)
        decay = ema_decay(state.step, largest_decay)
        average = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, state.average, parameters)
        errors = {name: sums[name] / jnp.maximum(totals[name], 1e-30) for name in sums}
        metrics = {"loss": value, "gradient_norm": optax.tree.norm(gradient), **errors, COUNTED: totals}
        return State(state.step + 1, parameters, state.frozen, average, optimizer_state), metrics

    return step


def _added(one: dict[str, Array], other: dict[str, Array]) -> dict[str, Array]:
    """Add the terms of some data to those of others, which may have fewer."""
    both = {name: one[name] + other[name] for name in one if name in other}
    return {**one, **other, **both}


def make_evaluation(
    spec: ModelSpec, kernel: Kernel, mesh: Mesh
) -> Callable[[Parameters, Arrays, Labels], tuple[dict[str, Array], dict[str, Array], Predictions]]:
    """Compile an evaluation of a batch, without gradients.

    Args:
        spec: The model's specification.
        kernel: Computes the messages.
        mesh: The devices.

    Returns:
        A function of every parameter, the packed structures and their labels; it returns the sums of each
        term's errors, by what to divide them, and the predictions, the latter with an axis of packs.
    """

    def evaluate(parameters: Parameters, arrays: Arrays, labels: Labels) -> tuple:
        def pack(pair: tuple[Arrays, Labels]) -> tuple[dict[str, Array], dict[str, Array], Predictions]:
            predictions = predict(spec, kernel, parameters, *pair)
            return error_sums(predictions, pair[1]), counts(pair[1]), predictions

        sums, totals, predictions = lax.map(pack, (arrays, labels))
        return *lax.psum(jax.tree.map(lambda x: x.sum(0), (sums, totals)), AXIS), predictions

    everywhere, spread = PartitionSpec(), PartitionSpec(AXIS)
    sharded = jax.shard_map(
        evaluate,
        mesh=mesh,
        in_specs=(everywhere, spread, spread),
        out_specs=(everywhere, everywhere, spread),
        check_vma=False,
    )
    return jax.jit(sharded)


def gather(predictions: Predictions) -> list[Predictions]:
    """Take what this process's devices predicted, as NumPy arrays, in the order of its packs.

    Args:
        predictions: With an axis of packs, spread over devices.
    """
    local = {}
    for name, values in predictions._asdict().items():
        if values is not None:
            shards = sorted(values.addressable_shards, key=lambda shard: shard.index[0].start or 0)
            local[name] = np.concatenate([np.asarray(shard.data) for shard in shards])
    return [Predictions(**dict(zip(local, pack, strict=True))) for pack in zip(*local.values(), strict=True)]


def spread(
    mesh: Mesh,
    batches: Sequence[Batch],
    dtype: str,
    atom_energies: Float[np.ndarray, " n_species"],
    *,
    hessian: bool = False,
    energies: bool = False,
) -> Packs:
    """Place this process's packs of a batch on its devices.

    Args:
        mesh: The devices of all processes.
        batches: This process's packs, in order.
        dtype: Precision of positions and labels.
        atom_energies: eV; subtracted from the energies.
        hessian: Whether products of the Hessian are among the labels.
        energies: Whether energies of atoms are.
    """

    def place(values: Sequence[np.ndarray]) -> Array:
        stacked = np.stack(values)
        stacked = stacked.astype(dtype) if np.issubdtype(stacked.dtype, np.floating) else stacked
        return jax.make_array_from_process_local_data(NamedSharding(mesh, PartitionSpec(AXIS)), stacked)

    own = np.asarray(atom_energies, float)
    names = (*LABELS, *([ENERGIES] if energies else []), *([HESSIAN] if hessian else []))
    packs = [_pack(batch, own, names) for batch in batches]
    return jax.tree.map(lambda *values: place(values), *packs)


def _pack(batch: Batch, atom_energies: Float[np.ndarray, " n_species"], names: Sequence[str]) -> Packs:
    """Take a batch as NumPy arrays, energies less those of the atoms."""
    arrays: dict[str, Any] = batch.layout.arrays()
    targets = {}
    for name in names:
        values, mask, weight = batch.labels[name]
        if name == "energy":
            values = values - composition(batch, len(atom_energies)) @ atom_energies
        elif name == ENERGIES:
            values = values - atom_energies[batch.layout.species]
        target: Any = {"values": values, "weight": weight * mask}
        targets[name] = Target(**target)
    others: dict[str, Any] = {"volume": batch.volume, "n_atoms": batch.n_atoms.astype(float)}
    others["direction"] = batch.direction if HESSIAN in names else None
    return Arrays(**arrays), Labels(targets, **others)


def everywhere(mesh: Mesh, tree: Any) -> Any:
    """Place a copy of every array on every device.

    Args:
        mesh: The devices of all processes.
        tree: A tree of arrays, equal in all processes.
    """
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))
