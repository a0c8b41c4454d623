"""Refit of the atom energies, so that a model's energies have the reference of other labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from nequix.core.spec import ModelSpec
from nequix.data.atom_energies import least_squares
from nequix.data.batch import composition
from nequix.data.loader import Loader
from nequix.io.weights import Weights
from nequix.jax.convolution import Arrays, Kernel
from nequix.jax.model import Model

if TYPE_CHECKING:
    from jaxtyping import Float


def least_change(
    fractions: Float[np.ndarray, "n n_species"], errors: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n_species"]:
    """Return the change of the atom energies that removes most of the errors, eV.

    Least squares of ``errors - fractions @ change``; of all solutions the one of least norm, so that elements
    and combinations of elements that the structures do not determine keep their values.

    Args:
        fractions: Composition of every structure; the rows add up to one.
        errors: Label minus prediction, eV/atom.
    """
    return least_squares(fractions, errors)


def baseline(
    parent: Weights, loader: Loader, kernel: Kernel
) -> tuple[Float[np.ndarray, "n n_species"], Float[np.ndarray, " n"]]:
    """Evaluate compositions and energy errors of one epoch, without structures that have no weighted energy.

    Layers have the precision of the parent's file; everything else is float64, as in predictions.

    Args:
        parent: The model.
        loader: One epoch of the data, all of its batches in this process.
        kernel: Computes the messages.

    Returns:
        The compositions and the errors that :func:`least_change` takes.
    """
    spec = parent.spec
    # Atom energies may be thousands of eV and cancel in the small differences that are fitted.
    named = {**parent.parameters, "atom_energies": np.zeros(spec.n_species)}
    atom_energies = parent.parameters["atom_energies"].astype(float)
    fractions, errors = [np.zeros((0, spec.n_species))], [np.zeros(0)]
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        parameters = {name: jnp.asarray(values) for name, values in named.items()}
        evaluate = jax.jit(lambda arrays: _energies(spec, kernel, parameters, arrays))
        for batch in (batch for batches in loader for batch in batches):
            arrays = Arrays(**{name: jnp.asarray(array) for name, array in batch.layout.arrays().items()})
            energy, counts = batch.labels["energy"], composition(batch, spec.n_species)
            known = energy.mask & (energy.weight > 0)
            predicted = counts @ atom_energies
            np.add.at(predicted, batch.layout.node_graph, np.asarray(evaluate(arrays)))
            fractions.append(counts[known] / batch.n_atoms[known, None])
            errors.append((energy.values - predicted)[known] / batch.n_atoms[known])
    return np.concatenate(fractions), np.concatenate(errors)


def _energies(spec: ModelSpec, kernel: Kernel, parameters: dict[str, jax.Array], arrays: Arrays) -> jax.Array:
    return Model(spec, parameters)(arrays, kernel)
