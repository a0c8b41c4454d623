"""Names of devices, and that both engines refuse the same ones with advice."""

import importlib

import pytest

from nequix.core.errors import BackendUnavailable
from nequix.devices import parse_device


def test_names_are_split():
    assert parse_device("cpu") == ("cpu", 0)
    assert parse_device("gpu:3") == ("gpu", 3)


@pytest.mark.parametrize("name", ["meta", "cpu:-1", "mps", "gpu:", "", 0, "cpu:x"])
@pytest.mark.parametrize("engine", ["jax", "torch"])
def test_other_names_are_refused_by_both_engines(engine, name):
    find_device = importlib.import_module(f"nequix.{engine}").find_device
    with pytest.raises(BackendUnavailable, match="choose 'cpu', 'gpu'"):
        find_device(name)


@pytest.mark.parametrize("name", ["cpu:99", "tpu:7"])
@pytest.mark.parametrize("engine", ["jax", "torch"])
def test_absent_devices_are_refused_by_both_engines(engine, name):
    find_device = importlib.import_module(f"nequix.{engine}").find_device
    with pytest.raises(BackendUnavailable, match="there are: cpu"):
        find_device(name)
