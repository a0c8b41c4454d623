"""The sum by OpenEquivariance's fused convolution, for NVIDIA and AMD devices: no message is ever stored."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from nequix.core.paths import LayerPlan
from nequix.e3nn_layout import TRIAL, Product, describe
from nequix.jax.convolution import Edges, Features, Kernel
from nequix.jax.e3nn_kernel import flatten, select_harmonics, unflatten
from nequix.jax.ops import Array


class OpenEquivarianceKernel(Kernel):
    """The sum by OpenEquivariance, which follows e3nn's conventions (docs/kernels.md).

    It adds with atomics, which wants no order of the edges: the last digits differ from run to run.

    Raises:
        ImportError: If OpenEquivariance is not installed for this engine.
        Exception: Whatever it raises where it is installed but cannot run.
    """

    name = "openequivariance"
    platforms: tuple[str, ...] = ("gpu",)
    packages: tuple[str, ...] = ("openequivariance", "openequivariance_extjax")
    extra = "openequivariance"
    then = "pip install openequivariance_extjax --no-build-isolation"
    chunked = False

    def __init__(self) -> None:
        super().__init__()
        self._problem, self._convolution = _find_classes()
        self._made: dict[Any, Any] = {}
        # It can be imported without its compiled extension or a driver: find out now, not in an evaluation.
        self._make(TRIAL, np.float32)

    def _convolve(
        self, plan: LayerPlan, features: Features, weights: Array, edges: Edges, n_nodes: int
    ) -> Features:
        nodes = flatten(plan, features)
        harmonics = select_harmonics(plan, edges.harmonics)
        receivers, senders = edges.receivers.astype(np.int32), edges.senders.astype(np.int32)
        key = (plan, nodes.dtype.type)
        if key not in self._made:
            self._made[key] = self._make(describe(plan), nodes.dtype.type)
        return unflatten(plan, self._made[key].forward(nodes, harmonics, weights, receivers, senders))

    def _make(self, product: Product, dtype: type[np.floating]) -> Any:
        """Make the convolution of a layer in a precision."""
        problem = product.create(self._problem, irrep_dtype=dtype, weight_dtype=dtype)
        # Its workspace outlives the compilation in which it is first needed: an array, not a tracer.
        with jax.ensure_compile_time_eval():
            return self._convolution(problem, deterministic=False)


def _find_classes() -> tuple[Any, Any]:
    """Import OpenEquivariance's description of a product and its convolution."""
    with _without_torch():
        problem = importlib.import_module("openequivariance").TPProblem
        return problem, importlib.import_module("openequivariance.jax").TensorProductConv


@contextlib.contextmanager
def _without_torch() -> Iterator[None]:
    """Keep OpenEquivariance from importing PyTorch, unless that is there already."""
    before = os.environ.get("OEQ_NOTORCH")
    if "torch" not in sys.modules:
        os.environ["OEQ_NOTORCH"] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("OEQ_NOTORCH", None)
        else:
            os.environ["OEQ_NOTORCH"] = before
