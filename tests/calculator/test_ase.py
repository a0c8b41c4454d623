"""ASE's own tools with the calculator: relaxation, dynamics, vibrations, phonons."""

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.filters import FrechetCellFilter
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS, FIRE
from ase.phonons import Phonons
from ase.vibrations import Vibrations, VibrationsData

from nequix import NequixCalculator
from tests.calculator import small
from tests.calculator.small import BACKENDS, WEIGHTS
from tests.tolerances import ACOUSTIC, DYNAMICS_DRIFT, VIBRATIONS_ENERGIES, VIBRATIONS_HESSIAN


@pytest.fixture(scope="module", params=BACKENDS)
def calc(request):
    return NequixCalculator(WEIGHTS, request.param, dtype="float64")


@pytest.mark.parametrize("optimizer", [FIRE, BFGS])
def test_optimizers_find_a_minimum(calc, optimizer):
    atoms = small.triclinic()
    atoms.calc = calc
    before = atoms.get_potential_energy()
    assert optimizer(atoms, logfile=None).run(fmax=0.05, steps=100)
    assert atoms.get_potential_energy() < before
    assert np.linalg.norm(atoms.get_forces(), axis=1).max() < 0.05


def test_a_cell_relaxes(calc):
    atoms = small.triclinic()
    atoms.calc = calc
    before = np.abs(atoms.get_stress()).max()
    optimizer = FIRE(FrechetCellFilter(atoms), logfile=None)
    optimizer.run(fmax=0.05, steps=15)
    assert np.abs(atoms.get_stress()).max() < before / 2


def test_dynamics_conserve_energy(calc):
    atoms = small.salt()
    atoms.calc = calc
    widths = np.sqrt(atoms.get_masses() * units.kB * 300)
    atoms.set_momenta(widths[:, None] * np.random.default_rng(5).normal(size=(len(atoms), 3)))
    total, kinetic = [], []
    dynamics = VelocityVerlet(atoms, 0.5 * units.fs)
    dynamics.attach(lambda: total.append(atoms.get_total_energy()))
    dynamics.attach(lambda: kinetic.append(atoms.get_kinetic_energy()))
    dynamics.run(30)
    assert np.ptp(total) / len(atoms) < DYNAMICS_DRIFT
    assert np.ptp(kinetic) > 100 * np.ptp(total)


def test_vibrations_agree_with_the_hessian(calc, tmp_path):
    atoms = small.water()
    atoms.calc = calc
    vibrations = Vibrations(atoms, name=str(tmp_path / "vibrations"), delta=1e-4)
    vibrations.run()
    finite = vibrations.get_vibrations()
    exact = VibrationsData.from_2d(atoms, calc.get_hessian(atoms))
    np.testing.assert_allclose(
        exact.get_hessian_2d(), finite.get_hessian_2d(), rtol=0, atol=VIBRATIONS_HESSIAN
    )
    energies = [vibrations.get_energies()[6:] for vibrations in (exact, finite)]
    np.testing.assert_allclose(*energies, rtol=0, atol=VIBRATIONS_ENERGIES)


def test_phonons_run(tmp_path):
    atoms = bulk("Cu", a=3.0)
    phonons = Phonons(atoms, NequixCalculator(WEIGHTS, "torch"), (2, 2, 2), name=str(tmp_path / "phonons"))
    phonons.run()
    phonons.read(acoustic=True)
    energies = phonons.band_structure([[0, 0, 0], [0.5, 0, 0.5]])
    assert energies.shape == (2, 3)
    assert np.abs(energies[0]).max() < ACOUSTIC
