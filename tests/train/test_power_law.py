"""Learning curves: known laws are found, and what they cannot say is refused."""

import numpy as np
import pytest

from nequix.core.errors import DataError
from nequix.finetune.power_law import FURTHEST, answer, fit

SIZES = np.repeat([10, 20, 50, 100, 200, 400], 3)


def noisy(a, alpha, b, noise=0.03, sizes=SIZES, seed=0):
    rng = np.random.default_rng(seed)
    return (a * sizes**-alpha + b) * np.exp(rng.normal(0, noise, len(sizes)))


@pytest.mark.parametrize(("a", "alpha", "b"), [(300, 0.5, 5), (150, 0.3, 0.0), (2000, 1.2, 20)])
def test_a_known_law_is_found(a, alpha, b):
    exact = fit(SIZES, noisy(a, alpha, b, 0.0))
    np.testing.assert_allclose(exact(SIZES), noisy(a, alpha, b, 0.0), rtol=1e-4)
    np.testing.assert_allclose(exact.parameters, [a, alpha, b], rtol=0.01, atol=0.1)
    law = fit(SIZES, noisy(a, alpha, b))
    np.testing.assert_allclose(law([20, 200]), a * np.array([20, 200]) ** -alpha + b, rtol=0.06)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    truth, target = (300, 0.6, 4.0), 12.0
    n = (truth[0] / (target - truth[2])) ** (1 / truth[1])
    held = []
    for seed in range(20):
        law = fit(SIZES, noisy(*truth, seed=seed))
        low, high = law.interval(600)
        held.append(low <= truth[0] * 600 ** -truth[1] + truth[2] <= high)
        said = answer(law, target)
        if said.n is not None:
            assert said.interval[0] <= said.n <= said.interval[1]
            assert said.n == pytest.approx(n, rel=0.4)
    assert np.mean(held) >= 0.7  # nominally 0.9; of 20, chance alone gives fewer than 14 once in 400 times


def test_the_answer_is_where_the_law_reaches_the_target():
    law = fit(SIZES, noisy(300, 0.6, 4.0, 0.01))
    said = answer(law, 11.0)
    assert said.n == pytest.approx((300 / 7.0) ** (1 / 0.6), rel=0.1)
    assert "more than there are" in said.reason
    assert "reached already" in answer(law, 40.0).reason


@pytest.mark.parametrize(
    ("errors", "target", "reason"),
    [
        (noisy(300, 0.6, 30.0), 25.0, "may be .* not surely above"),
        (noisy(300, 0.3, 0.0, 0.005), 20.0, "too far to extrapolate"),
        (noisy(0.001, 0.5, 50.0), 40.0, "flat"),
        (noisy(300, 0.5, 0.0)[::-1], 10.0, "flat"),
    ],
    ids=["floor", "far", "flat", "growing"],
)
def test_what_the_fit_cannot_support_is_refused(errors, target, reason):
    said = answer(fit(SIZES, errors), target)
    assert said.n is None
    assert pytest.approx(said.target) == target
    import re

    assert re.search(reason, said.reason)


def test_the_furthest_that_is_answered_is_a_multiple_of_the_data():
    law = fit(SIZES, noisy(300, 0.6, 1.0, 0.002))
    within, beyond = (float(law(factor * FURTHEST * 400)) for factor in (0.9, 1.1))
    assert answer(law, within).n == pytest.approx(0.9 * FURTHEST * 400, rel=1e-6)
    assert answer(law, beyond).n is None


def test_too_few_sizes_are_refused():
    with pytest.raises(DataError, match="3 different numbers of structures, expected 4"):
        fit([10, 20, 20, 50], [4.0, 3.0, 3.0, 2.0])
    with pytest.raises(DataError, match="positive"):
        fit([10, 20, 50, 100], [4.0, 3.0, np.nan, 2.0])
