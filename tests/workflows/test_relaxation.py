import numpy as np
import pytest
from ase.constraints import FixAtoms

import nequix
from nequix import DataError, Execution, GraphError, NequixCalculator
from tests.calculator.small import WEIGHTS, salt, triclinic, water

EXACT = Execution("native", dtype="float64", threads=1)


@pytest.fixture(scope="module")
def calculator():
    return NequixCalculator(WEIGHTS, **EXACT.options())


@pytest.mark.parametrize("optimizer", ["fire", "bfgs", "lbfgs"])
def test_a_relaxation_returns_the_minimum_and_leaves_the_structure_as_it_was(optimizer, calculator):
    atoms = triclinic()
    before = atoms.positions.copy()
    relaxed = nequix.relax(atoms, calculator, fmax=0.05, optimizer=optimizer)
    assert relaxed.converged
    assert relaxed.fmax < 0.05
    assert relaxed.fmax == np.linalg.norm(relaxed.atoms.get_forces(), axis=1).max()
    assert relaxed.energy == relaxed.atoms.get_potential_energy()
    assert relaxed.energy < calculator.get_potential_energy(atoms)
    assert np.array_equal(atoms.positions, before)
    assert atoms.calc is None
    calculator.calculate(relaxed.atoms)
    assert calculator.results["energy"] == pytest.approx(relaxed.energy, abs=1e-10)


def test_every_step_is_reported_from_the_first_structure_to_the_last(calculator):
    steps = []
    relaxed = nequix.relax(triclinic(), calculator, fmax=1e-9, steps=3, on_step=steps.append)
    assert not relaxed.converged
    assert [step.number for step in steps] == [0, 1, 2, 3]
    assert relaxed.n_steps == 3
    assert np.array_equal(steps[0].atoms.positions, triclinic().positions)
    assert np.array_equal(steps[-1].atoms.positions, relaxed.atoms.positions)
    assert (steps[-1].energy, steps[-1].fmax) == (relaxed.energy, relaxed.fmax)
    assert steps[0].volume == pytest.approx(triclinic().get_volume())
    reported = []
    nequix.relax(water(), calculator, steps=1, on_step=reported.append)
    assert reported[0].volume is None


def test_the_cell_moves_only_if_asked_to_and_constraints_hold(calculator):
    atoms = salt()
    atoms.set_constraint(FixAtoms([0]))
    for cell in (False, True):
        relaxed = nequix.relax(atoms, calculator, fmax=1e-9, steps=2, cell=cell).atoms
        assert np.allclose(relaxed.cell.array, atoms.cell.array, rtol=0, atol=1e-12) != cell
        scaled = relaxed.get_scaled_positions()[0] if cell else relaxed.positions[0]
        assert np.allclose(scaled, atoms.get_scaled_positions()[0] if cell else atoms.positions[0])


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"fmax": 0.0}, DataError, "expected positive numbers"),
        ({"steps": 0}, DataError, "expected positive numbers"),
        ({"cell": True}, DataError, "only a cell periodic in all directions relaxes"),
        ({"optimizer": "fyre"}, ValueError, "did you mean 'fire'"),
    ],
)
def test_what_cannot_be_relaxed_is_rejected_before_the_model_is_loaded(options, error, says):
    with pytest.raises(error, match=says):
        nequix.relax(water(), "no such model", **options)


def test_an_unknown_element_is_named(calculator):
    atoms = water()
    atoms.numbers[0] = 92
    with pytest.raises(GraphError, match="atom 0 is U"):
        nequix.relax(atoms, calculator)
