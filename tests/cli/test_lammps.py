"""``nequix lammps export``: model files for C and C++ programs."""

import pytest
from typer.testing import CliRunner

from nequix.cli import app
from nequix.core.errors import WeightsError
from nequix.io.catalogue import load_weights
from nequix.native.export import serialize


def invoke(*arguments):
    result = CliRunner().invoke(app, ["lammps", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def test_export_writes_the_file_that_it_names(tmp_path):
    target = tmp_path / "nano.lammps"
    assert f"{target}: nequix-nano, 2" in invoke("export", "nequix-nano", target, "--precision", "single")
    assert target.read_bytes() == b"".join(serialize(load_weights("nequix-nano"), ["float32"]))
    with pytest.raises(WeightsError, match="exists already"):
        invoke("export", "nequix-nano", target)
    with pytest.raises(WeightsError, match=r"must end in \.lammps"):
        invoke("export", "nequix-nano", tmp_path / "nano.bin")
