import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.lj import LennardJones

from nequix.evaluation.physics import dynamics
from nequix.evaluation.physics.verdicts import Verdict
from tests.calculator.small import SPEC


def argon():
    return LennardJones(epsilon=0.3, sigma=2.5, rc=6.0, smooth=True)


class Pushed(LennardJones):
    """Forces that are a little more than the energy's derivative."""

    def calculate(self, *arguments, **named):
        super().calculate(*arguments, **named)
        self.results["forces"] = 1.05 * self.results["forces"]


class Jumping(LennardJones):
    """An energy that jumps where two atoms come nearer than 2.75 A."""

    def calculate(self, *arguments, **named):
        super().calculate(*arguments, **named)
        pairs = np.sum(self.atoms.get_all_distances(mic=True) < 2.75) / 2
        self.results["energy"] += 0.02 * pairs


@pytest.fixture
def cold(monkeypatch):
    def system(name, spec):
        atoms = bulk("Cu", a=4.0, cubic=True).repeat(2)
        return atoms, 600.0, 4.0

    monkeypatch.setattr(dynamics, "system", system)


def verdicts(values):
    return {name: limit.judge(values[name]) for name, limit in dynamics.LIMITS.items()}


def test_a_line_has_its_slope_and_its_residue():
    time = np.linspace(0, 2, 21)
    slope, rest = dynamics.summarise(time, 3 + 0.5 * time)
    assert (slope, rest) == (pytest.approx(0.5), pytest.approx(0.0, abs=1e-12))
    ripple = 0.1 * (-1.0) ** np.arange(21)
    assert dynamics.summarise(time, ripple)[1] == pytest.approx(0.1, rel=0.01)


@pytest.mark.usefixtures("cold")
def test_a_conservative_force_conserves(monkeypatch):
    values, curves = dynamics.conserve("crystal", argon(), SPEC, 0.6)
    assert len(curves["time"]) == 151
    assert curves["time"][-1] == pytest.approx(0.6)
    assert verdicts(values)["drift"] == verdicts(values)["order"] == Verdict.passed


@pytest.mark.usefixtures("cold")
@pytest.mark.parametrize("kind", [Pushed, Jumping])
def test_forces_that_are_not_the_energys_derivative_are_found(kind):
    values, _ = dynamics.conserve("crystal", kind(epsilon=0.3, sigma=2.5, rc=6.0, smooth=True), SPEC, 0.6)
    assert verdicts(values)["order"] == Verdict.failed
