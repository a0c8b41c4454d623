"""Planted cases are caught and named, and structures like those of the training set pass."""

import numpy as np
import pytest
from ase.build import bulk

from nequix.core.errors import DataError
from nequix.coverage.assess_coverage import assess_coverage
from nequix.data.structure import from_atoms
from tests.coverage import sets


def judged(*atoms, features=True):
    return assess_coverage(sets.structures(atoms), sets.reference(), sets.potential() if features else None)


@pytest.mark.parametrize("features", [True, False])
@pytest.mark.parametrize("name", sets.CRYSTALS)
def test_other_structures_of_the_same_kind_are_inside(name, features):
    found = judged(*(sets.crystal(name, seed) for seed in range(100, 110)), features=features)
    # To a random model, a kind of crystal may look unlike all others that it was given.
    assert found.verdict in (["inside", "edge"] if features else ["inside"]), found.reasons
    assert found.verdicts.count("outside") == 0
    assert ("features" in found.values) == features


@pytest.mark.parametrize("features", [True, False])
def test_a_short_contact_is_named_with_its_atoms(features):
    found = judged(sets.short_contact(), features=features)
    assert found.verdict == "outside"
    gap = next(gap for gap in found.gaps if gap.view == "pairs" and gap.low <= 1.6 <= gap.high)
    assert gap.name == "Na-Na"
    assert "shortest seen" in gap.reason
    assert {atom for _, atom in gap.atoms} >= {1, 3}
    assert gap.share == gap.n_atoms / len(found.numbers)
    assert set(np.argsort(-found.values["pairs"])[:2]) == {1, 3}


@pytest.mark.parametrize("features", [True, False])
def test_an_unseen_pair_is_named(features):
    found = judged(sets.unseen_pair(), features=features)
    assert found.verdict != "inside"
    gap = next(gap for gap in found.gaps if gap.name == "Na-Au" and gap.view == "pairs")
    assert gap.reason == "never seen"
    assert gap.share == 1.0


@pytest.mark.parametrize("features", [True, False])
def test_a_compressed_cell_is_caught(features):
    found = judged(sets.compressed(), features=features)
    assert found.verdict == "outside"
    assert any(gap.name == "Cu-Cu" and "shortest seen" in gap.reason for gap in found.gaps)
    assert any(gap.view == "orders" and gap.name == "Cu to Cu" for gap in found.gaps)


@pytest.mark.parametrize("features", [True, False])
def test_a_molecule_given_to_a_crystal_model_is_outside(features):
    found = judged(sets.ethane(), features=features)
    assert found.verdict == "outside"
    assert any("H: not in the training set" in reason for reason in found.reasons)
    assert any(gap.name in ("C", "C to C") for gap in found.gaps)


def test_an_element_that_the_model_lacks_is_judged_without_its_features():
    found = judged(sets.crystal("Cu", 120), bulk("Ti", "hcp", a=2.95, c=4.68))
    assert found.verdicts == ("inside", "outside")
    assert found.verdict == "outside"
    assert np.isnan(found.values["features"][found.numbers == 22]).all()
    assert np.isfinite(found.values["features"][found.numbers == 29]).all()
    assert None in found.to_dict()["atoms"]["features"]


def test_one_bad_frame_among_many_makes_an_edge_and_is_reported():
    frames = [sets.crystal("Na", seed) for seed in range(200, 240)]
    found = judged(*frames, sets.short_contact())
    assert (found.verdicts[-1], found.verdict) == ("outside", "edge")
    assert found.structure_score.argmax() == 40
    assert any(f"1 of {len(frames) + 1} structures beyond" in reason for reason in found.reasons)


def test_one_exploded_frame_makes_an_edge_however_many_others_there_are():
    found = judged(
        *(sets.crystal("Na", seed) for seed in range(200, 319)), sets.short_contact(), features=False
    )
    assert (found.verdicts.count("outside"), len(found.verdicts)) == (1, 120)
    assert found.verdict == "edge"


def test_what_cannot_be_judged_is_listed_and_nothing_at_all_is_an_error():
    broken = sets.crystal("Cu", 5)
    broken.positions[0] = broken.positions[1]
    found = judged(sets.crystal("Cu", 6), broken)
    assert [name for name, _ in found.failures] == ["t 1"]
    with pytest.raises(DataError, match="no structure that can be judged"):
        assess_coverage([from_atoms(broken, "x")], sets.reference())


def test_structures_counted_as_known_close_the_gap():
    from nequix.coverage.build import tally

    target = [sets.unseen_pair() for _ in range(3)]
    for seed, atoms in enumerate(target):
        atoms.rattle(0.05, seed=seed)
    counted = tally(sets.structures(target * 8), sets.reference().cutoff)
    more = sets.reference().with_also(counted)
    assert more.n_structures == sets.reference().n_structures + 24
    before = assess_coverage(sets.structures(target), sets.reference())
    after = assess_coverage(sets.structures(target), more)
    assert (before.verdict, after.verdict) == ("outside", "inside")
