"""The sum through e3nn's own tensor product: a judge that shares no table with the plain kernel."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import torch

from nequix.core.irreps import label
from nequix.core.paths import LayerPlan
from nequix.torch import ops
from nequix.torch.convolution import Edges, Features, Kernel
from nequix.torch.ops import Array

if TYPE_CHECKING:
    from jaxtyping import Float


class Product(NamedTuple):
    """A layer's messages in e3nn's terms; degrees that no path reads are left out.

    Attributes:
        degrees_in1: Of the senders' features.
        degrees_in2: Of the spherical harmonics.
        irreps_in1: The senders' features.
        irreps_in2: The spherical harmonics.
        irreps_out: The messages, one entry a path.
        instructions: Places of each path in the three, and that it is weighted channel by channel.
    """

    degrees_in1: tuple[int, ...]
    degrees_in2: tuple[int, ...]
    irreps_in1: str
    irreps_in2: str
    irreps_out: str
    instructions: tuple[tuple[int, int, int, str, bool], ...]


@cache
def describe(plan: LayerPlan) -> Product:
    """Describe a layer's messages as e3nn and OpenEquivariance want them.

    Args:
        plan: The layer's tables.
    """
    first = tuple(sorted({path.l1 for path in plan.paths}))
    second = tuple(sorted({path.l2 for path in plan.paths}))
    channels = dict(plan.inputs)
    return Product(
        first,
        second,
        " + ".join(f"{channels[l]}x{label(l)}" for l in first),
        " + ".join(f"1x{label(l)}" for l in second),
        " + ".join(f"{path.mul}x{label(path.l3)}" for path in plan.paths),
        tuple(
            (first.index(path.l1), second.index(path.l2), place, "uvu", True)
            for place, path in enumerate(plan.paths)
        ),
    )


def flatten(plan: LayerPlan, features: Features) -> Float[Array, "n_nodes n_in1"]:
    """Lay features out as e3nn does: degrees side by side, a channel's components together.

    Args:
        plan: The layer's tables.
        features: Blocks by degree.
    """
    blocks = [features[l].swapaxes(1, 2) for l in describe(plan).degrees_in1]
    flat = [block.reshape(len(block), block.shape[1] * block.shape[2]) for block in blocks]
    return ops.concatenate(flat, -1)


def select_harmonics(
    plan: LayerPlan, harmonics: Float[Array, "n_edges n_harmonics"]
) -> Float[Array, "n_edges n_in2"]:
    """Take the spherical harmonics that some path reads.

    Args:
        plan: The layer's tables.
        harmonics: All degrees, side by side.
    """
    degrees = describe(plan).degrees_in2
    if len(degrees) == plan.lmax + 1:
        return harmonics
    pieces = ops.split(harmonics, [2 * l + 1 for l in range(plan.lmax + 1)], -1)
    return ops.concatenate([pieces[l] for l in degrees], -1)


def unflatten(plan: LayerPlan, sums: Float[Array, "n_nodes n_out"]) -> Features:
    """Turn summed messages, path by path in e3nn's layout, into blocks by degree.

    Args:
        plan: The layer's tables.
        sums: Messages, summed over each receiver's edges.
    """
    blocks: dict[int, list[Array]] = {l: [] for l, _ in plan.messages}
    pieces = ops.split(sums, [path.mul * (2 * path.l3 + 1) for path in plan.paths], -1)
    for path, piece in zip(plan.paths, pieces, strict=True):
        blocks[path.l3].append(piece.reshape(len(sums), path.mul, 2 * path.l3 + 1).swapaxes(1, 2))
    return {l: ops.concatenate(parts, -1) for l, parts in blocks.items()}


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
            product = describe(plan)
            with _default_dtype(like.dtype):
                module = self._o3.TensorProduct(
                    product.irreps_in1,
                    product.irreps_in2,
                    product.irreps_out,
                    list(product.instructions),
                    irrep_normalization="component",
                    path_normalization="none",
                    internal_weights=False,
                    shared_weights=False,
                )
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
