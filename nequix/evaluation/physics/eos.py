"""Equations of state of crystals of one element, against DFT.

Delta as in Lejaeghere et al., Science 351, aad3000 (2016); epsilon and nu as in Bosoni et al., Nat. Rev.
Phys. 6, 45 (2024), the source of these structures and this protocol.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.build import bulk

from nequix.core.errors import DataError
from nequix.evaluation.physics.verdicts import Limit
from nequix.graphs.batches import evaluate_atoms

if TYPE_CHECKING:
    from jaxtyping import Float

    from nequix.potential import Potential

RANGE = np.linspace(0.94, 1.06, 7)
"""Volumes of a fit, in units of the central one."""

WIDEST = (0.5, 2.0)
"""In units of the reference volume, where a minimum is looked for."""

ATTEMPTS = 12
"""Fits that follow the minimum, before there is none."""

GPA = 160.21766208
"""1 eV/A^3 in GPa."""

WEIGHTS = (1.0, 1 / 20, 1 / 400)
"""Of V0, B0 and B1 in nu."""

LATTICES = {"BCC": "bcc", "FCC": "fcc", "SC": "sc", "Diamond": "diamond"}

LIMITS = {
    "V0 error": Limit("%", 3.0, 10.0, "3 % in volume is 1 % in length"),
    "B0 error": Limit("%", 15.0, 40.0, "a curvature; three to four times as sensitive as the volume"),
    "Delta": Limit("meV/atom", 10.0, 50.0, "DFT codes of one functional agree to about 1 meV/atom"),
}
"""Medians over the crystals."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(40)


