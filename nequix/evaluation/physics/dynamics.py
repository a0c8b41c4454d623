"""Whether dynamics conserve the energy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet

from nequix.evaluation.physics import structures
from nequix.evaluation.physics.verdicts import Limit

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator
    from jaxtyping import Float

    from nequix.core.spec import ModelSpec

PICOSECONDS = 1.0
"""Length of a run."""

LIMITS = {
    "drift": Limit(
        "meV/atom/ps", 0.25, 2.5, "0.25 meV/atom is 1 K of a solid; ten of them spoil a run of 100 ps"
    ),
    "fluctuation": Limit("meV/atom", 1.0, 10.0, "velocity Verlet's own, of the size of the step squared"),
    "order": Limit(
        "",
        1.0,
        2.5,
        "distance from 4 of the ratio of fluctuations at the full and half the time step: Verlet's error is "
        "of second order, unless forces are not the energy's derivative or jump",
    ),
}


def system(name: str, spec: ModelSpec) -> tuple[Atoms, float, float]:
    """Build a system for dynamics.

    Args:
        name: ``crystal``, ``second-crystal`` or ``molecule``.
        spec: The model's specification.

    Returns:
        The structure, the initial temperature, K, of all energy, and the time step, fs.
    """
    if name == "molecule":
        return structures.molecule_of(spec), 600.0, 0.5
    atoms = structures.crystal(spec, 0 if name == "crystal" else 2)
    return atoms.repeat((2, 2, 2)), 1200.0, 1.0


SYSTEMS = ("crystal", "second-crystal", "molecule")


def conserve(
    name: str, calculator: Calculator, spec: ModelSpec, picoseconds: float = PICOSECONDS
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Run at constant energy with a time step, and with half of it.

    Args:
        name: One of :data:`SYSTEMS`.
        calculator: Of ASE.
        spec: The model's specification.
        picoseconds: Length of the run with the full time step; the other one is a quarter of it.

    Returns:
        The numbers that :data:`LIMITS` judges, and the curves ``time`` (ps) and ``energy`` (eV/atom).
    """
    atoms, temperature, step = system(name, spec)
    time, energy = run(atoms, calculator, temperature, step, round(1000 * picoseconds / step))
    n = len(time) // 4
    _, halved = run(atoms, calculator, temperature, step / 2, 2 * n)
    drift, fluctuation = summarise(time, energy)
    coarse, fine = summarise(time[: n + 1], energy[: n + 1])[1], summarise(time[: n + 1], halved[::2])[1]
    values = {
        "drift": 1e3 * drift,
        "fluctuation": 1e3 * fluctuation,
        "order": coarse / fine - 4 if fine > 0 else float("inf"),
    }
    return values, {"time": time, "energy": energy}


def run(
    atoms: Atoms, calculator: Calculator, temperature: float, step: float, n_steps: int
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Run at constant energy, from the same velocities every time.

    Args:
        atoms: The structure, which is copied.
        calculator: Of ASE.
        temperature: Initial, K; half of it goes into the potential.
        step: Time step, fs.
        n_steps: How many.

    Returns:
        Time, ps, and energy, eV/atom, of every step and the beginning.
    """
    moving = atoms.copy()
    moving.calc = calculator
    moving.set_momenta(_momenta(moving, temperature))
    energies: list[float] = []
    dynamics = VelocityVerlet(moving, timestep=step * units.fs)
    dynamics.attach(lambda: energies.append(moving.get_total_energy() / len(moving)))
    dynamics.run(n_steps)
    return step / 1000 * np.arange(len(energies)), np.array(energies)


def _momenta(atoms: Atoms, temperature: float) -> Float[np.ndarray, "n 3"]:
    """Draw momenta of a temperature whose sum is zero; ASE's functions for it have changed their names."""
    masses = atoms.get_masses()[:, None]
    normal = np.random.default_rng(structures.SEED).normal(size=(len(atoms), 3))
    momenta = normal * np.sqrt(masses * units.kB * temperature)
    return momenta - masses * momenta.sum(axis=0) / masses.sum()


def summarise(time: Float[np.ndarray, " n"], energy: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Fit a straight line to the energy.

    Args:
        time: Any unit.
        energy: Any unit.

    Returns:
        Its slope, and the standard deviation of what is left.
    """
    slope, offset = np.polyfit(time, energy, 1)
    return float(slope), float((energy - slope * time - offset).std())
