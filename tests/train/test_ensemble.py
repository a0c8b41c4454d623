"""Ensembles of fine-tunings: calibration of known spreads, members that differ, and what a folder keeps."""

import dataclasses
import json
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from scipy.stats import norm

from nequix import NequixEnsembleCalculator, cli
from nequix.core.errors import DataError
from nequix.core.parameters import initialise
from nequix.data.opening import open_source
from nequix.data.structure import Structure, to_atoms
from nequix.finetune.calibration import Pairs, calibrate, coverage, fit_scale, miscalibration_area
from nequix.finetune.config import configure
from nequix.finetune.curve import check_curve
from nequix.finetune.ensemble import conclude, member_configs, why_uncalibrated
from nequix.finetune.opening import open_fine_tuning
from nequix.graphs.results import EnsembleResults, Results
from nequix.io.ensemble import read_ensemble
from nequix.io.weights import Provenance, Weights, read_weights, write_weights
from nequix.train.loop import MODEL
from nequix.workflows import fine_tuning
from tests.train.emt import write_data
from tests.train.test_finetune import SPEC


def gaussian(scale, n=40000):
    """Errors whose standard deviation is a factor times their spread."""
    rng = np.random.default_rng(0)
    spreads = rng.uniform(0.01, 1, n)
    return Pairs(np.abs(rng.normal(0, scale * spreads)), spreads, np.arange(n) // 10)


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_the_scale_of_gaussian_errors_is_found(scale):
    pairs = gaussian(scale)
    assert fit_scale(pairs) == pytest.approx(scale, rel=0.02)
    assert miscalibration_area(pairs, scale) < 0.005


def test_the_area_is_that_between_the_curves():
    pairs = gaussian(2.0)
    parts = np.linspace(0, 1, 2001)
    expected = 2 * norm.cdf(norm.ppf((1 + parts) / 2) / 2) - 1
    assert miscalibration_area(pairs) == pytest.approx(np.mean(np.abs(expected - parts)), abs=0.005)
    assert coverage(pairs, 2.0)[68] == pytest.approx(0.68, abs=0.01)


def pair(rng, n_atoms, spread, scale):
    """An ensemble of four whose mean errs by a factor times the spread, and the labels."""
    numbers, positions = np.full(n_atoms, 29), rng.uniform(0, 3, (n_atoms, 3))
    forces = rng.normal(0, spread, (4, n_atoms, 3))
    energy = rng.normal(0, spread * n_atoms, (4, 1))
    members = tuple(
        Results(e, np.zeros(n_atoms), f, np.zeros((1, 3, 3))) for e, f in zip(energy, forces, strict=True)
    )
    labels = forces.mean(0) + rng.normal(0, scale * spread, (n_atoms, 3))
    label = energy.mean() + rng.normal(0, scale * spread * n_atoms)
    structure = Structure(numbers, positions, 3 * np.eye(3), np.ones(3, bool), label, labels, None, "made")
    return structure, EnsembleResults(members)


def test_a_calibration_tells_what_was_planted():
    rng = np.random.default_rng(1)
    pairs = [pair(rng, 20, spread, 3.0) for spread in rng.uniform(0.05, 0.5, 200)]
    structures, results = zip(*pairs, strict=True)
    found = calibrate("made", structures, results)
    # The spread of four members is itself uncertain, by 4 % here on average over its distribution.
    assert found.forces_scale == pytest.approx(3.0, rel=0.12)
    assert found.forces_area_scaled < 0.03 < found.forces_area
    assert found.energy_scale == pytest.approx(3.0, rel=0.5)
    assert found.forces_rank_correlation > 0.3
    assert found.forces_limit == max(result.forces_spread.max() for result in results)
    with pytest.raises(DataError, match="3 structures with forces"):
        calibrate("made", structures[:3], results[:3])


def test_halves_are_of_structures_that_have_labels():
    rng = np.random.default_rng(2)
    pairs = [pair(rng, 20, 0.2, 1.0) for _ in range(8)]
    pairs = [(s if n % 2 else dataclasses.replace(s, energy=None), r) for n, (s, r) in enumerate(pairs)]
    found = calibrate("made", *zip(*pairs, strict=True))
    assert np.isfinite([x for x in dataclasses.asdict(found).values() if not isinstance(x, str)]).all()


CONFIG = """
data: {batch_size: 8, valid_fraction: 0.2}
optimizer: {learning_rate: 0.02}
run: {epochs: 2, ema_decay: 0.5}
log: {figures: false}
"""


def test_members_differ_and_are_calibrated_together(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_data(Path("data.extxyz"))
    Path("config.yml").write_text(CONFIG)
    write_weights("parent.safetensors", SPEC, initialise(SPEC, 3), Provenance(name="little"))
    command = ["nequix", "finetune", "data.extxyz", "-o", "run", "--from", "parent.safetensors"]
    monkeypatch.setattr(sys, "argv", [*command, "--config", "config.yml", "--ensemble", "2"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 0
    members, calibration = read_ensemble("run")
    assert calibration.n_structures == 8
    assert "8 structures of data.extxyz, held out from training" in capsys.readouterr().out
    assert Path("run/reliability.png").stat().st_size > 0
    names = {name for name, x in members[0].parameters.items() if (x != members[1].parameters[name]).any()}
    assert {name.split(".")[0] for name in names} == {"readout", "layers"}  # the baseline is that of all
    assert not any(name.startswith("layers.0") for name in names)
    assert [member.provenance.extra["ensemble_member"] for member in members] == ["0", "1"]

    # Both validate on the same structures, and draw others to train on.
    configs = [json.loads(Path(f"run/member-{n}/config.json").read_text()) for n in (0, 1)]
    assert [config.pop("member") for config in configs] == [0, 1]
    assert configs[0] == configs[1]

    atoms = to_atoms(open_source("data.extxyz")[0])
    calculator = NequixEnsembleCalculator("run", "torch")
    assert calculator.get_property("forces_spread", atoms).max() > 0
    before = {path: path.stat().st_mtime_ns for path in Path("run").glob("member-*/*")}
    with pytest.raises(SystemExit):
        cli.main()  # complete members are left as they are
    assert before == {path: path.stat().st_mtime_ns for path in Path("run").glob("member-*/*")}

    # Other data hold out other structures, some of which the members were trained on.
    ase.io.write("data.extxyz", ase.io.read("data.extxyz", ":")[::-1])
    calibrated = Path("run/ensemble.json").read_bytes()
    with pytest.raises(SystemExit):
        cli.main()
    assert "data.extxyz: changed since the run in run/member-0 began" in capsys.readouterr().err
    assert Path("run/ensemble.json").read_bytes() == calibrated


def test_members_have_the_same_baseline_whatever_they_draw(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_data(Path("data.extxyz"), 24)
    frames = ase.io.read("data.extxyz", ":")
    rare = frames[0].copy()
    rare.numbers[:] = 8
    rare.calc = SinglePointCalculator(rare, energy=-3.0, forces=np.zeros((len(rare), 3)))
    ase.io.write("data.extxyz", [*frames[:5], rare, *frames[5:]])
    Path("config.yml").write_text("data: {valid_fraction: 0}")
    parent = Weights(SPEC, initialise(SPEC, 3), Provenance(name="little"))
    config = configure(parent, "parent", "head", ["data.extxyz"], path="config.yml")
    single, drawn = open_fine_tuning(config, parent, tmp_path / "single"), set()
    for number, own in member_configs(config, 2).items():
        member = open_fine_tuning(own, parent, tmp_path / number)
        assert member.change == pytest.approx(single.change, abs=1e-9)
        drawn.add(8 in member.statistics.atomic_numbers)
    assert len(drawn) == 2  # one has drawn the rare one, one has not


def finished_members(n=2):
    """Members of an ensemble as complete runs leave them, without training."""
    for number in range(n):
        folder = Path(f"run/member-{number}")
        folder.mkdir(parents=True)
        drawn = {**initialise(SPEC, 3), "readout.0e": initialise(SPEC, 4 + number)["readout.0e"]}
        write_weights(folder / MODEL, SPEC, drawn, Provenance(name="little"))


@pytest.mark.parametrize(
    ("kept", "options", "reason"),
    [
        (("energy", "forces"), {"n": 12}, "3 structures of data.extxyz, held out from training have forces"),
        (("energy",), {"n": 30}, "0 structures of data.extxyz, held out from training have forces"),
        (("forces",), {"n": 30}, "0 structures of data.extxyz, held out from training have energies"),
        (("energy", "forces"), {"n": 12, "valid_fraction": 0.0}, "nothing is held out"),
    ],
    ids=["few", "no forces", "no energies", "none"],
)
def test_an_ensemble_that_cannot_be_calibrated_is_kept(tmp_path, monkeypatch, capsys, kept, options, reason):
    monkeypatch.chdir(tmp_path)
    write_data(Path("all.extxyz"), options["n"])
    frames = ase.io.read("all.extxyz", ":")
    for atoms in frames:
        atoms.calc.results = {n: x for n, x in atoms.calc.results.items() if n in kept}
    ase.io.write("data.extxyz", frames)
    Path("config.yml").write_text(f"data: {{valid_fraction: {options.get('valid_fraction', 0.2)}}}\n")
    write_weights("parent.safetensors", SPEC, initialise(SPEC, 3), Provenance(name="little"))
    finished_members()
    begun = []
    monkeypatch.setattr(fine_tuning, "_train_all", lambda *_: begun.append(capsys.readouterr().err) or True)
    command = ["nequix", "finetune", "data.extxyz", "-o", "run", "--from", "parent.safetensors"]
    monkeypatch.setattr(sys, "argv", [*command, "--config", "config.yml", "--ensemble", "2"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 0
    assert f"warning: the ensemble will not be calibrated: {reason}" in begun[0]
    assert "--valid" in begun[0]
    out = capsys.readouterr().out
    assert f"2 members, not calibrated: {reason}" in out
    assert "train in another folder" in out
    members, calibration = read_ensemble("run")
    assert (len(members), calibration) == (2, None)
    calculator = NequixEnsembleCalculator("run", "torch")
    assert calculator.calibration is None
    assert calculator.get_property("forces_spread", frames[0]).max() > 0


def test_labels_of_weight_zero_are_nothing_to_calibrate_or_to_learn_a_curve_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_data(Path("data.extxyz"), 30)
    parent = Weights(SPEC, initialise(SPEC, 3), Provenance(name="little"))
    config = configure(parent, "parent", "head", ["data.extxyz"], ["data.extxyz"])
    assert why_uncalibrated(config) is None
    check_curve(config, [5])
    frames = ase.io.read("data.extxyz", ":")
    for atoms in frames:
        atoms.info["forces_weight"] = 0.0
    ase.io.write("data.extxyz", frames)
    assert "0 structures of data.extxyz, held out from training have forces" in why_uncalibrated(config)
    with pytest.raises(DataError, match="none of the 30 that are has forces"):
        check_curve(config, [5])


def test_members_that_agree_are_kept_without_a_calibration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_data(Path("data.extxyz"), 30)
    finished_members()
    parent = read_weights(f"run/member-0/{MODEL}")
    write_weights(f"run/member-1/{MODEL}", SPEC, parent.parameters, Provenance(name="little"))
    config = configure(parent, "parent", "head", ["data.extxyz"], ["data.extxyz"])
    assert why_uncalibrated(config) is None
    calibration, why = conclude(config, Path("run"), 2)
    assert calibration is None
    assert "0 structures with forces that members disagree on" in why
    assert read_ensemble("run")[1] is None
