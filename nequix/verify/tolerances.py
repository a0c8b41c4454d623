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
        tabulated: For float64 layers with tabulated radial functions, as native has them, where other.
    """

    unit: str
    float64: float
    float32: float | None
    reason: str
    tabulated: float | None = None


LARGE = 5.0
"""Larger values have relative errors: an error is divided by ``max(1, largest value / 5)`` of
its structure, since rounding is relative."""

_OTHER_ORDER = "the same sums in another order: rounding is 1e-16 an operation, 6e-8 in float32"
_WORST = "worst of two engines, a published and a random model:"
_ROTATED = (
    "as forces, with coordinates near 10 A that round again when they are rotated; "
    f"{_WORST} 5e-14, in float32 2e-6: margins of 200 and 20"
)
_STEP = (
    "central differences of fourth order, step 3e-4 A (truncation grows with the fifth derivative); "
    "made of the plain kernel in float64, where they tell most"
)

_WORST_STEP = "worst of a published, the bundled and a random model in PyTorch:"

_TABULATED = {"energies": 1e-9, "forces": 1e-8, "stress": 1e-9}
"""What the native kernel promises; its tables are off by 1e-11 of the radial weights, and slopes count in
forces. The worst was 3e-13, 2e-10 and 6e-12."""

TOLERANCES = {
    "energies": Tolerance(
        "eV/atom",
        1e-12,
        1e-5,
        f"{_OTHER_ORDER}; {_WORST} 6e-15, in float32 2e-6 and for the random model, with atom energies that "
        "are sums of larger terms, 3e-6: margins of 150 and 3",
        _TABULATED["energies"],
    ),
    "forces": Tolerance(
        "eV/A",
        1e-11,
        5e-5,
        f"{_OTHER_ORDER}, amplified by steep radial functions; {_WORST} 8e-15, in float32 5e-6: margins of "
        "1000 and 10",
        _TABULATED["forces"],
    ),
    "stress": Tolerance(
        "eV/A^3",
        1e-12,
        1e-6,
        f"as forces, over the volume; {_WORST} 1e-15, in float32 4e-7: margins of 900 and 2.5",
        _TABULATED["stress"],
    ),
    "Hessian": Tolerance(
        "eV/A^2",
        1e-10,
        1e-4,
        f"as forces, and second derivatives are steeper; {_WORST} 2e-14, in float32 5e-6: margins of 5000 "
        "and 20",
    ),
    "equations": Tolerance(
        "eV/atom",
        1e-12,
        1e-5,
        f"energies, by NumPy; as between engines; {_WORST} 9e-15, in float32 3e-6: margins of 100 and 3",
        _TABULATED["energies"],
    ),
    "rotation": Tolerance("eV, A", 1e-11, 5e-5, _ROTATED, _TABULATED["forces"]),
    "reflection": Tolerance("eV, A", 1e-11, 5e-5, _ROTATED, _TABULATED["forces"]),
    "FD forces": Tolerance("eV/A", 1e-6, None, f"{_STEP}; {_WORST_STEP} 5e-9: a margin of 200"),
    "FD stress": Tolerance("eV/A^3", 1e-7, None, f"{_STEP}; {_WORST_STEP} 1e-12: a margin of 1e5"),
    "FD Hessian": Tolerance(
        "eV/A^2",
        1e-5,
        None,
        f"{_STEP}; of forces, which have larger derivatives; {_WORST_STEP} 2e-7: a margin of 50",
    ),
}
"""By the name of the check (FD: finite differences); ``nequix verify`` prints them beside the errors."""


def allowed(name: str, precision: str) -> float:
    """Return how large the error of a check may be.

    Args:
        name: A key of :data:`TOLERANCES`.
        precision: Of the layers that are checked: ``float64``, ``float32`` or ``tabulated``.
    """
    tolerance = getattr(TOLERANCES[name], precision)
    if precision == "tabulated" and tolerance is None:
        tolerance = TOLERANCES[name].float64
    return float("nan") if tolerance is None else tolerance  # to which no error compares as smaller
