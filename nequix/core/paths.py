"""Tables of what a layer computes: degrees, gates and the ordered tensor-product paths."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from nequix.core.spec import ModelSpec


@dataclass(frozen=True)
class Path:
    """One tensor-product path ``(l1, l2) -> l3`` of a layer, channel-wise over ``mul`` channels.

    Attributes:
        l1: Degree of the sender's feature.
        l2: Degree of the spherical harmonic.
        l3: Degree of the message.
        mul: Channels, those of the input degree ``l1``.
        weight: First column of this path in the radial weights.
        channel: First channel of this path within the aggregated block of degree ``l3``.
    """

    l1: int
    l2: int
    l3: int
    mul: int
    weight: int
    channel: int


@dataclass(frozen=True)
class LayerPlan:
    """The plan of one interaction layer (docs/architecture.md, layer).

    Attributes:
        inputs: ``((degree, channels), ...)`` of the input features.
        messages: Channels of each aggregated degree: the paths into it, side by side.
        outputs: Output features.
        n_gates: Channels of ``outputs`` with ``l > 0``; the gates are the last ``0e`` channels before the
            activation.
        paths: The ordered path table.
        lmax: Highest degree of the spherical harmonics.
    """

    inputs: tuple[tuple[int, int], ...]
    messages: tuple[tuple[int, int], ...]
    outputs: tuple[tuple[int, int], ...]
    n_gates: int
    paths: tuple[Path, ...]
    lmax: int

    @property
    def preactivation(self) -> tuple[tuple[int, int], ...]:
        """Channels of each degree before norm and gate: ``outputs`` with the gates as more ``0e``."""
        return tuple((l, mul + self.n_gates * (l == 0)) for l, mul in self.outputs)

    @property
    def n_weights(self) -> int:
        """Radial weights of an edge: the channels of all paths."""
        return sum(path.mul for path in self.paths)


def _plan_layer(inputs: dict[int, int], hidden: dict[int, int], lmax: int) -> LayerPlan:
    triples = [
        (l1, l2, l3)
        for l1 in inputs
        for l2 in range(lmax + 1)
        for l3 in range(abs(l1 - l2), l1 + l2 + 1)
        if l3 in hidden and (l1 + l2 + l3) % 2 == 0
    ]
    paths: list[Path] = []
    messages: dict[int, int] = {}
    n_weights = 0
    for l1, l2, l3 in sorted(triples, key=lambda triple: triple[2]):  # stable: order within l3 is kept
        mul = inputs[l1]
        paths.append(Path(l1, l2, l3, mul, n_weights, messages.get(l3, 0)))
        messages[l3] = messages.get(l3, 0) + mul
        n_weights += mul
    # A degree without a path or a skip to it would always be zero: it is not part of the output.
    outputs = {l: mul for l, mul in hidden.items() if l in messages or l in inputs}
    n_gates = sum(mul for l, mul in outputs.items() if l > 0)
    as_tuple = (tuple(inputs.items()), tuple(messages.items()), tuple(outputs.items()))
    return LayerPlan(*as_tuple, n_gates, tuple(paths), lmax)


@cache
def plan(spec: ModelSpec) -> tuple[LayerPlan, ...]:
    """Plan every layer of a model: inputs, ordered paths, outputs, gates.

    The first layer reads the one-hot of the species (``n_species`` channels of ``0e``); the last one
    keeps only ``0e``. Paths are generated with ``l1`` outermost, then ``l2``, then ``l3``, and stably
    sorted by ``l3``.

    Args:
        spec: The model's specification.
    """
    layers: list[LayerPlan] = []
    features = {0: spec.n_species}
    for index in range(spec.n_layers):
        last = index == spec.n_layers - 1
        hidden = {0: spec.hidden[0]} if last else spec.hidden
        layers.append(_plan_layer(features, hidden, spec.lmax))
        features = dict(layers[-1].outputs)
    return tuple(layers)
