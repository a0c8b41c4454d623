"""The guard: what stops a run, and what does not."""

import json

import numpy as np
import pytest

from nequix.core.errors import DataError
from nequix.train.divergence import LEAST, DivergenceMonitor, StopConfig


@pytest.fixture
def path(tmp_path):
    return tmp_path / "bad.json"


def usual(guard, n=50, start=1):
    for step in range(start, start + n):
        guard.judge(step, {"loss": 1.0}, ["fine"])


@pytest.mark.parametrize("name", ["loss", "gradient_norm"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stops_at_once(path, name, value):
    guard = DivergenceMonitor(StopConfig(), path)
    with pytest.raises(DataError, match=r"step 3: the loss is not finite .*bad\.json"):
        guard.judge(3, {"loss": 1.0, "gradient_norm": 1.0, name: value}, ["a.xyz:1", "a.xyz:7"])
    (told,) = json.loads(path.read_text())
    assert (told["step"], told["names"]) == (3, ["a.xyz:1", "a.xyz:7"])
    assert told["metrics"][name] == repr(value)


def test_an_exploding_loss_stops_and_names_the_structures_of_all_its_steps(path):
    guard = DivergenceMonitor(StopConfig(factor=10, steps=3), path)
    usual(guard)
    guard.judge(51, {"loss": 11.0}, ["first"])
    guard.judge(52, {"loss": 200.0}, ["second"])
    with pytest.raises(DataError, match="step 53: the loss explodes: 3 steps above 10 times the usual 1"):
        guard.judge(53, {"loss": 3000.0}, ["third"])
    assert [(bad["step"], bad["names"]) for bad in json.loads(path.read_text())] == [
        (51, ["first"]), (52, ["second"]), (53, ["third"]),
    ]  # fmt: skip


def test_spikes_and_noise_do_not_stop(path):
    """Losses over four decades with heavy tails, as of small batches with a few absurd labels."""
    rng = np.random.default_rng(0)
    losses = 100 * np.exp(-np.arange(5000) / 500) * rng.lognormal(0, 1, 5000)
    losses[rng.random(5000) < 0.01] *= 1000
    guard = DivergenceMonitor(StopConfig(), path)
    for step, loss in enumerate(losses, 1):
        guard.judge(step, {"loss": float(loss)}, [])
    assert not path.exists()


def test_nothing_is_usual_at_first(path):
    guard = DivergenceMonitor(StopConfig(factor=2, steps=1), path)
    for step in range(1, LEAST + 1):
        guard.judge(step, {"loss": 10.0**step}, [])


def test_a_run_that_resumes_knows_what_was_usual(path):
    guard = DivergenceMonitor(StopConfig(factor=10, steps=1), path, [1.0] * 500)
    with pytest.raises(DataError, match="explodes"):
        guard.judge(501, {"loss": 11.0}, [])
