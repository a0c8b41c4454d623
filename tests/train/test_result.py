"""From raw data to a trained file to equal predictions in both engines."""

import ase.io
import numpy as np
import pytest

from nequix import NequixCalculator
from nequix.train.config import read_config
from nequix.train.loop import MODEL, Run
from tests.tolerances import PARITY_FLOAT64
from tests.train.emt import write_config


def test_a_trained_file_predicts_the_same_in_both_engines(tmp_path):
    run = Run(read_config(write_config(tmp_path, 24, epochs=2, ema_decay=0.5)), tmp_path / "run")
    losses = []
    assert run.train(lambda step, n_steps, values: losses.append(values["loss"]))
    assert len(losses) == run.n_steps
    atoms = ase.io.read(tmp_path / "data.extxyz", 0)
    results = []
    for backend in ("jax", "torch"):
        atoms.calc = NequixCalculator(tmp_path / "run" / MODEL, backend, dtype="float64", kernel="plain")
        results.append((atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()))
    assert np.abs(results[0][1]).max() > 0.01
    for one, other in zip(*results, strict=True):
        assert one == pytest.approx(other, rel=PARITY_FLOAT64, abs=PARITY_FLOAT64)
