"""What ASE does with a calculator's results, for a single model and for an ensemble."""

import numpy as np
import pytest
from ase.calculators.calculator import all_properties
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import Trajectory, read, write
from ase.mep import NEB

from nequix import NequixCalculator, NequixEnsembleCalculator
from tests.calculator import small
from tests.calculator.ensembles import members
from tests.calculator.small import WEIGHTS

PROPERTIES = ["energy", "forces", "stress"]


@pytest.fixture(scope="module", params=["single", "ensemble"])
def calc(request):
    if request.param == "single":
        return NequixCalculator(WEIGHTS, "torch", kernel="native", dtype="float64")
    return NequixEnsembleCalculator(members(2, ("readout",)), "torch", kernel="native", dtype="float64")


@pytest.fixture
def salt(calc):
    atoms = small.salt()
    atoms.calc = calc
    atoms.get_forces()
    return atoms


def test_results_are_properties_that_ase_knows(calc, salt):
    assert set(calc.results) == {*PROPERTIES, "free_energy", "energies"}
    assert set(calc.results) <= set(all_properties)
    assert set(calc.implemented_properties) == set(calc.results)


def test_results_are_stored_and_exported(calc, salt):
    stored = SinglePointCalculator(salt, **calc.results)
    np.testing.assert_array_equal(stored.get_forces(), salt.get_forces())
    assert dict(calc.export_properties())["energy"] == salt.get_potential_energy()
    exported = calc.calculate_properties(salt, PROPERTIES)
    np.testing.assert_array_equal(exported["stress"], salt.get_stress())


@pytest.mark.parametrize("name", ["frames.traj", "frames.extxyz", "frames.json"])
def test_files_keep_results(salt, tmp_path, name):
    write(tmp_path / name, salt)
    again = read(tmp_path / name)
    np.testing.assert_allclose(again.get_forces(), salt.get_forces(), rtol=0, atol=1e-7)
    assert again.get_potential_energy() == pytest.approx(salt.get_potential_energy(), abs=1e-7)


def test_trajectories_and_databases_keep_results(salt, tmp_path):
    with Trajectory(tmp_path / "run.traj", "w", salt) as trajectory:
        trajectory.write()
    assert read(tmp_path / "run.traj").get_potential_energy() == salt.get_potential_energy()
    with connect(tmp_path / "rows.json") as database:
        database.write(salt)
    assert connect(tmp_path / "rows.json").get(1).energy == pytest.approx(salt.get_potential_energy())


def test_images_of_a_path_are_frozen(calc, salt):
    images = [salt.copy() for _ in range(3)]
    images[2].positions[0] += 0.2
    path = NEB(images, allow_shared_calculator=True, method="improvedtangent")
    path.interpolate()
    for image in images:
        image.calc = calc
    path.get_forces()
    frozen = list(path.iterimages())
    assert all(isinstance(image.calc, SinglePointCalculator) for image in frozen[1:-1])
    NEB.freeze_results_on_image(images[0], **calc.results)
    assert images[0].get_potential_energy() == calc.results["energy"]


def test_spreads_belong_to_the_structure_that_is_asked_for():
    calc = NequixEnsembleCalculator(members(2, ("readout",)), "torch", kernel="native")
    salt, water = small.salt(), small.water()
    spread = calc.get_property("forces_spread", salt)
    assert spread.shape == (8,)
    np.testing.assert_array_equal(spread, calc.spreads["forces_spread"])
    spread[:] = 0
    assert calc.get_property("forces_spread", salt).min() > 0
    assert calc.get_property("energy_spread", water, allow_calculation=False) is None
    assert calc.get_property("forces_spread", water).shape == (3,)
    calc.reset()
    assert calc.spreads == {}
