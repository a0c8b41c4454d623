"""The sum by OpenEquivariance's fused convolution, for NVIDIA and AMD devices: no message is ever stored."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch

from nequix.core.paths import LayerPlan
from nequix.e3nn_layout import TRIAL, Product, describe
from nequix.torch.convolution import Edges, Features, Kernel
from nequix.torch.e3nn_kernel import flatten, select_harmonics, unflatten
from nequix.torch.ops import Array

_DTYPES = {torch.float32: np.float32, torch.float64: np.float64}


class OpenEquivarianceKernel(Kernel):
    """The sum by OpenEquivariance, which follows e3nn's conventions (docs/kernels.md).

    It adds with atomics, which wants no order of the edges: the last digits differ from run to run.

    Raises:
        ImportError: If OpenEquivariance is not installed for this engine.
        Exception: Whatever it raises where it is installed but cannot run.
    """

    name = "openequivariance"
    platforms: tuple[str, ...] = ("gpu",)
    packages: tuple[str, ...] = ("openequivariance",)
    extra = "openequivariance"
    then = ""
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
        receivers, senders = edges.receivers.long(), edges.senders.long()
        key = (plan, nodes.dtype, nodes.device)
        with torch.cuda.device_of(nodes):  # it allocates and launches on the current device
            if key not in self._made:
                self._made[key] = self._make(describe(plan), _DTYPES[nodes.dtype])
            return unflatten(plan, self._made[key].forward(nodes, harmonics, weights, receivers, senders))

    def _make(self, product: Product, dtype: type[np.floating]) -> Any:
        """Make the convolution of a layer in a precision."""
        problem = product.create(self._problem, irrep_dtype=dtype, weight_dtype=dtype)
        return self._convolution(problem, torch_op=True, deterministic=False)


def _find_classes() -> tuple[Any, Any]:
    """Import OpenEquivariance's description of a product and its convolution."""
    package = importlib.import_module("openequivariance")
    if getattr(package, "TensorProductConv", None) is None:
        raise RuntimeError(
            "openequivariance was imported without its PyTorch half; start again without OEQ_NOTORCH=1 and "
            "with PyTorch imported before a JAX model is made"
        )
    return package.TPProblem, package.TensorProductConv
