"""Atoms closer than in the training data of a model."""

import shutil

import pytest
from ase import Atoms
from ase.build import bulk

from nequix import NequixCalculator, NequixEnsembleCalculator, WeightsError, load_weights
from nequix.coverage.limits import distance_limits
from nequix.coverage.sidecar import find_shipped
from nequix.distance_guard import DistanceError, DistanceWarning
from nequix.io.catalogue import resolve
from tests.calculator.small import WEIGHTS, salt


@pytest.fixture(scope="module")
def nano():
    return load_weights("nequix-nano")


def _pair(symbols, distance):
    return Atoms(symbols, [[0, 0, 0], [0, 0, distance]])


def _limit(weights, a, b):
    reference = find_shipped(weights)
    assert reference is not None
    return distance_limits(reference, [a, b])[a, b]


def test_a_compressed_crystal_is_named_once(nano):
    calc = NequixCalculator(nano, "native")
    silicon = bulk("Si", a=5.43)
    calc.calculate(silicon)  # no warning
    silicon.set_cell(silicon.cell * 0.5, scale_atoms=True)
    with pytest.warns(
        DistanceWarning, match=r"atoms 0 and 1 \(Si-Si\) are 1.18 A apart, closer than the 1.\d\d A"
    ):
        calc.calculate(silicon)
    assert calc.results
    silicon.set_cell(silicon.cell * 0.99, scale_atoms=True)
    calc.calculate(silicon)  # warnings are errors in tests
    assert calc.guard is not None
    assert "Si-Si" in (calc.guard.finding or "")
    calc.calculate(bulk("Si", a=5.43))
    assert calc.guard.finding is None


def test_each_pair_has_its_own_limit(nano):
    calc = NequixCalculator(nano, "native", guard="error")
    for numbers, symbols in (((1, 8), "HO"), ((8, 14), "SiO"), ((14, 14), "Si2")):
        limit = _limit(nano, *numbers)
        calc.calculate(_pair(symbols, limit + 0.01))
        with pytest.raises(DistanceError, match=f"closer than the {limit:.2f} A"):
            calc.calculate(_pair(symbols, limit - 0.01))
        assert not calc.results
    calc.calculate(_pair("HO", _limit(nano, 1, 8) + 0.01))  # what is short for Si-Si


def test_periodic_images_count(nano):
    calc = NequixCalculator(nano, "native", guard="error")
    with pytest.raises(DistanceError, match=r"atoms 0 and 0 \(Si-Si\)"):
        calc.calculate(Atoms("Si", cell=[1.0, 4, 4], pbc=True))


def test_without_a_guard_nothing_is_said(nano):
    calc = NequixCalculator(nano, "native", guard=None)
    calc.calculate(_pair("Si2", 1.0))
    assert calc.guard is None


def test_a_model_without_a_reference_has_no_limits():
    calc = NequixCalculator(WEIGHTS, "native")
    atoms = salt()
    atoms.set_cell(atoms.cell * 0.4, scale_atoms=True)
    calc.calculate(atoms)
    with pytest.raises(WeightsError, match="small has no coverage reference"):
        NequixCalculator(WEIGHTS, "native", guard="error")


def test_a_damaged_reference_beside_the_model_is_said(tmp_path):
    path = tmp_path / "model.safetensors"
    shutil.copy(resolve("nequix-nano"), path)
    path.with_name("model.coverage.safetensors").write_bytes(b"damaged")
    calc = NequixCalculator(path, "native")
    with pytest.warns(RuntimeWarning, match="no guard against short distances: .*model.coverage.safetensors"):
        calc.calculate(bulk("Si"))
    assert calc.results
    with pytest.raises(WeightsError, match=r"model\.coverage\.safetensors"):
        NequixCalculator(path, "native", guard="error")


def test_ensembles_have_the_guard_of_their_members(nano):
    calc = NequixEnsembleCalculator([nano, nano], "native", guard="error")
    with pytest.raises(DistanceError, match="Si-Si"):
        calc.calculate(_pair("Si2", 1.0))


def test_another_guard_is_refused(nano):
    with pytest.raises(ValueError, match="guard = 'stop', expected 'warn', 'error' or None"):
        NequixCalculator(nano, "native", guard="stop")
