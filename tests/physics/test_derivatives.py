"""Forces, stress and Hessian are the derivatives of the energy."""

from dataclasses import replace

import numpy as np
import pytest

from tests.equivariance.models import ENGINES, PERIODICITIES, SPECS, potential, structure
from tests.physics.differences import difference, refuse_crossings
from tests.tolerances import DIFFERENCE, DIFFERENCE_STEP

pytestmark = [pytest.mark.parametrize("model", SPECS), pytest.mark.parametrize("engine", ENGINES)]
REACH = 10 * DIFFERENCE_STEP


def given(model, kind):
    at, spec = structure(model, kind), SPECS[model]
    refuse_crossings(at.graph(replace(spec, cutoff=spec.cutoff + REACH)), REACH)
    return at


def displaced(at, direction):
    """Evaluate with atoms moved along a direction, with a new edge search."""
    return lambda amount: replace(at, positions=at.positions + amount * direction)


def assert_derivative(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=DIFFERENCE * np.abs(found).max())


@pytest.mark.parametrize("kind", PERIODICITIES)
def test_forces_are_the_slope_of_the_energy(engine, model, kind):
    at, evaluator = given(model, kind), potential(engine, model)
    slopes = [
        difference(lambda t, d=direction: displaced(at, d)(t).evaluate(evaluator).energy[0])
        for direction in np.eye(at.positions.size).reshape(-1, *at.positions.shape)
    ]
    forces = at.evaluate(evaluator).forces
    assert_derivative(forces, -np.reshape(slopes, forces.shape))


def strained(at, strain):
    """Strain positions and cell alike."""
    return lambda amount: replace(
        at,
        positions=at.positions @ (np.eye(3) + amount * strain),
        cell=at.cell @ (np.eye(3) + amount * strain),
    )


def test_stress_is_the_slope_of_the_energy(engine, model):
    at, evaluator = given(model, "crystal"), potential(engine, model)
    slopes = np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            strain = (np.outer(np.eye(3)[i], np.eye(3)[j]) + np.outer(np.eye(3)[j], np.eye(3)[i])) / 2
            slopes[i, j] = difference(lambda t, s=strain: strained(at, s)(t).evaluate(evaluator).energy[0])
    volume = abs(np.linalg.det(at.cell))
    assert_derivative(at.evaluate(evaluator).stress[0], slopes / volume)


def test_hessian_is_the_slope_of_the_forces(engine, model):
    at, evaluator = given(model, "crystal"), potential(engine, model)
    hessian = evaluator.hessian(at.graph(evaluator.spec))
    slopes = [
        difference(lambda t, d=direction: displaced(at, d)(t).evaluate(evaluator).forces)
        for direction in np.eye(at.positions.size).reshape(-1, *at.positions.shape)
    ]
    assert_derivative(hessian, -np.reshape(slopes, hessian.shape))
    assert_derivative(hessian, hessian.transpose(2, 3, 0, 1))
