"""Every tolerance of ``nequix verify``, each with its reason."""

from __future__ import annotations

from typing import NamedTuple


class Tolerance(NamedTuple):
    """How large an error may be.

    Attributes:
        unit: Unit of the error.
        float64: For float64 layers.
        float32: For float32 layers; None where the check is only made in float64.
        reason: Why these.
    """

    unit: str
    float64: float
    float32: float | None
    reason: str


LARGE = 5.0
"""Values above so many units have relative errors: an error is divided by ``max(1, largest value / 5)`` of
its structure, since rounding is relative."""

_OTHER_ORDER = (
    "the same sums in another order: 1e-16 an operation (6e-8 in float32), a thousand in a row, amplified "
    "by steep functions of the distance; a wrong formula is far above"
)
_ROTATED = "as between engines, with coordinates that round anew when they are rotated"
_STEP = (
    "central differences of fourth order, step 1e-3 A: truncation and rounding are each near 1e-11; "
    "made of the plain kernel in float64, where they tell most"
)

TOLERANCES = {
    "energies": Tolerance("eV/atom", 1e-10, 2e-5, _OTHER_ORDER),
    "forces": Tolerance("eV/A", 1e-9, 5e-5, _OTHER_ORDER),
    "stress": Tolerance("eV/A^3", 1e-10, 5e-6, _OTHER_ORDER),
    "Hessian": Tolerance("eV/A^2", 1e-8, 5e-4, f"{_OTHER_ORDER}; second derivatives are steeper"),
    "equations": Tolerance("eV/atom", 1e-10, 2e-5, "energies, by NumPy; as between engines"),
    "rotation": Tolerance("eV, A", 1e-9, 5e-5, _ROTATED),
    "reflection": Tolerance("eV, A", 1e-9, 5e-5, _ROTATED),
    "FD forces": Tolerance("eV/A", 1e-6, None, _STEP),
    "FD stress": Tolerance("eV/A^3", 1e-7, None, _STEP),
    "FD Hessian": Tolerance("eV/A^2", 1e-5, None, f"{_STEP}; of forces, whose errors are larger"),
}
"""By the name of the check (FD: finite differences); ``nequix verify`` prints them beside the errors."""


def allowed(name: str, dtype: str) -> float:
    """Return how large the error of a check may be.

    Args:
        name: A key of :data:`TOLERANCES`.
        dtype: Precision of the layers that are checked.
    """
    tolerance = getattr(TOLERANCES[name], dtype)
    return float("nan") if tolerance is None else tolerance  # to which no error compares as smaller
