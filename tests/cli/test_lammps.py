"""``nequix lammps``: model files and what LAMMPS is built with."""

import pytest
from typer.testing import CliRunner

from nequix.cli import app
from nequix.core.errors import BackendUnavailable, WeightsError
from nequix.io.catalogue import load_weights
from nequix.lammps import installed
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
    with pytest.raises(WeightsError, match="already exists"):
        invoke("export", "nequix-nano", target)
    with pytest.raises(WeightsError, match=r"must end in \.lammps"):
        invoke("export", "nequix-nano", tmp_path / "nano.bin")


def test_sources_hold_all_that_a_program_needs(tmp_path):
    assert f"{tmp_path}: " in invoke("sources", tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"nequix.h", "pair_nequix.h", "pair_nequix.cpp", "pair_nequix_model.cpp", "main.cpp"} < names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Parallel Simulator - 22 Jul 2025 - Update 4\nGit info", (20250722, 4)),
        ("Parallel Simulator - 2 Aug 2023\n", (20230802, 0)),
    ],
)
def test_version_of_lammps(text, expected):
    assert installed.parse_version(text) == expected
    with pytest.raises(BackendUnavailable, match="no version of LAMMPS"):
        installed.parse_version("usage: lmp")


@pytest.mark.parametrize(
    ("help_text", "words"),
    [
        ("Simulator - 2 Aug 2023\n-DLAMMPS_SMALLBIG\n", "without its package PLUGIN"),
        ("Simulator - 2 Aug 2023\n", "no sizes of integers"),
        ("nothing", "no version of LAMMPS"),
    ],
)
def test_unfit_lammps_is_refused(help_text, words, tmp_path):
    program = tmp_path / "lmp"
    program.write_text(f"#!/bin/sh\nprintf '{help_text}'\n")
    program.chmod(0o755)
    for name in ("pair.h", "mpi.h"):
        (tmp_path / name).touch()
    with pytest.raises(BackendUnavailable, match=words):
        invoke("build", tmp_path / "plugin", "--lmp", program, "--headers", tmp_path, "--mpi", tmp_path)
    assert not (tmp_path / "plugin").exists()


def test_missing_headers_are_named(tmp_path):
    program = tmp_path / "lmp"
    program.write_text("#!/bin/sh\necho Simulator - 2 Aug 2023 -DLAMMPS_SMALLBIG PLUGIN\n")
    program.chmod(0o755)
    with pytest.raises(BackendUnavailable, match="--headers"):
        invoke("build", tmp_path, "--lmp", program, "--headers", tmp_path)
    with pytest.raises(BackendUnavailable, match="--lmp"):
        invoke("build", tmp_path, "--lmp", tmp_path / "none", "--headers", tmp_path)
