"""What no force field may create: momentum, angular momentum, energy."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.md.verlet import VelocityVerlet

from nequix.calculator import NequixCalculator
from nequix.io.catalogue import ENTRIES, load_published
from tests.equivariance.models import ENGINES, PERIODICITIES, SPECS, potential, structure
from tests.systems import random_weights
from tests.tolerances import NVE_DRIFT, NVE_SWING, TORQUE, TOTAL_FORCE


@pytest.mark.parametrize("kind", PERIODICITIES)
@pytest.mark.parametrize("model", SPECS)
@pytest.mark.parametrize("engine", ENGINES)
def test_forces_add_up_to_zero(engine, model, kind):
    forces = structure(model, kind).evaluate(potential(engine, model)).forces
    assert np.abs(forces.sum(0)).max() <= TOTAL_FORCE * np.abs(forces).max()


@pytest.mark.parametrize("model", SPECS)
@pytest.mark.parametrize("engine", ENGINES)
def test_torques_on_a_molecule_add_up_to_zero(engine, model):
    at = structure(model, "molecule")
    forces = at.evaluate(potential(engine, model)).forces
    torque = np.cross(at.positions - at.positions.mean(0), forces).sum(0)
    assert np.abs(torque).max() <= TORQUE * np.abs(forces).max()


def energy_along(atoms, calculator, n_steps=500, femtoseconds=1.0, temperature=300):
    """Run Newton's equations: total energy at every step, eV per atom."""
    atoms.calc = calculator
    spread = np.sqrt(units.kB * temperature * atoms.get_masses())[:, None]
    atoms.set_momenta(spread * np.random.default_rng(0).normal(size=(len(atoms), 3)))
    energies = []
    motion = VelocityVerlet(atoms, timestep=femtoseconds * units.fs)
    motion.attach(lambda: energies.append(atoms.get_total_energy() / len(atoms)))
    motion.run(n_steps)
    return np.array(energies)


def assert_conserved(energies):
    """Judge the trend over the run and the swing around it, both eV per atom."""
    times = np.linspace(0, 1, len(energies))
    trend = np.polyfit(times, energies, 1)
    assert abs(trend[0]) < NVE_DRIFT
    assert np.abs(energies - np.polyval(trend, times)).max() < NVE_SWING


@pytest.mark.parametrize("kernel", ["plain", "native"])
def test_motion_of_silicon_conserves_energy(kernel, published_folder):
    weights = load_published(published_folder / ENTRIES["nequix-mp-1"].file)
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.05, seed=1)
    assert_conserved(energy_along(atoms, NequixCalculator(weights, "torch", kernel=kernel, dtype="float32")))


@pytest.mark.parametrize("kernel", ["plain", "native"])
def test_motion_of_a_random_molecule_conserves_energy(kernel):
    weights = random_weights(SPECS["l = 3, norm"], 7)
    at = structure("l = 3, norm", "molecule")
    # Heavy and slow, for a random energy surface is rough.
    atoms = Atoms(at.numbers, at.positions, masses=np.full(4, 200.0))
    calculator = NequixCalculator(weights, "torch", kernel=kernel, dtype="float64")
    energies = energy_along(atoms, calculator, femtoseconds=0.2, temperature=30)
    assert_conserved(energies)


def test_assert_conserved_finds_drift_and_swing():
    times = np.linspace(0, 1, 500)
    assert_conserved(0 * times)
    for energies in (2 * NVE_DRIFT * times, 2 * NVE_SWING * np.sin(40 * times)):
        with pytest.raises(AssertionError):
            assert_conserved(energies)
