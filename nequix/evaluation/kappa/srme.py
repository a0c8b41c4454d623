"""Errors of thermal conductivities as Matbench-Discovery has them (arXiv:2408.00755): SRE, SRME by modes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

WORST = 2.0
"""What a material counts that gave no conductivity: imaginary modes, broken symmetry, failures."""


def symmetric_relative_error(kappa: float | None, reference: float) -> float:
    """Return ``2 |k - k_ref| / (k + k_ref)``; :data:`WORST` where there is no ``k``.

    Args:
        kappa: Conductivity, or None.
        reference: Its reference, in the same unit.
    """
    if kappa is None or np.isnan(kappa):
        return WORST
    return float(2 * abs(kappa - reference) / (kappa + reference))


def symmetric_relative_mean_error(
    modes: Float[np.ndarray, "n_q n_bands"],
    reference_modes: Float[np.ndarray, "n_q n_bands"],
    n_points: float,
    kappa: float,
    reference: float,
) -> float:
    """Return ``2 sum_m |k_m - k_m,ref| / (N (k + k_ref))``: errors of modes do not cancel.

    Args:
        modes: Conductivity of each mode, averaged over directions, q-points weighted.
        reference_modes: The same of the reference, in the same order.
        n_points: Points of the mesh ``N``, the sum of the weights of its q-points.
        kappa: Total conductivity, which is the sum of ``modes`` over ``N``.
        reference: The same of the reference.

    Raises:
        ValueError: If the modes are not those of the reference's mesh.
    """
    if modes.shape != reference_modes.shape:
        raise ValueError(
            f"modes on {modes.shape} q-points and bands, but {reference_modes.shape} in the reference; "
            "use the reference's mesh and primitive cell"
        )
    return float(2 * np.abs(modes - reference_modes).sum() / n_points / (kappa + reference))
