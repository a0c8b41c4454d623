import numpy as np
import pytest
from ase.build import bulk

import nequix
from nequix import Execution, GraphError, NequixCalculator, load_model
from nequix.distance_guard import DistanceWarning
from nequix.workflows.models import open_calculator
from nequix.workflows.prediction import predict_each
from tests.calculator.small import WEIGHTS, salt, slab, water, write_small

EXACT = Execution("native", dtype="float64", threads=1)


def bad():
    atoms = salt()
    atoms.numbers[5] = 92
    return atoms


def test_structures_get_results_and_stay_as_they_were():
    frames = [salt(), water(), slab()]
    frames[0].info.update(energy=1234.5, note="kept")
    predicted = nequix.predict(iter(frames), WEIGHTS, execution=EXACT)
    calculator = NequixCalculator(WEIGHTS, **EXACT.options())
    for atoms, source in zip(predicted, frames, strict=True):
        calculator.calculate(source)
        assert set(atoms.calc.results) == set(calculator.results)
        for name, value in calculator.results.items():
            assert np.array_equal(atoms.calc.results[name], value), name
        assert source.calc is None
    assert ["stress" in atoms.calc.results for atoms in predicted] == [True, False, True]
    assert predicted[0].info == {"note": "kept"}
    assert frames[0].info["energy"] == 1234.5


def test_one_structure_is_a_list_of_one():
    (predicted,) = nequix.predict(water(), WEIGHTS, execution=EXACT)
    assert predicted.get_forces().shape == (3, 3)


def test_an_ensemble_writes_its_spreads(tmp_path):
    path = write_small(tmp_path)
    ensemble = nequix.NequixEnsembleCalculator([path, path], **EXACT.options())
    (predicted,) = nequix.predict(water(), ensemble)
    assert predicted.info["energy_spread"] == pytest.approx(0, abs=1e-12)
    assert predicted.arrays["forces_spread"].shape == (3,)


def test_a_structure_that_fails_is_named_by_frame_and_atom():
    with pytest.raises(GraphError, match="frame 1: atom 5 is U"):
        nequix.predict([water(), bad()], WEIGHTS, execution=EXACT)
    outcomes = list(predict_each([water(), bad(), slab()], open_calculator(WEIGHTS, EXACT)))
    assert [one.index for one in outcomes] == [0, 1, 2]
    assert [one.atoms is None for one in outcomes] == [False, True, False]
    assert [one.error is None for one in outcomes] == [True, False, True]


def test_every_structure_with_short_distances_is_named():
    frames = [bulk("Si", a=5.43), bulk("Si", a=2.6), bulk("Si", a=2.7)]
    with pytest.warns(DistanceWarning) as caught:
        nequix.predict(frames, "nequix-nano", execution=EXACT)
    assert [str(one.message).partition(": ")[0] for one in caught] == ["frame 1", "frame 2"]


def test_a_model_is_given_in_any_form(tmp_path):
    path = write_small(tmp_path)
    potential = load_model(WEIGHTS, "native", dtype="float64")
    energies = {
        nequix.predict(water(), model, execution=execution)[0].get_potential_energy()
        for model, execution in [(path, EXACT), (str(path), EXACT), (WEIGHTS, EXACT)]
    }
    (calculated,) = nequix.predict(water(), NequixCalculator(potential))
    energies.add(calculated.get_potential_energy())
    assert len(energies) == 1


def test_a_calculator_keeps_its_own_execution():
    calculator = NequixCalculator(WEIGHTS, **EXACT.options())
    assert open_calculator(calculator) is calculator
    with pytest.raises(ValueError, match="cannot be combined with a calculator"):
        open_calculator(calculator, EXACT)
