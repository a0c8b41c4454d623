import numpy as np
import pytest

from nequix.evaluation.kappa.conductivity import is_unstable, modes_from_pairs
from nequix.evaluation.kappa.srme import (
    WORST,
    symmetric_relative_error,
    symmetric_relative_mean_error,
)

EXACT = 1e-12


def srme(modes, reference, weights):
    n_points = weights.sum()
    kappas = modes.sum() / n_points, reference.sum() / n_points
    return symmetric_relative_mean_error(modes, reference, n_points, *kappas)


@pytest.mark.parametrize(
    ("kappa", "reference", "error"),
    [
        (3.0, 3.0, 0.0),
        (3.0, 1.0, 1.0),
        (1.0, 3.0, 1.0),
        (0.0, 5.0, 2.0),
        (None, 5.0, 2.0),
        (np.nan, 5.0, 2.0),
    ],
)
def test_sre_by_hand(kappa, reference, error):
    assert symmetric_relative_error(kappa, reference) == pytest.approx(error, abs=EXACT)


def test_srme_of_equal_modes_is_zero():
    modes = np.random.default_rng(0).uniform(0, 1, (4, 3))
    assert srme(modes, modes, np.array([1, 2, 3, 2])) == 0.0


def test_srme_sees_errors_of_modes_that_cancel():
    modes, reference = np.array([[8.0, 0.0]]), np.array([[0.0, 8.0]])
    assert srme(modes, reference, np.array([4])) == pytest.approx(WORST, abs=EXACT)
    modes = np.array([[6.0, 2.0]])  # |6 - 0| + |2 - 8| = 12, twice that over 8 + 8
    assert srme(modes, reference, np.array([4])) == pytest.approx(1.5, abs=EXACT)


def test_srme_of_modes_in_proportion_is_the_error_of_their_sum():
    reference = np.random.default_rng(1).uniform(0, 1, (5, 6))
    weights = np.arange(1, 6)
    assert srme(3 * reference, reference, weights) == pytest.approx(1.0, abs=EXACT)


def test_srme_refuses_another_mesh():
    with pytest.raises(ValueError, match="primitive cell"):
        srme(np.ones((3, 3)), np.ones((4, 3)), np.ones(3))


def test_pairs_are_shared_by_heat_capacity():
    pairs = np.zeros((1, 2, 2, 6))
    pairs[0, 0, 0], pairs[0, 1, 1] = 5.0, 7.0
    pairs[0, 0, 1] = pairs[0, 1, 0] = 2.0
    modes = modes_from_pairs(pairs, np.array([[3.0, 1.0]]))
    np.testing.assert_allclose(modes[0, :, 0], [5 + 2 * 2 * 1 / 4, 7 + 2 * 2 * 3 / 4], rtol=EXACT)
    assert modes.sum() == pytest.approx(pairs.sum(), rel=EXACT)


def test_pairs_without_heat_capacity_count_nothing():
    pairs = np.ones((1, 2, 2, 6))
    modes = modes_from_pairs(pairs, np.zeros((1, 2)))
    np.testing.assert_array_equal(modes, 0.0)


@pytest.mark.parametrize(
    ("gamma", "other", "unstable"),
    [
        ([0, 0, 0, 5, 5, 5], [1, 1, 2, 5, 5, 6], False),
        ([-0.009, 0, 0, 5, 5, 5], [1, 1, 2, 5, 5, 6], False),
        ([-0.011, 0, 0, 5, 5, 5], [1, 1, 2, 5, 5, 6], True),
        ([0, 0, 0, -0.001, 5, 5], [1, 1, 2, 5, 5, 6], True),
        ([0, 0, 0, 5, 5, 5], [-0.001, 1, 2, 5, 5, 6], True),
        ([np.nan] * 6, [np.nan] * 6, True),
    ],
)
def test_imaginary_modes_by_hand(gamma, other, unstable):
    assert is_unstable(np.array([gamma, other], float)) is unstable
