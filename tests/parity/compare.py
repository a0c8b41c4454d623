"""Judges of outcomes: whether they agree, and if not, in which layer they part."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nequix.core.spec import ModelSpec
from tests.parity.outcomes import Outcome
from tests.tolerances import PARITY_FLOAT32, PARITY_FLOAT32_DERIVATIVES, PARITY_FLOAT64

TOLERANCES = {
    "float64": dict.fromkeys(("values", "derivatives"), PARITY_FLOAT64),
    "float32": {"values": PARITY_FLOAT32, "derivatives": PARITY_FLOAT32_DERIVATIVES},
}
SMALLEST = 1e-30
"""Features below this are nothing: a model without norm can fade to what float32 does not hold."""

_SECOND = ("product", "gradients")


def _sizes(outcome: Outcome, spec: ModelSpec) -> dict[str, float]:
    """Size of the terms that each quantity is a sum of.

    Forces that cancel by symmetry are sums of terms of about the readout's size per A; the readout itself
    may cancel, but not the features that it sums.
    """
    features = max(np.abs(block).max() for block in outcome.stages[-1][1].values())
    learned = abs(spec.scale) * max(SMALLEST, features)

    def largest(values):
        return np.abs(values[np.isfinite(values)]).max(initial=0.0)

    sizes = {name: learned + largest(getattr(outcome, name)) for name in ("energies", "forces", "product")}
    sizes["energy"] = len(outcome.energies) * sizes["energies"]
    sizes["stress"] = learned + largest(outcome.stress)
    sizes["gradients"] = learned + max(np.abs(values).max() for values in outcome.gradients.values())
    return sizes


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference; infinite for other shapes or other entries that are not a number."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return np.inf
    return np.abs(a - b)[np.isfinite(a)].max(initial=0.0)


def assert_agree(outcome: Outcome, trusted: Outcome, spec: ModelSpec, dtype: str, whose: str) -> None:
    """Raise unless two outcomes agree in every quantity.

    Raises:
        AssertionError: Naming each quantity that differs, and the first layer that does.
    """
    sizes, wrong = _sizes(trusted, spec), []
    for name in ("energy", "energies", "forces", "stress", "product"):
        error = _distance(getattr(outcome, name), getattr(trusted, name)) / sizes[name]
        wrong += _judge(name, error, dtype)
    if set(outcome.gradients) != set(trusted.gradients):
        wrong.append(f"gradients of {sorted(set(outcome.gradients) ^ set(trusted.gradients))}")
    for name in sorted(set(outcome.gradients) & set(trusted.gradients)):
        error = _distance(outcome.gradients[name], trusted.gradients[name]) / sizes["gradients"]
        wrong += [
            f"gradient of {name}{text[len('gradients') :]}" for text in _judge("gradients", error, dtype)
        ]
    where = first_difference(outcome, trusted, TOLERANCES[dtype]["values"])
    if wrong or where:
        raise AssertionError(
            f"{whose} differ in {dtype}; the first to differ: {where or 'what follows the last layer'}; "
            f"relative differences: {'; '.join(wrong) or 'none in the outputs'}"
        )


def _judge(name: str, error: float, dtype: str) -> list[str]:
    allowed = TOLERANCES[dtype]["derivatives" if name in _SECOND else "values"]
    return [] if error <= allowed else [f"{name} {error:.1e} > {allowed:.0e}"]


def first_difference(outcome: Outcome, trusted: Outcome, allowed: float) -> str | None:
    """Name the first stage whose parts differ: the edges' features, or those after a layer.

    Args:
        outcome: Of the implementation in doubt.
        trusted: Of the other one.
        allowed: Largest difference, relative to the largest number of the stage.

    Returns:
        Such as ``layer 1 (l = 2: 3.1e-02)``, or None if all stages agree.
    """
    for (stage, parts), (_, expected) in zip(outcome.stages, trusted.stages, strict=True):
        if set(parts) != set(expected):
            return f"{stage} (has {sorted(parts)}, expected {sorted(expected)})"
        size = max(SMALLEST, *(np.abs(block).max(initial=0.0) for block in expected.values()))
        errors: Mapping[str, float] = {
            part: _distance(parts[part], expected[part]) / size for part in sorted(parts)
        }
        wrong = [f"{part}: {error:.1e}" for part, error in errors.items() if not error <= allowed]
        if wrong:
            return f"{stage} ({', '.join(wrong)})"
    return None
