"""The laws hold for a model of the project, and the check that looks for a planted fault finds it."""

from dataclasses import replace

import numpy as np
import pytest

from nequix.backends import load_model
from nequix.core.errors import GraphError
from nequix.evaluation.physics import cutoff, laws
from nequix.evaluation.physics.verdicts import Limit, Verdict, worst
from nequix.io.weights import Weights
from tests.calculator.small import WEIGHTS


@pytest.fixture(scope="module")
def potential():
    assert isinstance(WEIGHTS, Weights)
    return load_model(WEIGHTS, "torch", dtype="float64", kernel="plain")


def failed(check, potential):
    values = laws.CHECKS[check](potential)
    verdicts = {name: laws.LIMITS[name].judge(value, "float64") for name, value in values.items()}
    return {name for name, verdict in verdicts.items() if verdict == Verdict.failed}


class Faulty:
    """A potential whose results are changed."""

    def __init__(self, potential, fault):
        self.potential, self.fault, self.spec = potential, fault, potential.spec

    def evaluate(self, graph):
        return self.fault(graph, self.potential.evaluate(graph))


@pytest.mark.parametrize("check", laws.CHECKS)
@pytest.mark.parametrize("name", ["energies", "forces"])
def test_what_is_not_a_number_satisfies_no_law(check, name, potential):
    def fault(graph, results):
        return replace(results, **{name: getattr(results, name) * np.nan})

    with pytest.raises(GraphError, match="not finite"):
        laws.CHECKS[check](Faulty(potential, fault))


def detached_axis(graph, results):
    return replace(results, forces=results.forces * [1.0, 1.0, 1.01])


def energy_by_place(graph, results):
    sums = np.bincount(graph.node_graph, 1e-3 * graph.positions[:, 0], graph.n_graphs)
    return replace(results, energy=results.energy + sums)


def energy_of_the_whole(graph, results):
    return replace(results, energy=results.energy + 1e-3 * graph.n_node**2)


def exchanged_stress(graph, results):
    return replace(results, stress=results.stress[:, [1, 0, 2]])


def pushed(graph, results):
    return replace(results, forces=results.forces + np.array([0.0, 1e-2, 0.0]))


def twisted(graph, results):
    x, y, _ = (graph.positions - graph.positions.mean(axis=0)).T
    return replace(results, forces=results.forces + 1e-2 * np.stack([-y, x, 0 * x], axis=1))


def doubled_with_a_volume(graph, results):
    factor = np.where(graph.volume > 0, 1.001, 1.0)
    return replace(results, energy=factor * results.energy)


FAULTS = [
    ("equivariance", detached_axis, "forces"),
    ("equivariance", energy_by_place, "energy"),
    ("equivariance", exchanged_stress, "stress"),
    ("extensivity", energy_of_the_whole, "energy"),
    ("fragments", energy_of_the_whole, "energy"),
    ("slab", pushed, "net force"),
    ("slab", doubled_with_a_volume, "energy"),
    ("molecule", doubled_with_a_volume, "energy"),
    ("molecule", pushed, "net force"),
    ("molecule", twisted, "net torque"),
    ("one-atom-cell", pushed, "force on the atom"),
    ("one-atom-cell", energy_of_the_whole, "energy"),
]


@pytest.mark.parametrize("check", laws.CHECKS)
def test_laws_hold(potential, check):
    assert failed(check, potential) == set()


@pytest.mark.parametrize(("check", "fault", "quantity"), FAULTS)
def test_a_planted_fault_is_found(potential, check, fault, quantity):
    assert quantity in failed(check, Faulty(potential, fault))


def test_a_stress_of_the_wrong_sign_is_found(potential):
    def flipped(graph, results):
        return replace(results, stress=-results.stress)

    assert "stress against energy" in failed("one-atom-cell", Faulty(potential, flipped))


def test_every_quantity_of_the_laws_has_a_limit(potential):
    for check in laws.CHECKS.values():
        assert set(check(potential)) <= set(laws.LIMITS)


def test_the_scan_through_the_cutoff_is_smooth(potential):
    values, curves = cutoff.scan(potential)
    assert set(values) == set(cutoff.LIMITS)
    assert {name: cutoff.LIMITS[name].judge(value) for name, value in values.items()} == dict.fromkeys(
        values, Verdict.passed
    )
    outside = curves["distance"] > potential.spec.cutoff
    assert outside.sum() > 3
    assert np.ptp(curves["pair_energy"][outside]) == 0.0


def test_a_jump_at_the_cutoff_is_found(potential):
    def jump(graph, results):
        connected = np.bincount(graph.edge_graph, minlength=graph.n_graphs) > 0
        return replace(results, energy=results.energy + 0.05 * connected)

    values, _ = cutoff.scan(Faulty(potential, jump))
    assert cutoff.LIMITS["energy jump"].judge(values["energy jump"]) == Verdict.failed
    assert values["energy jump"] == pytest.approx(0.05, rel=1e-3)


def test_a_curve_is_judged_by_its_derivative():
    x = np.arange(2, 6, 0.02)
    values = cutoff.judge_curve(x, np.cos(x), np.sin(x))
    assert values["force against energy"] < 1e-4
    assert values["energy step"] < 1e-6
    wrong = cutoff.judge_curve(x, np.cos(x), 1.1 * np.sin(x))
    assert wrong["force against energy"] == pytest.approx(0.1, rel=0.02)
    jump = cutoff.judge_curve(x, np.cos(x) + 0.3 * (x > 4), np.sin(x))
    assert jump["energy step"] == pytest.approx(0.3, rel=1e-3)


def test_limits_judge_sizes_and_refuse_what_is_not_a_number():
    limit = Limit("eV", 1.0, 2.0, "", 0.1)
    found = [limit.judge(value) for value in (0.0, -1.0, 1.5, -2.0, 2.1, float("nan"), float("inf"), None)]
    assert found == [*["pass"] * 2, *["warn"] * 2, *["fail"] * 4]
    assert limit.judge(0.15, "float64") == Verdict.warned
    assert worst([]) == Verdict.passed
    assert worst([Verdict.warned, Verdict.passed]) == Verdict.warned
    assert worst([Verdict.warned, Verdict.failed]) == Verdict.failed
    assert worst([Verdict.unmade, Verdict.warned]) == Verdict.unmade
    assert worst([Verdict.unmade, Verdict.failed]) == Verdict.failed
