"""Small errors on cells without forces do not decide about dynamics, and kinds are not averaged."""

from dataclasses import replace

import numpy as np
import pytest

from nequix.assess.decide import decide
from nequix.assess.kinds import Conditions, decisive_kind, differences
from nequix.assess.measure import FEW, measure
from tests.assess.test_decide import PROTOCOL, Planted, snapshots


def conditions(*sizes, volumes=None):
    return Conditions(np.array(sizes, float), volumes or {})


def still(structures, size=1e-5):
    """Cells that symmetry leaves without forces."""
    return [replace_forces(s, size) for s in structures]


def replace_forces(structure, size):
    changed = replace(structure, forces=np.full_like(structure.positions, size))
    return changed


class Answers(Planted):
    """A potential with an error of each structure's own."""

    def __init__(self, structures, errors):
        rng = np.random.default_rng(0)
        self.answers = [
            (0.0, s.forces + error * rng.choice([-1, 1], s.forces.shape))
            for s, error in zip(structures, errors, strict=True)
        ]


def mixed(n_still, n_moving, moving_error):
    """Strained cells with errors of 0.6 meV/A beside dynamics with larger ones."""
    structures = [*still(snapshots(n_still)), *snapshots(n_moving)]
    errors = [6e-4] * n_still + [moving_error] * n_moving
    return measure(structures, Answers(structures, errors), PROTOCOL)


MOVING = conditions(*[600.0] * 20)


def test_labels_without_forces_do_not_judge_dynamics():
    measured = mixed(20, 0, 0.0)
    words = differences(MOVING, conditions(*[0.6] * 20), measured.kinds)
    assert "no labelled snapshot has" in words[0]
    assert "another temperature" in words[1]
    verdict = decide(measured, PROTOCOL, coverage=None, target=MOVING, conditions=words)
    assert verdict.action == "undecided"
    assert words[0] in verdict.doubts


def test_the_kind_that_is_asked_for_decides():
    measured = mixed(15, 10, 0.139)
    assert measured.forces.value == pytest.approx(56, abs=10)  # below the threshold of 100
    assert [round(kind.forces.value, 1) for kind in measured.kinds] == [0.6, 139.0]
    verdict = decide(measured, PROTOCOL, coverage=None, target=MOVING)
    assert verdict.action == "few-shot"
    assert "no forces (below 1 meV/A): 0.6 (15 snapshots)" in verdict.reasons[0]
    assert "forces of 100 to 1000 meV/A: 139 (10 snapshots)" in verdict.reasons[0]
    assert decide(measured, PROTOCOL, coverage=None).action == "zero-shot"  # nothing known of the target


def test_a_kind_with_few_snapshots_does_not_decide():
    kinds = mixed(15, FEW - 1, 0.139).kinds
    assert decisive_kind(MOVING, kinds, FEW) is None
    assert decisive_kind(MOVING, mixed(15, FEW, 0.139).kinds, FEW) is not None
    assert decisive_kind(conditions(*[0.1] * 9), mixed(15, FEW, 0.139).kinds, FEW) is None


@pytest.mark.parametrize(("size", "n"), [(1.0, 0), (1.4, 0), (2.0, 1)])
def test_larger_forces_than_labelled_ones_are_a_condition_of_their_own(size, n):
    labelled = conditions(*[300.0] * 10)
    kinds = mixed(0, 10, 0.01).kinds
    assert len(differences(conditions(*[300.0 * size] * 10), labelled, kinds)) == n


@pytest.mark.parametrize(("volume", "n"), [(20.0, 0), (21.9, 0), (23.0, 1), (17.0, 1)])
def test_volumes_outside_the_labelled_range_are_named(volume, n):
    labelled = conditions(300.0, volumes={b"NaCl": [19.0, 21.0]})
    target = conditions(300.0, volumes={b"NaCl": [volume], b"other": [99.0]})
    words = differences(target, labelled, mixed(0, 10, 0.01).kinds)
    assert len(words) == n
    assert all("A^3/atom" in word for word in words)
