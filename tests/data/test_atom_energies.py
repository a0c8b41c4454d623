"""Atom energies are the least-squares solution, also where large cells outweigh isolated atoms."""

import numpy as np
import pytest
from ase import Atoms

from nequix.data.atom_energies import CompositionEnergies, least_squares
from nequix.data.structure import from_atoms
from nequix.finetune.refit import least_change

H, HE, O = 1, 2, 8
ATOMS = {H: -13.6, HE: -78.0, O: -432.0}
BOUND = {H: -13.6 - 2.0, O: -432.0 - 3.0}


def _include(sums, counts, energy, n=1):
    numbers = np.repeat(list(counts), list(counts.values()))
    for _ in range(n):
        sums.include(numbers, energy)


def test_isolated_atoms_beside_many_large_cells_keep_their_energies():
    sums = CompositionEnergies()
    water = {H: 666, O: 333}
    for index in range(20_000):
        _include(sums, water, sum(n * BOUND[z] for z, n in water.items()) + 1e-3 * (index % 7 - 3))
    for number, energy in ATOMS.items():
        _include(sums, {number: 1}, energy)
    fitted = sums.fit([H, HE, O])
    assert fitted[HE] == pytest.approx(-78.0, abs=1e-9)
    rows = np.array([[666, 0, 333], [1, 0, 0], [0, 1, 0], [0, 0, 1]]) * np.sqrt([20_000, 1, 1, 1])[:, None]
    mean = sum(n * BOUND[z] for z, n in water.items()) + 1e-3 * np.mean([i % 7 - 3 for i in range(20_000)])
    values = np.array([mean * np.sqrt(20_000), *ATOMS.values()])
    expected = np.linalg.lstsq(rows, values, rcond=1e-14)[0]
    assert [fitted[z] for z in (H, HE, O)] == pytest.approx(expected.tolist(), abs=1e-7)


def test_a_million_frames_have_the_solution_of_numpy():
    """Compositions of up to a thousand atoms, each thousands of times, and a few single atoms."""
    rng = np.random.default_rng(0)
    distinct = rng.integers(0, 250, (300, 4)) * (rng.random((300, 4)) < 0.7)
    distinct = np.vstack([distinct[distinct.any(axis=1)], np.eye(4, dtype=int)])
    weights = np.append(rng.random(len(distinct) - 4), 4 * [1e-5])
    which = rng.choice(len(distinct), 1_000_000, p=weights / weights.sum())
    which[:4] = range(len(distinct) - 4, len(distinct))
    rows = distinct[which].astype(float)
    energies = rows @ [-13.6, -1030.0, -2040.0, -7890.0] + rng.normal(0, 1.0, len(rows))
    sums = CompositionEnergies()
    for index, composition in enumerate(distinct):
        chosen = energies[which == index]
        numbers = np.repeat([1, 6, 8, 14], composition)
        sums.include(numbers, chosen[0])
        more = CompositionEnergies()
        more.include(numbers, 0.0)
        (key,) = more._sums
        more._sums[key] = (len(chosen) - 1, float(chosen[1:].sum()))
        if len(chosen) > 1:
            sums += more
    expected = np.linalg.lstsq(rows, energies, rcond=None)[0]
    assert list(sums.fit([1, 6, 8, 14]).values()) == pytest.approx(expected.tolist(), abs=1e-8)
    np.testing.assert_allclose(least_squares(rows, energies), expected, atol=1e-8)


@pytest.mark.parametrize("scale", [1.0, 1e5])
def test_what_is_not_determined_is_as_small_as_possible(scale):
    rng = np.random.default_rng(1)
    rows = np.hstack([scale * np.outer(rng.random(50), [2.0, 1.0]), rng.random((50, 1)), np.zeros((50, 1))])
    values = rows @ [1.0, 3.0, 2.0, 0.0] + rng.normal(size=50)
    expected = np.linalg.pinv(rows) @ values
    np.testing.assert_allclose(least_squares(rows, values), expected, atol=1e-9)
    assert not least_squares(np.zeros((0, 3)), np.zeros(0)).any()
    assert not least_squares(np.zeros((4, 2)), np.ones(4)).any()


def test_refitted_energies_see_isolated_atoms():
    fractions = np.vstack([np.tile([2 / 3, 0.0, 1 / 3], (200_000, 1)), np.eye(3)])
    errors = np.array([*(200_000 * [0.5]), 0.1, -0.7, 0.2])
    change = least_change(fractions, errors)
    assert change[1] == pytest.approx(-0.7, abs=1e-12)
    np.testing.assert_allclose(change, np.linalg.lstsq(fractions, errors, rcond=None)[0], atol=1e-10)


def test_order_of_parts_and_atoms_does_not_matter():
    one, two = CompositionEnergies(), CompositionEnergies()
    for symbols, energy in (("CO", -3.0), ("OC", -5.0), ("C2", -2.0)):
        structure = from_atoms(Atoms(symbols, np.zeros((2, 3))), symbols)
        one.include(structure.numbers, energy)
    two.include(np.array([8, 6]), -8.0 / 2)
    two += one
    assert one.fit([6, 8, 9]) == pytest.approx({6: -1.0, 8: -3.0, 9: 0.0})
    assert two.fit([6, 8, 9]) == pytest.approx({6: -1.0, 8: -3.0, 9: 0.0})
