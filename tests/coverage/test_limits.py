import dataclasses

import pytest
from ase.data import covalent_radii

from nequix.coverage.build import tally
from nequix.coverage.limits import distance_limits
from nequix.coverage.reference import shortest_distances
from tests.coverage import sets

NUMBERS = (6, 8, 11, 14, 29, 79)


def test_limits_follow_the_shortest_distance_where_the_pair_is_well_known():
    limits, known = distance_limits(sets.reference(), NUMBERS), shortest_distances(sets.reference())
    assert len(limits) == 21
    for pair in ((29, 29), (14, 14), (6, 14)):
        assert limits[pair] == pytest.approx(0.95 * known[pair])


def test_limits_follow_the_radii_where_the_pair_is_unknown():
    limits = distance_limits(sets.reference(), NUMBERS)
    for pair in ((8, 29), (11, 79)):
        assert limits[pair] == pytest.approx(0.65 * covalent_radii[list(pair)].sum())


def test_no_structure_of_the_data_is_below_a_limit():
    reference = sets.reference().with_also(tally(sets.structures([sets.short_contact()]), 4.0))
    limits = distance_limits(reference, NUMBERS)
    assert all(
        limits[pair] < distance for pair, distance in shortest_distances(reference).items() if pair in limits
    )


def test_a_few_structures_narrow_a_limit_less():
    few = tally(sets.structures([sets.crystal("Cu", seed) for seed in range(12)]), 4.0)
    histograms, shortest = few.histograms(), few.shortest
    reference = dataclasses.replace(sets.reference(), histograms=histograms, shortest=shortest)
    assert distance_limits(reference, [29])[29, 29] == pytest.approx(0.9 * few.shortest[29, 29])
