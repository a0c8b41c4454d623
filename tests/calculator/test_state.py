"""What a calculator remembers of one structure when the next one comes."""

import numpy as np
from ase import Atoms

from nequix import NequixCalculator
from tests.calculator import small
from tests.calculator.small import BETWEEN_ENGINES, ROUNDING, WEIGHTS


def _chain():
    """Structures that change in every way, each a step from the one before."""
    salt, chain = small.salt(), []
    chain.append(salt.copy())
    salt.set_cell(salt.cell @ (np.eye(3) + 0.02 * np.arange(9).reshape(3, 3) / 9), scale_atoms=True)
    chain.append(salt.copy())
    salt.numbers[[0, 1]] = salt.numbers[[1, 0]]
    chain.append(salt.copy())
    salt.pbc = (True, False, True)
    chain.append(salt.copy())
    del salt[2]
    chain.append(salt.copy())
    return [*chain, small.water(), Atoms("O"), salt.repeat((2, 1, 1)), small.triclinic(), salt, chain[0]]


def _properties(atoms, calc):
    atoms = atoms.copy()
    atoms.calc = calc
    values = [atoms.get_potential_energy(), atoms.get_potential_energies(), atoms.get_forces()]
    return [*values, atoms.get_stress()] if atoms.cell.rank == 3 else values


def test_a_chain_of_changing_structures_equals_fresh_calculations(calc):
    for atoms in _chain():
        chained = _properties(atoms, calc)
        # One backend, which need not compile, serves as judge of both.
        fresh = _properties(atoms, NequixCalculator(WEIGHTS, "torch", dtype="float64"))
        for one, other in zip(chained, fresh, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=BETWEEN_ENGINES)


def test_each_change_in_place_is_noticed(calc, salt):
    before = salt.get_forces()
    for change in ("positions", "numbers", "cell", "pbc"):
        atoms = salt.copy()
        atoms.calc = calc
        np.testing.assert_allclose(atoms.get_forces(), before, rtol=0, atol=ROUNDING)
        if change == "positions":
            atoms.positions[0] += 1e-3
        elif change == "numbers":
            atoms.numbers[0] = 13
        elif change == "cell":
            atoms.cell[0, 0] += 1e-3
        else:
            atoms.pbc[2] = False
        assert np.abs(atoms.get_forces() - before).max() > 1e-6, change


def test_the_least_change_is_noticed_unless_a_tolerance_is_given(calc, salt):
    salt.get_potential_energy()
    assert calc.check_state(salt) == []
    salt.positions[0, 0] = np.nextafter(salt.positions[0, 0], 9)
    assert calc.check_state(salt) == ["positions"]
    assert calc.check_state(salt, tol=1e-9) == []


def test_results_are_kept_while_nothing_changes(calc, salt, monkeypatch):
    salt.get_potential_energy()
    monkeypatch.setattr(calc.potential, "evaluate", None)
    salt.get_forces()[:] = 0.0
    salt.set_initial_magnetic_moments(np.ones(len(salt)))
    salt.info["comment"] = "the model knows nothing of it"
    assert np.abs(salt.get_forces()).max() > 0
    assert salt.get_stress().shape == (6,)
