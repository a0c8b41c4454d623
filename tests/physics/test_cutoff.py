"""Energy and forces vanish smoothly as a pair reaches the cutoff."""

from dataclasses import replace

import numpy as np
import pytest

from tests.equivariance.models import ENGINES, SPECS, Structure, potential
from tests.tolerances import CUTOFF_ORDER, CUTOFF_REST

pytestmark = [pytest.mark.parametrize("model", SPECS), pytest.mark.parametrize("engine", ENGINES)]
DIRECTION = np.array([2.0, 1.0, 2.0]) / 3
DIMER = Structure(np.array([8, 30]), np.zeros((2, 3)), np.zeros((3, 3)), (False, False, False))


def scan(engine, model, lengths):
    """Evaluate a dimer at several lengths: energy, and force along the bond on the second atom."""
    evaluator = potential(engine, model)
    positions = [np.stack([np.zeros(3), length * DIRECTION]) for length in lengths]
    results = [replace(DIMER, positions=x).evaluate(evaluator) for x in positions]
    return (
        np.array([found.energy[0] for found in results]),
        np.array([found.forces[1] @ DIRECTION for found in results]),
    )


def test_energy_beyond_the_cutoff_is_that_of_lone_atoms(engine, model):
    evaluator, cutoff = potential(engine, model), SPECS[model].cutoff
    atoms = [replace(DIMER, numbers=DIMER.numbers[[i]], positions=np.zeros((1, 3))) for i in range(2)]
    lone = sum(atom.evaluate(evaluator).energy[0] for atom in atoms)
    energies, forces = scan(engine, model, cutoff + np.array([1e-9, 1e-3, 1.0]))
    np.testing.assert_allclose(energies, lone, rtol=CUTOFF_REST, atol=0)
    assert not forces.any()


def test_energy_and_force_vanish_as_powers_at_the_cutoff(engine, model):
    cutoff = SPECS[model].cutoff
    gaps = cutoff / np.array([100, 200, 400])
    energies, forces = scan(engine, model, np.append(cutoff - gaps, cutoff + 1e-3))
    rest = energies[:-1] - energies[-1]
    # The envelope goes as the gap's third power, each Bessel function as its first, their product as the
    # fourth: halving the gap divides the energy by 16, and the force by 8.
    np.testing.assert_allclose(rest[:-1] / rest[1:], 16, rtol=CUTOFF_ORDER)
    np.testing.assert_allclose(forces[:-2] / forces[1:-1], 8, rtol=CUTOFF_ORDER)


def test_force_changes_no_faster_at_the_cutoff_than_before(engine, model):
    cutoff = SPECS[model].cutoff
    lengths = np.linspace(0.7 * cutoff, 1.01 * cutoff, 94)
    energies, forces = scan(engine, model, lengths)
    slopes, near = np.abs(np.diff(forces)), lengths[1:] > 0.97 * cutoff
    assert slopes[near].max() < slopes[~near].max()
    steps = np.diff(energies) + forces[1:] * np.diff(lengths)  # a jump of the energy would stand out
    assert np.abs(steps[near]).max() < np.abs(steps[~near]).max()