@dataclass(frozen=True)
class Eos:
    """A Birch-Murnaghan equation of state of third order.

    Attributes:
        V0: A^3.
        B0: GPa.
        B1: Derivative of B0 by the pressure.
    """

    V0: float
    B0: float
    B1: float

    def energy(self, volume: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Evaluate the energy above the minimum, eV.

        Args:
            volume: A^3.
        """
        x = (self.V0 / np.asarray(volume)) ** (2 / 3)
        cubic = (x - 1) ** 3 * self.B1 + (x - 1) ** 2 * (6 - 4 * x)
        return 9 / 16 * self.V0 * self.B0 / GPA * cubic


def fit(volume: Float[np.ndarray, " n"], energy: Float[np.ndarray, " n"]) -> tuple[Eos | None, float]:
    """Fit an equation of state: a cubic polynomial in ``V^(-2/3)``.

    Args:
        volume: A^3, four at least.
        energy: eV.

    Returns:
        The equation, None if there is no minimum, and the root mean square of what is left, eV.
    """
    x = volume ** (-2 / 3)
    middle, width = x.mean(), np.ptp(x) / 2
    cubic = np.polynomial.Polynomial.fit(x, energy, 3, domain=[middle - width, middle + width])
    left = float(np.sqrt(np.mean((cubic(x) - energy) ** 2)))
    slopes, curvature, third = cubic.deriv(), cubic.deriv(2), cubic.deriv(3)
    roots = [root.real for root in slopes.roots() if abs(root.imag) < 1e-12 and curvature(root.real) > 0]
    if not roots or min(roots, key=lambda root: abs(root - middle)) <= 0:
        return None, left
    root = min(roots, key=lambda root: abs(root - middle))
    V0 = root ** (-3 / 2)
    second = 4 / 9 * root**5 * curvature(root)  # d2E/dV2 at the minimum, where dE/dx vanishes
    # B1 = -1 - V0 E'''/E'' by V; with x = V^(-2/3) this is what remains.
    B1 = 4 + 2 / 3 * root * third(root) / curvature(root)
    return Eos(float(V0), float(GPA * V0 * second), float(B1)), left


def follow(
    energies: Callable[[Float[np.ndarray, " n"]], Float[np.ndarray, " n"]], reference: float
) -> tuple[Eos | None, float, int]:
    """Fit around the reference volume; refit around the minimum while it lies outside.

    Args:
        energies: Returns the energy, eV, of every volume, A^3.
        reference: The volume to begin with, A^3.

    Returns:
        The equation, None if there is no minimum within :data:`WIDEST`, the fit's rest (eV), and how often
        the centre was moved.
    """
    center, left, moved = reference, np.inf, 0
    for moved in range(ATTEMPTS):
        volumes = center * RANGE
        values = energies(volumes)
        found, left = fit(volumes, values)
        if found is not None and volumes[0] <= found.V0 <= volumes[-1]:
            return found, left, moved
        center = float(volumes[0] if values[0] < values[-1] else volumes[-1])
        if not WIDEST[0] <= center / reference <= WIDEST[1]:
            break
    return None, left, moved


def delta(a: Eos, b: Eos) -> float:
    """Root of the mean squared difference of two equations over 6 % about their mean V0, eV.

    Args:
        a: The first.
        b: The second.
    """
    mean = _averages(a, b)
    return float(np.sqrt(mean(lambda v: (a.energy(v) - b.energy(v)) ** 2)))


def epsilon(a: Eos, b: Eos) -> float:
    """Return the difference of two equations, relative to their own variation.

    Args:
        a: The first.
        b: The second.
    """
    mean = _averages(a, b)
    variances = [mean(lambda v, e=e: (e.energy(v) - mean(e.energy)) ** 2) for e in (a, b)]
    return float(np.sqrt(mean(lambda v: (a.energy(v) - b.energy(v)) ** 2) / np.sqrt(np.prod(variances))))


def nu(a: Eos, b: Eos) -> float:
    """Return the weighted relative difference of V0, B0 and B1, in percent.

    Args:
        a: The first.
        b: The second.
    """
    pairs = zip(WEIGHTS, (a.V0, a.B0, a.B1), (b.V0, b.B0, b.B1), strict=True)
    return 100 * float(np.sqrt(sum((w * 2 * (x - y) / (x + y)) ** 2 for w, x, y in pairs)))


def _averages(a: Eos, b: Eos) -> Callable[[Callable[[np.ndarray], np.ndarray]], float]:
    """Return the mean over the volumes that two equations are compared at."""
    center = (a.V0 + b.V0) / 2
    volumes = center * (1 + 0.06 * _NODES)  # the range in which both are compared: 94 to 106 %
    return lambda function: float(_WEIGHTS @ function(volumes)) / 2


def build(system: str, volume: float) -> Atoms:
    """Build a crystal by its name in the reference.

    Args:
        system: Such as ``Al-X/FCC``.
        volume: Of the primitive cell, A^3.

    Raises:
        DataError: For another name.
    """
    symbol, _, lattice = system.partition("-X/")
    if lattice not in LATTICES:
        raise DataError(f"{system}: expected ELEMENT-X/LATTICE with one of {', '.join(LATTICES)}")
    atoms = bulk(symbol, LATTICES[lattice], a=3.0)
    return scaled(atoms, volume)


def scaled(atoms: Atoms, volume: float) -> Atoms:
    """Return a structure scaled to a volume.

    Args:
        atoms: The structure.
        volume: A^3.
    """
    changed = atoms.copy()
    changed.set_cell(atoms.cell.array * (volume / atoms.get_volume()) ** (1 / 3), scale_atoms=True)
    return changed


def measure(potential: Potential, system: str, n_atoms: int, reference: Eos) -> dict[str, Any]:
    """Compare the model's equation of state with a reference.

    Args:
        potential: The model.
        system: As for :func:`build`.
        n_atoms: Atoms that the reference's volume holds.
        reference: The reference.

    Returns:
        ``V0`` (A^3), ``B0`` (GPa), ``B1``, ``rest`` (meV/atom), ``moved``; and ``delta`` (meV/atom),
        ``epsilon`` and ``nu``. All None but ``moved`` if the model has no minimum.
    """
    atoms = build(system, reference.V0)
    if len(atoms) != n_atoms:
        raise DataError(f"{system}: the reference has {n_atoms} atoms a cell, expected {len(atoms)}")

    def energies(volumes: np.ndarray) -> np.ndarray:
        frames = [scaled(atoms, volume) for volume in volumes.tolist()]
        return np.array([results.energy[0] for results in evaluate_atoms(potential, frames)])

    found, left, moved = follow(energies, reference.V0)
    expected = {"V0": reference.V0, "B0": reference.B0, "B1": reference.B1}
    held: dict[str, Any] = {"n_atoms": n_atoms, "reference": expected, "moved": moved}
    if found is None:
        names = ("V0", "B0", "B1", "rest", "delta", "epsilon", "nu")
        return {**held, **dict.fromkeys(names)}
    return {
        **held,
        "V0": found.V0,
        "B0": found.B0,
        "B1": found.B1,
        "rest": 1e3 * left / n_atoms,
        "delta": 1e3 * delta(found, reference) / n_atoms,
        "epsilon": epsilon(found, reference),
        "nu": nu(found, reference),
    }
