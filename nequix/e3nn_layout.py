"""A layer's messages in the terms of e3nn and OpenEquivariance: irreps, instructions, layout of features."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from nequix.core.irreps import label
from nequix.core.paths import LayerPlan

if TYPE_CHECKING:
    from jaxtyping import Float

Array = Any
"""An array of the engine whose dialect is given."""

Features = dict[int, Array]
T = TypeVar("T")


class Dialect(Protocol):
    """What the layout needs of an engine: its ``ops``."""

    concatenate: Callable[..., Array]
    split: Callable[..., Any]


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

    def create(self, make: Callable[..., T], **options: Any) -> T:
        """Make the product by a class that takes e3nn's arguments, without any factor of its own.

        Args:
            make: The class.
            options: Further arguments.
        """
        return make(
            self.irreps_in1,
            self.irreps_in2,
            self.irreps_out,
            list(self.instructions),
            irrep_normalization="component",
            path_normalization="none",
            internal_weights=False,
            shared_weights=False,
            **options,
        )


TRIAL = Product((0,), (0,), "1x0e", "1x0e", "1x0e", ((0, 0, 0, "uvu", True),))
"""The smallest product: scalars times scalars, for finding out whether a package works at all."""


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


def flatten(ops: Dialect, plan: LayerPlan, features: Features) -> Float[Array, "n_nodes n_in1"]:
    """Lay features out as e3nn does: degrees side by side, a channel's components together.

    Args:
        ops: The engine's dialect.
        plan: The layer's tables.
        features: Blocks by degree.
    """
    blocks = [features[l].swapaxes(1, 2) for l in describe(plan).degrees_in1]
    flat = [block.reshape(len(block), block.shape[1] * block.shape[2]) for block in blocks]
    return ops.concatenate(flat, -1)


def select_harmonics(
    ops: Dialect, plan: LayerPlan, harmonics: Float[Array, "n_edges n_harmonics"]
) -> Float[Array, "n_edges n_in2"]:
    """Take the spherical harmonics that some path reads.

    Args:
        ops: The engine's dialect.
        plan: The layer's tables.
        harmonics: All degrees, side by side.
    """
    degrees = describe(plan).degrees_in2
    if len(degrees) == plan.lmax + 1:
        return harmonics
    pieces = ops.split(harmonics, [2 * l + 1 for l in range(plan.lmax + 1)], -1)
    return ops.concatenate([pieces[l] for l in degrees], -1)


def unflatten(ops: Dialect, plan: LayerPlan, sums: Float[Array, "n_nodes n_out"]) -> Features:
    """Turn summed messages, path by path in e3nn's layout, into blocks by degree.

    Args:
        ops: The engine's dialect.
        plan: The layer's tables.
        sums: Messages, summed over each receiver's edges.
    """
    blocks: dict[int, list[Array]] = {l: [] for l, _ in plan.messages}
    pieces = ops.split(sums, [path.mul * (2 * path.l3 + 1) for path in plan.paths], -1)
    for path, piece in zip(plan.paths, pieces, strict=True):
        blocks[path.l3].append(piece.reshape(len(sums), path.mul, 2 * path.l3 + 1).swapaxes(1, 2))
    return {l: ops.concatenate(parts, -1) for l, parts in blocks.items()}
