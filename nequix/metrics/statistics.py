"""Statistics of errors: of any numbers, whatever they are the errors of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float


def mean_absolute(errors: Float[np.ndarray, "..."]) -> float | None:
    """Return the mean absolute error; None of nothing.

    Args:
        errors: Prediction minus label.
    """
    return float(np.abs(errors).mean()) if errors.size else None


def root_mean_square(errors: Float[np.ndarray, "..."]) -> float | None:
    """Return the root of the mean square error; None of nothing.

    Args:
        errors: Prediction minus label.
    """
    return float(np.sqrt((errors**2).mean())) if errors.size else None


def statistics(errors: Float[np.ndarray, "..."]) -> dict[str, float | int | None]:
    """Summarise errors, NaN left out.

    Args:
        errors: Prediction minus label.

    Returns:
        ``n``, ``mae``, ``median`` (of the absolute errors), ``rmse``, ``mean`` (the bias) and ``max_abs``, in
        the errors' unit; None of nothing.
    """
    known = errors[np.isfinite(errors)]
    if not known.size:
        return {"n": 0, "mae": None, "median": None, "rmse": None, "mean": None, "max_abs": None}
    sizes = np.abs(known)
    return {
        "n": int(known.size),
        "mae": mean_absolute(known),
        "median": float(np.median(sizes)),
        "rmse": root_mean_square(known),
        "mean": float(known.mean()),
        "max_abs": float(sizes.max()),
    }


def slope(labels: Float[np.ndarray, "..."], predicted: Float[np.ndarray, "..."]) -> float | None:
    """Fit ``predicted = slope * label`` by least squares; forces of a softened potential have one below 1.

    Softening as in Deng et al., npj Comput. Mater. 11, 9 (2025).

    Args:
        labels: NaN where missing.
        predicted: Of the same shape.

    Returns:
        The slope; None if all labels are zero or missing.
    """
    known = np.isfinite(labels) & np.isfinite(predicted)
    x, y = labels[known], predicted[known]
    return float(x @ y / (x @ x)) if (x @ x) > 0 else None
