"""The one swappable piece: messages of edges and their sum over each receiver's edges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
from jax import lax

from nequix.core.coupling import coupling
from nequix.core.paths import LayerPlan
from nequix.graphs.tiling import CHUNK_TILES, TILE
from nequix.jax import ops
from nequix.jax.ops import Array
from nequix.kernel import Kernel as BaseKernel

if TYPE_CHECKING:
    from jaxtyping import Float, Int

Features = dict[int, Array]


class Arrays(NamedTuple):
    """One structure or a batch on a device, as a model reads it.

    Attributes:
        vectors: ``r_e``, A.
        senders: Atom ``j`` of each edge.
        receivers: Atom ``i`` of each edge, ascending, tile by tile (:mod:`nequix.graphs.tiling`).
        species: Index into the model's ``atomic_numbers``.
        node_graph: Structure of each atom, ascending.
    """

    vectors: Float[Array, "n_edges 3"]
    senders: Int[Array, " n_edges"]
    receivers: Int[Array, " n_edges"]
    species: Int[Array, " n_nodes"]
    node_graph: Int[Array, " n_nodes"]


class Edges(NamedTuple):
    """Edges and their features.

    Attributes:
        radial: Bessel functions times envelope.
        harmonics: Spherical harmonics, degrees side by side.
        senders: Atom ``j`` of each edge.
        receivers: Atom ``i`` of each edge, ascending, one a tile.
    """

    radial: Float[Array, "n_edges n_basis"]
    harmonics: Float[Array, "n_edges n_harmonics"]
    senders: Int[Array, " n_edges"]
    receivers: Int[Array, " n_edges"]


class Kernel(BaseKernel):
    """Computes messages and their sum; kernels are interchangeable, equal up to rounding."""

    n_calls: int

    def convolve(
        self,
        plan: LayerPlan,
        features: Features,
        weights: Float[Array, "n_edges n_weights"],
        edges: Edges,
        n_nodes: int,
    ) -> Features:
        """Sum the messages of every receiver (docs/architecture.md, messages).

        Args:
            plan: The layer's tables.
            features: Mixed features of the senders, by degree.
            weights: Radial weights, paths side by side.
            edges: The edges, tile by tile.
            n_nodes: Number of atoms that receive.
        """
        self.n_calls += 1
        return self._convolve(plan, features, weights, edges, n_nodes)

    def _convolve(
        self, plan: LayerPlan, features: Features, weights: Array, edges: Edges, n_nodes: int
    ) -> Features:
        raise NotImplementedError


class PlainKernel(Kernel):
    """The sum by core's coupling tensors: one matrix product a path, over the edges of a tile."""

    name = "plain"

    def _convolve(
        self, plan: LayerPlan, features: Features, weights: Array, edges: Edges, n_nodes: int
    ) -> Features:
        n_tiles = len(edges.senders) // TILE
        sent = {l: ops.take(block, edges.senders) for l, block in features.items()}
        blocks: dict[int, list[Array]] = {l: [] for l, _ in plan.messages}
        harmonics = ops.split(edges.harmonics, [2 * l + 1 for l in range(plan.lmax + 1)], -1)
        columns = ops.split(weights, [path.mul for path in plan.paths], -1)
        for path, weight in zip(plan.paths, columns, strict=True):
            rows, components = 2 * path.l3 + 1, 2 * path.l1 + 1
            table = coupling(path.l1, path.l2, path.l3).transpose(1, 2, 0).reshape(2 * path.l2 + 1, -1)
            mixing = (harmonics[path.l2] @ ops.constant(table, weight)).reshape(
                n_tiles, TILE, rows, components
            )
            mixing = mixing.swapaxes(1, 2).reshape(n_tiles, rows, TILE * components)
            weighted = sent[path.l1] * weight[:, None, :]
            blocks[path.l3].append(mixing @ weighted.reshape(n_tiles, TILE * components, path.mul))
        owners = edges.receivers[::TILE]
        return {l: ops.segment_sum(ops.concatenate(sums, -1), owners, n_nodes) for l, sums in blocks.items()}


def aggregate(
    kernel: Kernel,
    plan: LayerPlan,
    features: Features,
    edges: Edges,
    radial_mlp: Callable[[Sequence[Array], Array], Array],
    matrices: Sequence[Array],
) -> Features:
    """Sum messages chunk by chunk, recomputing each chunk for its derivatives: memory stays bounded.

    Args:
        kernel: Computes the messages and their sum.
        plan: The layer's tables.
        features: Mixed features of the senders, by degree.
        edges: The edges, tile by tile.
        radial_mlp: Radial weights of every path, from matrices and the radial basis.
        matrices: Of the radial MLP.
    """
    n_nodes = len(features[0])

    def chunk(features: Features, matrices: Sequence[Array], edges: Edges) -> Features:
        return kernel.convolve(plan, features, radial_mlp(matrices, edges.radial), edges, n_nodes)

    size = CHUNK_TILES * TILE
    n_chunks = len(edges.senders) // size
    if not kernel.chunked or n_chunks * size != len(edges.senders) or n_chunks == 1:
        return chunk(features, matrices, edges)

    def step(total: Features, part: Edges) -> tuple[Features, None]:
        sums = jax.checkpoint(chunk, prevent_cse=False)(features, matrices, part)
        return {l: total[l] + sums[l] for l in total}, None

    like = features[0]
    zeros = {l: jax.numpy.zeros((n_nodes, 2 * l + 1, mul), like.dtype) for l, mul in plan.messages}
    parts = jax.tree.map(lambda array: array.reshape(n_chunks, size, *array.shape[1:]), edges)
    return lax.scan(step, zeros, parts)[0]
