"""Calculators that are shared by threads, copied, printed, or given something like a structure."""

import copy
import threading

import numpy as np
import pytest

import nequix
from nequix import GraphError, NequixCalculator, NequixEnsembleCalculator
from tests.calculator import small
from tests.calculator.ensembles import members
from tests.calculator.small import WEIGHTS


def test_threads_share_a_calculator():
    calc = NequixEnsembleCalculator(members(2, ("readout",)), "torch", kernel="native", dtype="float64")
    structures = [small.salt(), small.water(), small.triclinic()]
    expected = [calc.get_property("forces", atoms) for atoms in structures]
    failures = []

    def work(atoms, forces):
        atoms = atoms.copy()
        atoms.calc = calc
        try:
            for _ in range(40):
                np.testing.assert_allclose(atoms.get_forces(), forces, rtol=0, atol=1e-10)
                atoms.get_potential_energy()
                assert calc.get_property("forces_spread", atoms).shape == (len(atoms),)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(structures, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_copies_have_a_lock_of_their_own():
    calc = NequixCalculator(WEIGHTS, "torch", kernel="native")
    energy = calc.get_property("energy", small.salt())
    again = copy.deepcopy(calc)
    calc._lock().acquire()  # pyright: ignore[reportAttributeAccessIssue]
    worker = threading.Thread(target=lambda: again.get_property("energy", small.water()), daemon=True)
    worker.start()
    worker.join(60)
    assert not worker.is_alive()
    assert again.get_property("energy", small.salt()) == energy


class LikeAtoms:
    """Has what a structure has, as other programs' classes do."""

    def __init__(self, atoms):
        self.numbers, self.positions, self.cell, self.pbc = (
            atoms.numbers,
            atoms.positions,
            atoms.cell,
            atoms.pbc,
        )

    def __len__(self):
        return len(self.numbers)

    def copy(self):
        return self


def test_what_is_like_atoms_is_refused_whatever_was_calculated_before():
    calc, salt = NequixCalculator(WEIGHTS, "torch", kernel="native"), small.salt()
    like = LikeAtoms(salt)
    for _ in range(2):
        for ask in (calc.calculate, calc.get_hessian, calc.check_state, calc.get_potential_energy):
            with pytest.raises(
                GraphError, match=r"test_sharing.LikeAtoms, expected an ase.Atoms; convert it"
            ):
                ask(like)
        calc.get_property("energy", salt)  # the next round has a history


def test_calculators_print_what_they_are():
    calc = NequixCalculator(WEIGHTS, "torch", kernel="native")
    expected = "NequixCalculator('small', backend='torch', kernel='native', dtype='float32', device='cpu')"
    assert repr(calc) == expected
    together = NequixEnsembleCalculator(members(2, ("readout",)), "torch", kernel="native")
    assert repr(together).startswith("NequixEnsembleCalculator('2 members of small', backend='torch'")


def test_the_package_lists_its_public_names_only():
    assert dir(nequix) == sorted(nequix.__all__)
    assert all(hasattr(nequix, name) for name in dir(nequix))
