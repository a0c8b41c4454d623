"""The sum through e3nn's own tensor product: a judge that shares no table with the plain kernel."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from nequix.core.irreps import label
from nequix.core.paths import LayerPlan
from nequix.jax import ops
from nequix.jax.convolution import Edges, Features, Kernel
from nequix.jax.ops import Array

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


class E3nnKernel(Kernel):
    """The sum as e3nn computes it in its usual way: the product of an edge, weighted, then summed.

    Raises:
        ImportError: If e3nn is not installed for this engine.
    """

    name = "e3nn"
    packages: tuple[str, ...] = ("e3nn_jax",)
    extra = "e3nn-jax"
    chunked = True  # three times quicker than at once: the messages stay in the cache

    def __init__(self) -> None:
        import e3nn_jax

        super().__init__()
        self._e3nn = e3nn_jax

    def _convolve(
        self, plan: LayerPlan, features: Features, weights: Array, edges: Edges, n_nodes: int
    ) -> Features:
        e3nn, product = self._e3nn, describe(plan)
        sent = ops.take(flatten(plan, features), edges.senders)
        # Its paths have the plan's order: l1 outermost, then l2, then l3, stably sorted by l3.
        messages = e3nn.tensor_product(
            e3nn.IrrepsArray(product.irreps_in1, sent),
            e3nn.IrrepsArray(product.irreps_in2, select_harmonics(plan, edges.harmonics)),
            filter_ir_out=[label(l) for l, _ in plan.messages],
            irrep_normalization="component",
        )
        return unflatten(plan, ops.segment_sum((messages * weights).array, edges.receivers, n_nodes))
