"""Learning curves: a power law with a floor, its uncertainty, and its limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import least_squares

from nequix.core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float

LEAST_SIZES = 4
"""Number of different sizes that the three parameters need."""

FURTHEST = 4.0
"""Largest extrapolation, as a multiple of the largest number of structures."""

STEEPEST = 2.0
"""Largest exponent; that of force errors is usually below one."""

INTERVAL = (5.0, 95.0)
"""Percentiles that bound intervals."""

_RESAMPLED = 300


@dataclass(frozen=True, eq=False)
class PowerLaw:
    """``MAE(N) = A N^-alpha + B``, fitted to the logarithms of errors.

    Attributes:
        parameters: ``A``, ``alpha``, ``B``; the unit of ``A`` and ``B`` is that of the errors.
        resampled: The same of fits to resampled residuals, for intervals.
        smallest: Smallest number of structures in the fit.
        largest: Largest number of structures in the fit.
    """

    parameters: Float[np.ndarray, " 3"]
    resampled: Float[np.ndarray, "n 3"]
    smallest: int
    largest: int

    def __call__(self, n: float | np.ndarray) -> np.ndarray:
        """Return the expected error for a number of structures.

        Args:
            n: The number.
        """
        return _law(self.parameters, np.asarray(n, float))

    def interval(self, n: float | np.ndarray) -> Float[np.ndarray, "2 ..."]:
        """Return the interval of the expected error, without the scatter of single runs.

        Args:
            n: The number of structures.
        """
        values = [_law(parameters, np.asarray(n, float)) for parameters in self.resampled]
        return np.percentile(values, INTERVAL, axis=0)


@dataclass(frozen=True)
class Answer:
    """Number of structures that an error needs, or why it is unknown.

    Attributes:
        target: The error.
        n: The number, never below the smallest size that was run; None if unknown.
        interval: Lower and upper bound; the latter is infinite if the fit sets no bound.
        reason: Why it is unknown, or a remark about the answer.
    """

    target: float
    n: float | None
    interval: tuple[float, float] | None
    reason: str


def fit(sizes: Sequence[int], errors: Sequence[float], seed: int = 0) -> PowerLaw:
    """Fit a power law with a floor.

    Args:
        sizes: Number of structures of each run.
        errors: Error of each run.
        seed: Random seed of the resampling.

    Raises:
        DataError: If there are too few different sizes, or an error is not positive.
    """
    n, e = np.asarray(sizes, float), np.asarray(errors, float)
    if len(np.unique(n)) < LEAST_SIZES:
        raise DataError(
            f"{len(np.unique(n))} different numbers of structures, expected at least {LEAST_SIZES}: a power "
            "law with a floor has three parameters"
        )
    if not (np.isfinite(e).all() and (e > 0).all()):
        raise DataError("errors must be positive numbers; look at the runs")
    best = _fit(n, np.log(e))
    residuals = np.log(e) - np.log(_law(best, n))
    # Correct the residuals for the three fitted parameters.
    residuals *= np.sqrt(len(n) / max(len(n) - 3, 1))
    rng = np.random.default_rng(seed)
    drawn = rng.choice(residuals, (_RESAMPLED, len(n)))
    resampled = [_fit(n, np.log(_law(best, n)) + noise, best) for noise in drawn]
    return PowerLaw(best, np.array(resampled), int(n.min()), int(n.max()))


def answer(law: PowerLaw, target: float) -> Answer:
    """Estimate how many structures an error needs, if the fit supports it.

    Args:
        law: The fit.
        target: The error to reach.
    """
    # First: an error that the runs surely reached needs no slope and no known floor.
    reached = law.interval(law.largest)[1] <= target
    reason = None if reached else _why_unknown(law, target)
    if reason is not None:
        return Answer(target, None, None, reason)
    n = max(_size(law.parameters, target), law.smallest)
    sizes = np.maximum([_size(parameters, target) for parameters in law.resampled], law.smallest)
    low, high = np.percentile(sizes, INTERVAL, method="higher").tolist()  # of infinite ones, too
    furthest = FURTHEST * law.largest
    if max(n, high) > furthest:
        end = f"ends at {max(n, high):.0f}" if np.isfinite(high) else "has no end"
        reason = (
            f"at least {low:.0f} structures; the fit cannot say how many, as its interval {end}: more than "
            f"{FURTHEST:g} times the {law.largest} there are is too far to extrapolate; label up to "
            f"{furthest:.0f}, then fit again"
        )
        return Answer(target, None, (low, high), reason)
    if n == law.smallest:
        where = f"reached with {law.smallest}, the smallest size"
    elif n <= law.largest:
        where = "reached already" if reached else f"reached with the {law.largest} there are, but not surely"
    else:
        where = f"{n - law.largest:.0f} more than there are"
    return Answer(target, n, (low, high), where)


def _why_unknown(law: PowerLaw, target: float) -> str | None:
    """Explain why more structures may never reach an error."""
    gain = [_law(p, np.array([law.smallest, law.largest])) for p in law.resampled]
    if np.percentile([first - last for first, last in gain], INTERVAL[0]) <= 0.05 * law(law.smallest):
        return (
            f"the curve is flat between {law.smallest} and {law.largest} structures, within its uncertainty: "
            "there is no evidence that more would help; check labels, mode and length of the runs"
        )
    low, high = np.percentile(law.resampled[:, 2], INTERVAL)
    if target <= high:
        return (
            f"the error that remains with any number of structures may be {low:.3g} to {high:.3g}: "
            f"{target:g} may be below it; another mode (full), longer runs or a larger model may lower it"
        )
    return None


def _law(parameters: np.ndarray, n: np.ndarray) -> np.ndarray:
    a, alpha, b = parameters
    return a * n**-alpha + b


def _size(parameters: np.ndarray, target: float) -> float:
    a, alpha, b = parameters
    with np.errstate(over="ignore"):  # the exponent may be 100
        return float((a / (target - b)) ** (1 / alpha)) if target > b else np.inf


def _fit(n: np.ndarray, logarithms: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
    """Minimise the squared differences of logarithms, with sizes relative to the smallest."""
    smallest, lowest = n.min(), float(np.exp(logarithms.min()))

    def residuals(x: np.ndarray) -> np.ndarray:
        return np.log(np.exp(x[0]) * (n / smallest) ** -x[1] + x[2]) - logarithms

    found = []
    bounds = ([-np.inf, 0.01, 0.0], [np.inf, STEEPEST, np.inf])
    for share in (0.1, 0.7) if start is None else (None,):
        if share is None and start is not None:
            guess = [np.log(start[0] * smallest ** -start[1]), start[1], start[2]]
        else:
            guess = [float(logarithms[n == smallest].mean()), 0.5, (share or 0) * lowest]
        guess = np.clip(guess, np.array(bounds[0]) + 1e-9, np.array(bounds[1]) - 1e-9)
        found.append(least_squares(residuals, guess, bounds=bounds, x_scale=[1.0, 0.5, lowest]))
    x = min(found, key=lambda result: result.cost).x
    return np.array([np.exp(x[0]) * smallest ** x[1], x[1], x[2]])
