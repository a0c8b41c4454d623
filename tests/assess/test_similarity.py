"""What of the target no labelled snapshot has, and which gaps they share."""

import numpy as np
from ase import Atoms
from ase.build import bulk

from nequix.assess.similarity import never_labelled, shared
from nequix.coverage.assess_coverage import assess_coverage
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


def test_pairs_count_within_the_cutoff_only():
    pair = Atoms("NaCl", [[0, 0, 0], [0, 0, SPEC.cutoff + 0.1]])
    assert never([pair], [Atoms("Na"), Atoms("Cl")]) == []
    pair.positions[1, 2] -= 0.2
    assert never([pair], [Atoms("Na"), Atoms("Cl")]) == ["Na-Cl"]


def test_what_the_model_cannot_evaluate_is_left_out():
    broken = sets.crystal("Cu", 1)
    broken.positions[0] = np.nan
    assert never([bulk("Ti"), broken, sets.crystal("Na", 1)], [sets.crystal("Na", 2)]) == []


def judged(*atoms):
    return assess_coverage(sets.structures(atoms), sets.reference())


def test_labelled_snapshots_share_a_gap_of_the_same_kind_and_range():
    salt = sets.crystal("NaCl", 1)
    target = judged(sets.crystal("Na", 1), sets.short_contact(), sets.unseen_pair())
    assert target.verdicts == ("inside", "outside", "outside")
    assert shared(target, judged(sets.short_contact(), salt, sets.compressed())) == ({1}, {0})
    assert shared(target, judged(salt, sets.unseen_pair())) == ({2}, {1})
    assert shared(target, judged(salt, sets.compressed())) == (set(), set())
    assert shared(target, target) == ({1, 2}, {1, 2})


def test_gaps_know_all_of_their_structures():
    target = judged(sets.crystal("Na", 1), *[sets.unseen_pair() for _ in range(30)])
    gap = next(gap for gap in target.gaps if gap.name == "Na-Au" and gap.view == "pairs")
    assert len(gap.atoms) < gap.n_atoms
    assert gap.structures == tuple(range(1, 31))
    assert "structures" not in target.to_dict()["gaps"][0]
