"""Elastic constants from stresses of strained, relaxed cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE
from ase.stress import full_3x3_to_voigt_6_stress

from nequix.cell_relaxation import cell_relaxation
from nequix.evaluation.physics.verdicts import Limit

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator
    from jaxtyping import Float

STRAINS = (-0.005, 0.005)
"""Of each of the six directions: the slope between them is free of the quadratic term."""

FMAX = 0.005
"""eV/A: convergence of all relaxations."""

STEPS = 500
"""Of a relaxation at most."""

GPA = 160.21766208
"""1 eV/A^3 in GPa."""

_SOFTENING = Limit(
    "%", 10.0, 25.0, "1 less the median ratio; potentials trained near equilibrium are too soft"
)

LIMITS = {
    "bulk modulus error": Limit(
        "%", 10.0, 30.0, "median; a tenth is what two careful calculations differ by"
    ),
    "shear modulus error": Limit("%", 15.0, 40.0, "median; shear moduli are the harder ones, for DFT, too"),
    "bulk softening": _SOFTENING,
    "shear softening": _SOFTENING,
}


@dataclass(frozen=True, eq=False)
class Elasticity:
    """Elastic constants of a crystal.

    Attributes:
        constants: Symmetric, GPa, in Voigt's order xx yy zz yz xz xy, of engineering strains.
        converged: Whether all relaxations did.
    """

    constants: Float[np.ndarray, "6 6"]
    converged: bool

    @property
    def stable(self) -> bool:
        """Whether all strains cost energy (Born)."""
        return bool(np.linalg.eigvalsh(self.constants).min() > 0)

    def moduli(self) -> tuple[float, float]:
        """Average bulk and shear modulus, GPa (Hill)."""
        C, S = self.constants, np.linalg.inv(self.constants)
        voigt = (C[:3, :3].sum() / 9, _shear(C) / 15)
        K_reuss = 1 / S[:3, :3].sum()
        G_reuss = 15 / (4 * np.trace(S[:3, :3]) - 4 * _off(S) + 3 * np.trace(S[3:, 3:]))
        return float((voigt[0] + K_reuss) / 2), float((voigt[1] + G_reuss) / 2)


def _off(matrix: Float[np.ndarray, "6 6"]) -> float:
    return float(matrix[0, 1] + matrix[0, 2] + matrix[1, 2])


def _shear(C: Float[np.ndarray, "6 6"]) -> float:
    return float(np.trace(C[:3, :3]) - _off(C) + 3 * np.trace(C[3:, 3:]))


def elasticity(atoms: Atoms, calculator: Calculator, relax_cell: bool = True) -> Elasticity:
    """Compute elastic constants of a crystal: relaxed, strained six ways, the atoms relaxed in each.

    Args:
        atoms: The crystal, which is copied.
        calculator: Of ASE, with a stress.
        relax_cell: Whether the cell is relaxed first.
    """
    start = atoms.copy()
    start.calc = calculator
    converged = _relax(FrechetCellFilter(start)) if relax_cell else True
    columns = []
    for direction in range(6):
        stresses = []
        for size in STRAINS:
            stress, relaxed = _strained_stress(start, calculator, direction, size)
            stresses.append(stress)
            converged = converged and relaxed
        columns.append(GPA * (stresses[1] - stresses[0]) / (STRAINS[1] - STRAINS[0]))
    constants = np.array(columns)
    return Elasticity((constants + constants.T) / 2, converged)


def _strained_stress(
    start: Atoms, calculator: Calculator, direction: int, size: float
) -> tuple[Float[np.ndarray, " 6"], bool]:
    i, j = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))[direction]
    strain = np.eye(3)
    strain[i, j] += size / 2
    strain[j, i] += size / 2
    strained = start.copy()
    strained.set_cell(start.cell.array @ strain, scale_atoms=True)
    strained.calc = calculator
    relaxed = _relax(strained)
    return full_3x3_to_voigt_6_stress(strained.get_stress(voigt=False)), relaxed


def _relax(subject: Any) -> bool:
    with cell_relaxation():
        return bool(FIRE(subject, logfile=None).run(FMAX, STEPS))  # pyright: ignore[reportArgumentType]
