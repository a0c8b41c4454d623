"""The loss, as sums and counts that add up over any partition of a batch (docs/architecture.md, training)."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from nequix.core.errors import DataError
from nequix.core.spec import ModelSpec
from nequix.data.label_table import LABEL_TABLE, LABELS, Label
from nequix.jax.convolution import Kernel
from nequix.jax.model import Model
from nequix.jax.ops import Array, take
from nequix.jax.potential import (
    Arrays,
    energy_gradient,
    forces_from_gradient,
    gradient_slope,
    virial_from_gradient,
)
from nequix.train.config_types import NotNegative

if TYPE_CHECKING:
    from jaxtyping import Float

TERMS = LABELS
"""Terms of the loss that every run has: eV per atom, eV/A, eV/A^3."""

BACKWARDS = ("openequivariance",)
"""Kernels that training differentiates only in reverse mode. OpenEquivariance's forward derivatives compile
only where all are differentiated backwards (PASSIONLab/OpenEquivariance#189); those of frozen layers are
not."""


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms.

    Attributes:
        energy: Weight of the mean absolute error of the energy per atom.
        forces: Weight of the mean length of the error of an atom's force.
        stress: Weight of the mean absolute error of a component of the stress.
        hessian: Weight of the mean length of the error of an atom's part in a product of the Hessian; only
            for data
            that have such products.
        energies: Weight of the mean absolute error of the energy of a single atom; only for data that a
            potential
            has labelled.

    Raises:
        DataError: If none is positive.
    """

    energy: NotNegative
    forces: NotNegative
    stress: NotNegative
    hessian: NotNegative | None = None
    energies: NotNegative | None = None

    def __post_init__(self) -> None:
        if not any((self.energy, self.forces, self.stress, self.hessian, self.energies)):
            raise DataError("no weight of the loss is positive, so nothing would be learned; raise one")


class Target(NamedTuple):
    """A label of a packed batch, padding included.

    Attributes:
        values: One per structure or per atom; energies less those of the atoms.
        weight: Of each in the loss; zero for what is missing or padding.
    """

    values: Float[Array, "n ..."]
    weight: Float[Array, " n"]


class Labels(NamedTuple):
    """Labels of a packed batch, padding included.

    Attributes:
        targets: By name, those of :data:`nequix.data.label_table.LABEL_TABLE` that the loss may weigh.
        volume: A^3; one where there is none.
        n_atoms: Atoms of a structure; one for padding.
        direction: A displacement of every atom, for products of the Hessian; structures do not see each
            other, so that one product is one for each of them. None for data without.
    """

    targets: dict[str, Target]
    volume: Float[Array, " n_graphs"]
    n_atoms: Float[Array, " n_graphs"]
    direction: Float[Array, "n_nodes 3"] | None = None


class Predictions(NamedTuple):
    """Predictions for a packed batch; differentiable with respect to the model's parameters.

    Attributes:
        energy: eV, less the energies of the atoms.
        forces: eV/A.
        stress: eV/A^3.
        energies: eV, of every atom, less the atom's own energy.
        hessian: The Hessian times the labels' directions, eV/A^2; None without such labels.
    """

    energy: Float[Array, " n_graphs"]
    forces: Float[Array, "n_nodes 3"]
    stress: Float[Array, "n_graphs 3 3"]
    energies: Float[Array, " n_nodes"]
    hessian: Float[Array, "n_nodes 3"] | None = None


def counts(labels: Labels) -> dict[str, Array]:
    """Sum the weights of every term's errors, the denominators of :func:`error_sums`.

    Args:
        labels: Labels of a packed batch.
    """
    found = {}
    for label in LABEL_TABLE:
        if label.name in labels.targets:
            total = labels.targets[label.name].weight.sum()
            found[label.name] = 9 * total if label.shape == (3, 3) else total
    return found


def error_sums(predictions: Predictions, labels: Labels) -> dict[str, Array]:
    """Sum the weighted absolute errors of every term.

    Args:
        predictions: Predictions of the model.
        labels: Labels of the same batch.
    """
    found = {}
    for label in LABEL_TABLE:
        if label.name in labels.targets:
            target = labels.targets[label.name]
            errors = _errors(label, getattr(predictions, label.name) - target.values)
            if label.name == "energy":
                errors = errors / labels.n_atoms
            found[label.name] = (target.weight * errors).sum()
    return found


def _errors(label: Label, differences: Array) -> Array:
    """Return the error of each structure or atom: lengths of vectors, otherwise sums of components."""
    if label.shape == (3,):
        return _lengths(differences)
    return abs(differences).sum(tuple(range(1, differences.ndim))) if label.shape else abs(differences)


def _lengths(vectors: Array) -> Array:
    """Return lengths; the root has no derivative at zero, where padding and perfect predictions are."""
    square = (vectors**2).sum(-1)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def predict(
    spec: ModelSpec, kernel: Kernel, parameters: dict[str, Array], arrays: Arrays, labels: Labels
) -> Predictions:
    """Evaluate a model on a packed batch; its atom energies are not added.

    They may be 1e5 eV, where float32 does not resolve meV: they are subtracted from the labels beforehand.

    Args:
        spec: The model's specification.
        kernel: Computes the messages.
        parameters: Every parameter of the manifest.
        arrays: The packed structures.
        labels: Gives the number of structures, their volumes, and the directions of products of the Hessian.
    """
    model = _model(spec, parameters)
    return _summed(_derivatives(model, kernel, arrays, labels), arrays, labels)


def _model(spec: ModelSpec, parameters: dict[str, Array]) -> Model:
    return Model(spec, {**parameters, "atom_energies": jnp.zeros(spec.n_species)})


def _derivatives(model: Model, kernel: Kernel, arrays: Arrays, labels: Labels) -> tuple[Array, ...]:
    """Evaluate the energies of atoms, ``dE/dr_e``, and its slope along a direction if the labels have one."""
    if labels.direction is None:
        return energy_gradient(model, kernel, arrays)
    return gradient_slope(model, kernel, arrays, labels.direction)


def _summed(derivatives: tuple[Array, ...], arrays: Arrays, labels: Labels) -> Predictions:
    """Sum predictions of atoms and edges."""
    energies, gradient, *slope = derivatives
    n_graphs = len(labels.volume)
    energy = jnp.zeros(n_graphs, energies.dtype).at[arrays.node_graph].add(energies)
    virial = virial_from_gradient(gradient, arrays, n_graphs)
    stress = virial / labels.volume[:, None, None]
    hessian = -forces_from_gradient(slope[0], arrays) if slope else None
    return Predictions(energy, forces_from_gradient(gradient, arrays), stress, energies, hessian)


def weighted_loss(config: LossConfig, sums: dict[str, Array], totals: dict[str, Array]) -> Array:
    """Combine the terms; a term without labels counts as zero.

    A term without weight is not part of the loss, whatever its errors.

    Args:
        config: Weights of the terms.
        sums: Sums of errors.
        totals: Sums of weights over the whole batch.
    """
    weights = {name: getattr(config, name) or 0 for name in sums}
    terms = [w * sums[name] / jnp.maximum(totals[name], 1e-30) for name, w in weights.items() if w > 0]
    return reduce(operator.add, terms, jnp.zeros(()))


def loss_and_gradient(
    config: LossConfig,
    spec: ModelSpec,
    kernel: Kernel,
    trained: dict[str, Array],
    frozen: dict[str, Array],
    pack: tuple[Arrays, Labels],
    totals: dict[str, Array],
) -> tuple[tuple[Array, dict[str, Array]], dict[str, Array]]:
    """Evaluate the loss of a packed batch, its sums of errors, and its gradient.

    With ``E_a`` the energies of atoms and ``g_e = dE/dr_e``, the loss is a function of both, and its gradient
    by the parameters is that of ``sum_a dL/dE_a E_a + sum_e dL/dg_e . g_e`` with the two derivatives held
    fixed. The second sum is the change of the energy along ``dL/dg_e``, which forward-mode differentiation
    gives: differentiating it in reverse takes less time and memory than differentiating forces, and gives the
    same result. Without a weight of forces or stress there is no second sum. A kernel without forward
    derivatives is
    differentiated in reverse mode twice.

    Args:
        config: Weights of the terms.
        spec: The model's specification.
        kernel: Computes the messages.
        trained: The parameters to differentiate with respect to.
        frozen: All other parameters.
        pack: The packed structures and their labels.
        totals: Sums of weights over the whole batch.

    Returns:
        The loss and the sums of errors; the gradient by each trained parameter.
    """
    arrays, labels = pack

    def loss_and_metrics(derivatives: tuple[Array, ...]) -> tuple[Array, dict[str, Array]]:
        sums = error_sums(_summed(derivatives, arrays, labels), labels)
        return weighted_loss(config, sums, totals), sums

    def derivatives(trained: dict[str, Array]) -> tuple[Array, ...]:
        return _derivatives(_model(spec, {**trained, **frozen}), kernel, arrays, labels)

    if kernel.name in BACKWARDS:
        return jax.value_and_grad(lambda trained: loss_and_metrics(derivatives(trained)), has_aux=True)(
            trained
        )
    values, (by_energies, *by_others) = jax.value_and_grad(loss_and_metrics, has_aux=True)(
        derivatives(trained)
    )

    def linearised(trained: dict[str, Array]) -> Array:
        model = _model(spec, {**trained, **frozen})

        def energies(vectors: Array) -> Array:
            return model(arrays._replace(vectors=vectors), kernel)

        def changed(vectors: Array, direction: Array) -> tuple[Array, Array]:
            return jax.jvp(energies, (vectors,), (direction,))

        if not (config.forces or config.stress or config.hessian):
            return (by_energies * energies(arrays.vectors)).sum()
        values, change = changed(arrays.vectors, by_others[0])
        total = (by_energies * values).sum() + change.sum()
        if labels.direction is not None and config.hessian:
            along = take(labels.direction, arrays.senders) - take(labels.direction, arrays.receivers)
            total += jax.jvp(lambda v: changed(v, along)[1].sum(), (arrays.vectors,), (by_others[1],))[1]
        return total

    return values, jax.grad(linearised)(trained)
