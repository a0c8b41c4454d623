"""What of the target no labelled snapshot has."""

import numpy as np
from ase import Atoms
from ase.build import bulk

from nequix.assess.likeness import never_labelled
from tests.calculator.small import SPEC
from tests.coverage import sets


def never(target, labelled):
    return never_labelled(sets.structures(target), sets.structures(labelled), SPEC)


def test_elements_and_pairs_without_labels_are_named():
    salt, alloy = sets.crystal("NaCl", 1), sets.crystal("CuAu", 1)
    assert never([salt], [salt]) == []
    assert never([salt], [salt, alloy]) == []
    assert never([salt, alloy], [salt]) == ["Au", "Cu"]
    # Both elements are labelled, but never beside each other.
    assert never([sets.unseen_pair()], [sets.crystal("Na", 1), sets.crystal("Au", 1)]) == ["Na-Au"]


def test_pairs_count_within_the_cutoff_alone():
    pair = Atoms("NaCl", [[0, 0, 0], [0, 0, SPEC.cutoff + 0.1]])
    assert never([pair], [Atoms("Na"), Atoms("Cl")]) == []
    pair.positions[1, 2] -= 0.2
    assert never([pair], [Atoms("Na"), Atoms("Cl")]) == ["Na-Cl"]


def test_what_the_model_cannot_evaluate_is_left_out():
    broken = sets.crystal("Cu", 1)
    broken.positions[0] = np.nan
    assert never([bulk("Ti"), broken, sets.crystal("Na", 1)], [sets.crystal("Na", 2)]) == []
