"""Errors and predictions of a model on a data set, over any number of devices and processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from nequix.core.spec import ModelSpec
from nequix.data.loader import Loader
from nequix.io.interrupts import compiling
from nequix.jax.convolution import Kernel
from nequix.metrics.predictions import Predictions
from nequix.train.figures import collect_predictions
from nequix.train.loss import TERMS, LossConfig, weighted_loss
from nequix.train.step import Parameters, gather, make_evaluation, spread


class Evaluation:
    """Evaluates models of one specification.

    Args:
        spec: The models' specification.
        kernel: Computes the messages.
        mesh: The devices.
        loss: Weights of the loss.
        dtype: Precision of positions and labels.
    """

    def __init__(self, spec: ModelSpec, kernel: Kernel, mesh: Mesh, loss: LossConfig, dtype: str) -> None:
        self._spec, self._mesh, self._loss, self._dtype = spec, mesh, loss, dtype
        self._evaluate = make_evaluation(spec, kernel, mesh)
        self._known: set[bool] = set()  # with Hessians, and without

    def errors(
        self, parameters: Parameters, loader: Loader, hessians: Loader | None = None
    ) -> dict[str, float]:
        """Return the loss, and the mean error of each term that the data have labels for.

        Args:
            parameters: Every parameter of the model.
            loader: One epoch of the data.
            hessians: One epoch of data with products of the Hessian.
        """
        sums, totals = dict.fromkeys(TERMS, 0.0), dict.fromkeys(TERMS, 0.0)
        for source in filter(None, (loader, hessians)):
            for _, (more, counted, _) in self._batches(parameters, source, hessian=source is hessians):
                for name in more:
                    sums[name] = sums.get(name, 0.0) + float(more[name])
                    totals[name] = totals.get(name, 0.0) + float(counted[name])
        loss = weighted_loss(self._loss, *({n: jnp.asarray(x[n]) for n in x} for x in (sums, totals)))
        return {"loss": float(loss), **{name: sums[name] / totals[name] for name in sums if totals[name] > 0}}

    def predictions(self, parameters: Parameters, loader: Loader) -> Predictions:
        """Collect labels and predictions of this process's part of the data.

        Args:
            parameters: Every parameter of the model.
            loader: One epoch of the data.
        """
        pairs = []
        for batches, (_, _, predictions) in self._batches(parameters, loader):
            pairs += zip(batches, gather(predictions), strict=True)
        return collect_predictions(self._spec, pairs, np.asarray(parameters["atom_energies"], float))

    def _batches(
        self, parameters: Parameters, loader: Loader, hessian: bool = False
    ) -> Iterator[tuple[Any, Any]]:
        loader.restore({**loader.state(), "position": 0})
        energies = np.asarray(parameters["atom_energies"])
        for batches in loader:
            atomic = self._loss.energies is not None and not hessian
            placed = spread(self._mesh, batches, self._dtype, energies, hessian=hessian, energies=atomic)
            with compiling("JAX compiles the validation") if hessian not in self._known else nullcontext():
                evaluated = self._evaluate(parameters, *placed)
            self._known.add(hessian)
            yield batches, evaluated
