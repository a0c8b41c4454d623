"""The sum through e3nn's own tensor product: a judge that shares no table with the plain kernel."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from functools import partial

import torch

from nequix import e3nn_layout
from nequix.core.paths import LayerPlan
from nequix.e3nn_layout import describe
from nequix.torch import ops
from nequix.torch.convolution import Edges, Features, Kernel
from nequix.torch.ops import Array

flatten = partial(e3nn_layout.flatten, ops)
select_harmonics = partial(e3nn_layout.select_harmonics, ops)
unflatten = partial(e3nn_layout.unflatten, ops)
_LOCK = threading.Lock()


class E3nnKernel(Kernel):
    """The sum as e3nn computes it in its usual way: the product of an edge, weighted, then summed.

    Raises:
        ImportError: If e3nn is not installed for this engine.
    """

    name = "e3nn"
    packages: tuple[str, ...] = ("e3nn",)
    extra = "e3nn-torch"
    chunked = False  # a tenth quicker than in chunks, for which it would compute every message twice

    def __init__(self) -> None:
        from e3nn import o3

        super().__init__()
        self._o3 = o3
        self._products: dict[tuple[LayerPlan, torch.dtype, torch.device], torch.nn.Module] = {}

    def _convolve(
        self, plan: LayerPlan, features: Features, weights: Array, edges: Edges, n_nodes: int
    ) -> Features:
        sent = ops.take(flatten(plan, features), edges.senders)
        multiply = self._product(plan, sent)
        messages = multiply(sent, select_harmonics(plan, edges.harmonics), weights)
        return unflatten(plan, ops.segment_sum(messages, edges.receivers, n_nodes))

    def _product(self, plan: LayerPlan, like: Array) -> torch.nn.Module:
        """Make e3nn's module for a layer, once for each precision and device."""
        key = (plan, like.dtype, like.device)
        if key not in self._products:
            with _default_dtype(like.dtype):
                module = describe(plan).create(self._o3.TensorProduct)
            self._products[key] = module.to(like.device)
        return self._products[key]


@contextlib.contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Make a precision the default for a while: e3nn computes its tables in that one and no other."""
    with _LOCK:  # the default is the whole process's: two threads must not set it at a time
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            yield
        finally:
            torch.set_default_dtype(before)
