"""The command line, run in this process."""

import sys

import pytest
from ase.io import write

from nequix import NequixCalculator, cli
from tests.calculator import small


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command; return its exit code, and what it printed on either stream."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["nequix", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        output = capsys.readouterr()
        return caught.value.code, output.out, output.err

    return run


@pytest.fixture
def small_files(tmp_path, monkeypatch):
    """Work in a folder with a small model and a few structures."""
    monkeypatch.chdir(tmp_path)
    small.write_small(tmp_path)
    write("salt.extxyz", [small.salt(), small.water(), small.slab()])
    write("oxide.cif", small.triclinic())


@pytest.fixture(scope="module")
def calc():
    """Make a calculator of the small model."""
    return NequixCalculator(small.WEIGHTS, "torch", dtype="float64")
