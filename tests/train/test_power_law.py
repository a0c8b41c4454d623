"""Learning curves: known laws are found, and what they cannot say is refused."""

import dataclasses
import json

import numpy as np
import pytest

from nequix.core.errors import DataError
from nequix.core.parameters import initialise
from nequix.finetune import curve
from nequix.finetune.config import configure
from nequix.finetune.curve import sentence
from nequix.finetune.power_law import FURTHEST, Answer, answer, fit
from nequix.io.weights import Provenance, Weights
from tests.train.emt import write_data
from tests.train.test_finetune import SPEC

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
    assert np.mean(held) >= 0.7  # nominally 0.9; of 20, pure chance gives fewer than 14 once in 400 times


def test_the_answer_is_where_the_law_reaches_the_target():
    law = fit(SIZES, noisy(300, 0.6, 4.0, 0.01))
    said = answer(law, 11.0)
    assert said.n == pytest.approx((300 / 7.0) ** (1 / 0.6), rel=0.1)
    assert "more than there are" in said.reason
    assert "reached already" in answer(law, 40.0).reason


@pytest.mark.parametrize(
    ("errors", "target", "reason"),
    [
        (noisy(300, 0.6, 30.0), 25.0, "may be .* may be below it"),
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
    law = fit(SIZES, noisy(300, 0.6, 1.0, 0.0002))
    within, beyond = (float(law(factor * FURTHEST * 400)) for factor in (0.9, 1.1))
    assert answer(law, within).n == pytest.approx(0.9 * FURTHEST * 400, rel=1e-6)
    assert answer(law, beyond).n is None


SILICON = {
    10: (109.794, 100.212, 101.318),
    20: (86.131, 87.378, 87.825),
    50: (75.711, 75.823, 76.081),
    100: (70.614, 69.251, 71.714),
    190: (66.970, 66.705, 65.878),
}
"""Force errors (meV/A) of three draws, as docs/finetuning.md shows them."""


def test_an_interval_that_ends_too_far_is_refused_with_its_lower_end():
    law = fit(
        [n for _ in range(3) for n in SILICON], [SILICON[n][draw] for draw in range(3) for n in SILICON]
    )
    np.testing.assert_allclose(law.parameters, [193, 0.65, 60.6], rtol=0.01)
    within = answer(law, 66.0)
    assert (round(within.n), [round(n) for n in within.interval]) == (239, [177, 560])
    assert within.interval[1] < FURTHEST * 190
    refused = answer(law, 65.0)
    assert refused.n is None
    assert refused.interval[1] > FURTHEST * 190 > 328  # the fit by itself says 328
    assert (
        "at least 220 structures; the fit cannot say how many, as its interval ends at 1536" in refused.reason
    )
    assert "may be below it" in answer(law, 50.0).reason
    assert "reached with the 190 there are, but not surely" in answer(law, 67.0).reason
    assert answer(law, 70.0).reason == "reached already"


@pytest.mark.parametrize(("n_above", "reason"), [(30, "may be below it"), (15, "its interval has no end")])
def test_an_interval_without_an_end_is_refused(n_above, reason):
    law = fit(SIZES, noisy(300, 0.5, 5.0, 0.0))
    floors = np.where(np.arange(len(law.resampled)) < n_above, 21.0, 5.0)
    law = dataclasses.replace(law, resampled=np.column_stack([law.resampled[:, :2], floors]), largest=200)
    said = answer(law, 20.9)
    assert said.n is None
    assert reason in said.reason


def test_an_error_that_is_reached_needs_no_slope():
    flat = fit([10, 20, 50, 100] * 2, [30, 30.1, 29.9, 30, 30.2, 29.8, 30.1, 30])
    said = answer(flat, 50.0)
    assert (said.n, said.interval) == (10, (10, 10))
    assert said.reason == "reached with 10, the smallest size"
    assert "50 meV/A: 10 structures: reached with 10" in sentence(flat, said)
    assert "flat" in answer(flat, 29.0).reason


def test_no_answer_is_below_the_smallest_size():
    law = fit([10, 20, 50, 100] * 2, [80, 60, 45, 35, 82, 61, 44, 36])
    said = answer(law, 500.0)
    assert (said.n, said.interval) == (10, (10, 10))
    said = answer(law, 81.0)
    assert said.interval[0] >= 10


def test_an_interval_without_an_end_is_null_in_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path / "data.extxyz", 30)
    parent = Weights(SPEC, initialise(SPEC, 3), Provenance(name="little"))
    config = configure(parent, "parent", "head", ["data.extxyz"])
    errors = iter([80.0, 60.0, 45.0, 35.0])
    monkeypatch.setattr(curve, "read_weights", lambda path: parent)
    monkeypatch.setattr(curve, "force_error", lambda *_: next(errors))
    monkeypatch.setattr(curve, "answer", lambda law, target: Answer(target, None, (220.0, np.inf), "far"))
    curve.conclude(config, tmp_path, [6, 10, 14, 18], 1, 30.0)
    content = json.loads((tmp_path / "curve.json").read_text(), parse_constant=pytest.fail)
    assert content["answer"]["interval"] == [220.0, None]


def test_too_few_sizes_are_refused():
    with pytest.raises(DataError, match="3 different numbers of structures, expected at least 4"):
        fit([10, 20, 20, 50], [4.0, 3.0, 3.0, 2.0])
    with pytest.raises(DataError, match="positive"):
        fit([10, 20, 50, 100], [4.0, 3.0, np.nan, 2.0])
