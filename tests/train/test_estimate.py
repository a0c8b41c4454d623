"""Estimates of a run: no compilation in the time of an epoch."""

import time

import pytest

from nequix.train import estimate
from nequix.train.estimate import time_steps


@pytest.mark.parametrize("n_left", [1, 2, 50])
def test_the_step_that_compiles_is_not_in_the_time(monkeypatch, n_left):
    monkeypatch.setattr(estimate, "LEAST_SECONDS", 0.0)
    data, taken = iter(range(n_left)), []

    def take(batch):
        time.sleep(0.01 if taken else 0.3)
        taken.append(batch)

    compilation, step = time_steps(lambda: next(data), take, n_left, 3)
    assert compilation >= 0.3
    assert 0.01 <= step < 0.2
    assert taken == [0, *range(min(n_left, 3))]
