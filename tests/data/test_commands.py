"""The commands of ``nequix data``: exit codes, what is printed, what is stored."""

import json
import subprocess
import sys

import pytest

from nequix.data.opening import open_source
from tests.data.sets import relabelled, saved, strained_copper


@pytest.fixture
def frames():
    return strained_copper(40)


@pytest.fixture
def run():
    def run(*arguments):
        command = [sys.executable, "-c", "from nequix.cli import main; main()", "data", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    return run


def test_check_exits_with_one_only_for_errors(run, tmp_path, frames):
    good = saved(tmp_path / "good.extxyz", frames)
    outcome = run("check", good)
    assert (outcome.returncode, outcome.stdout.splitlines()[0]) == (0, "0 errors, 0 warnings")
    bad = saved(tmp_path / "bad.extxyz", [*frames, frames[0]])
    outcome = run("check", bad, "-o", tmp_path / "report.json")
    assert outcome.returncode == 1
    assert "duplicate" in outcome.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["errors"], report["findings"][0]["rule"]) == (1, "duplicate")
    assert json.loads(run("check", bad, "--json").stdout) == report
    outcome = run("check", bad, "-o", tmp_path / "report.json")
    assert (outcome.returncode, "already exists" in outcome.stderr) == (1, True)


def test_an_unknown_backend_is_refused(run, tmp_path, frames):
    outcome = run(
        "check", saved(tmp_path / "set.extxyz", frames), "--model", "nequix-nano", "--backend", "foo"
    )
    assert (outcome.returncode, "--backend" in outcome.stderr) == (2, True)
    assert "Traceback" not in outcome.stderr


def test_stats_are_printed_and_stored(run, tmp_path, frames):
    data = saved(tmp_path / "set.extxyz", frames)
    (tmp_path / "energies.json").write_text('{"Cu": -3.0}')
    outcome = run(
        "stats", data, "--cutoff", 4, "--batch-size", 8, "-o", tmp_path / "stats.json",
        "--atom-energies", tmp_path / "energies.json",
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    stored = json.loads((tmp_path / "stats.json").read_text())
    assert stored == json.loads(outcome.stdout)
    assert stored["atom_energies"] == {"Cu": -3.0}
    assert stored["packing"]["budget"].keys() == {"n_nodes", "n_tiles", "n_graphs"}
    (tmp_path / "energies.json").write_text('{"Xx": -3.0}')
    outcome = run("stats", data, "--atom-energies", tmp_path / "energies.json")
    assert (outcome.returncode, "not the symbol of an element" in outcome.stderr) == (1, True)


def test_convert_takes_keys(run, tmp_path, frames):
    for atoms in frames:
        atoms.info["pbe"] = -1.0
    data = saved(tmp_path / "set.extxyz", frames)
    outcome = run("convert", data, "-o", tmp_path / "out", "--energy-key", "pbe")
    told = f"{tmp_path}/out: 40 structures, 40 with an energy, 40 with forces, 40 with a stress\n"
    assert (outcome.returncode, outcome.stdout) == (0, told)
    assert open_source(tmp_path / "out")[0].energy == -1.0
    outcome = run("convert", data, "-o", tmp_path / "wrong", "--energy-key", "bpe")
    assert outcome.returncode == 1
    assert "'bpe', named for energy; set.extxyz:0 has energy, pbe" in " ".join(outcome.stderr.split())


def test_stats_warns_of_a_structure_that_sets_the_scale(tmp_path, run):
    frames = strained_copper(12)
    frames[4] = relabelled(frames[4], forces=1e4 * frames[4].calc.results["forces"])
    outcome = run("stats", saved(tmp_path / "set.extxyz", frames), "--cutoff", 4)
    assert outcome.returncode == 0
    assert json.loads(outcome.stdout)["outliers"].keys() == {"set.extxyz:4"}
    assert "is set by the forces of 1 of 12 structures: set.extxyz:4" in outcome.stderr


def test_stats_refuse_a_named_key_that_no_structure_has(run, frames, tmp_path):
    data = saved(tmp_path / "data.extxyz", frames)
    outcome = run("stats", data, "--energy-key", "pbe_energy")
    assert outcome.returncode == 1
    assert "has the key 'pbe_energy', named for energy" in outcome.stderr


def test_stats_of_data_without_labels_say_what_is_not_fitted(run, tmp_path):
    frames = strained_copper(3)
    for atoms in frames:
        atoms.calc = None
    outcome = run("stats", saved(tmp_path / "bare.extxyz", frames), "--cutoff", 4)
    assert outcome.returncode == 0, outcome.stderr
    stats, said = json.loads(outcome.stdout), " ".join(outcome.stderr.split())
    assert [stats[f"n_{label}"] for label in ("structures", "energies", "forces", "stresses")] == [3, 0, 0, 0]
    assert (stats["shift"], stats["scale"], stats["atom_energies"]) == (0.0, 1.0, {"Cu": 0.0})
    assert "none of the 3 structures has an energy: shift and atom_energies are not fitted" in said
    assert "none of the 3 structures has forces: scale is a placeholder" in said
    for option in ("--energy-key", "--forces-key"):
        assert option in said
    # A key that is named must be somewhere.
    outcome = run("stats", tmp_path / "bare.extxyz", "--cutoff", 4, "--energy-key", "dft_energy")
    assert (outcome.returncode, "dft_energy" in outcome.stderr) == (1, True)
    assert "Traceback" not in outcome.stderr
