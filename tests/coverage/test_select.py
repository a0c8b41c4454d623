import numpy as np
import pytest

from nequix.core.errors import DataError
from nequix.coverage.environments import environments_of
from nequix.coverage.select import (
    cluster_choice,
    ensemble_choice,
    farthest_choice,
    gap_choice,
    random_choice,
    select,
)
from tests.coverage import sets


def chosen(choices):
    return [choice.index for choice in choices]


def test_the_farthest_is_taken_one_by_one():
    line = [np.array([[x, 0.0], [x, 0.0]]) for x in (5.0, 0.0, 1.0, 10.0, 5.2)]
    choices = farthest_choice(line, 5)
    # That nearest to the mean, both ends, then what is left between them.
    assert chosen(choices) == [0, 1, 3, 2, 4]
    assert choices[1].value == pytest.approx(5 / np.sqrt(2))
    assert chosen(farthest_choice(line, 2, known=[np.array([[10.0, 0.0]])])) == [1, 0]


def test_a_structure_counts_by_the_mean_of_its_atoms():
    known = [np.zeros((1, 1))]
    one_outlier, both = np.array([[0.0], [3.0]]), np.array([[2.0], [2.0]])
    assert chosen(farthest_choice([one_outlier, both], 1, known)) == [1]


def test_clusters_give_the_typical_one_of_each_kind():
    rng = np.random.default_rng(0)
    kinds = [(0.0, 20), (5.0, 8), (-7.0, 1)]
    features = [np.full((3, 2), x) + rng.normal(0, 0.1, (3, 2)) for x, n in kinds for _ in range(n)]
    choices = cluster_choice(features, 3, seed=1)
    assert [choice.value for choice in choices] == [20, 8, 1]
    assert [index < 20 for index in chosen(choices)] == [True, False, False]
    assert choices[2].index == 28
    assert chosen(choices) == chosen(cluster_choice(features, 3, seed=1))


@pytest.mark.parametrize("n", [1, 4, 5])
def test_clusters_of_equal_structures_are_still_different_ones(n):
    choices = cluster_choice([np.zeros((2, 3))] * 5, n)
    assert len(set(chosen(choices))) == n


def test_the_disputed_come_first():
    spreads = [0.1, np.array([0.0, 0.5]), np.array([[0.2], [0.2]])]
    assert chosen(ensemble_choice(spreads, 3)) == [1, 2, 0]
    with pytest.raises(DataError, match="candidate 1: its spread is nan"):
        ensemble_choice([0.1, np.array([np.nan])], 1)


def test_gaps_are_shared_out():
    contact, pair = sets.short_contact(), sets.unseen_pair()
    usual = sets.crystal("Cu", 500)
    structures = sets.structures([usual, contact, *[pair] * 8])
    around = [environments_of(structure, sets.reference().cutoff) for structure in structures]
    choices = gap_choice(around, sets.reference(), 10)
    order = chosen(choices)
    assert order[0] == 2
    assert order.index(1) < 7  # every copy of the pair is worth half of the one before
    assert order[-1] == 0
    assert choices[-1].reason == "no gaps left"
    assert any("Na-Au" in choice.reason for choice in choices)


def test_known_structures_close_gaps():
    target = sets.structures([sets.unseen_pair(), sets.short_contact()])
    arguments = {"reference": sets.reference()}
    assert chosen(select("gaps", target, 1, **arguments)) == [0]
    assert chosen(select("gaps", target, 1, known=[target[0]] * 30, **arguments)) == [1]


def test_random_is_a_draw_without_repeats():
    assert sorted(chosen(random_choice(7, 7, 1))) == list(range(7))
    assert (
        chosen(random_choice(50, 5, 1)) == chosen(random_choice(50, 5, 1)) != chosen(random_choice(50, 5, 2))
    )


@pytest.mark.parametrize("reference", [True, False])
def test_farthest_finds_the_odd_one_with_the_model(reference):
    frames = [sets.crystal("Cu", seed) for seed in range(600, 610)]
    frames.insert(4, sets.compressed())
    choices = select(
        "farthest",
        sets.structures(frames),
        2,
        potential=sets.potential(),
        reference=sets.reference() if reference else None,
    )
    assert chosen(choices)[1] == 4


@pytest.mark.parametrize(
    ("strategy", "n", "words"),
    [
        ("gaps", 1, "needs the model's reference"),
        ("farthest", 1, "needs a model"),
        ("ensemble", 1, "--spread"),
        ("random", 3, "expected 1 to 2"),
        ("best", 1, "expected one of clusters, farthest, gaps"),
    ],
)
def test_what_is_missing_is_reported(strategy, n, words):
    with pytest.raises(DataError, match=words):
        select(strategy, sets.structures([sets.crystal("Cu", 1), sets.crystal("Cu", 2)]), n)
