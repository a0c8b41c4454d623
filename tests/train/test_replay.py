"""Replay and learning curves: what is mixed into a batch, from which baseline, and what runs share."""

import dataclasses
import json
import sys
from itertools import pairwise
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from nequix import NequixCalculator, cli
from nequix.core.errors import DataError
from nequix.core.parameters import initialise
from nequix.finetune import opening, teacher
from nequix.finetune.config import ReplayConfig, configure
from nequix.finetune.opening import FineTuningOpening, open_fine_tuning
from nequix.finetune.run import finished
from nequix.finetune.teacher import write_teacher_data
from nequix.io.weights import Provenance, Weights, read_weights, write_weights
from nequix.train import statistics_cache
from nequix.train.history import History
from nequix.train.loop import MODEL
from tests.train.emt import write_data
from tests.train.test_finetune import SPEC

PARENT = Weights(SPEC, initialise(SPEC, 3), Provenance(name="little", training_data="none"))

CONFIG = """
data: {batch_size: 6, valid_fraction: 0.2}
optimizer: {learning_rate: 0.02}
run: {epochs: 2, ema_decay: 0.5}
log: {figures: false}
"""

ROUNDING = 1e-4
"""eV/atom and eV/A: energies and forces of a float32 model, of labels that are its own."""


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_data(Path("data.extxyz"), 30)
    Path("config.yml").write_text(CONFIG)
    write_weights("parent.safetensors", SPEC, PARENT.parameters, PARENT.provenance)


def label_by_parent(source, path, offset):
    """Write what the parent says, its energies moved by eV/atom."""
    frames = ase.io.read(source, ":")
    calculator = NequixCalculator(PARENT, "torch")
    for atoms in frames:
        energy = calculator.get_potential_energy(atoms) + offset * len(atoms)
        labels = {"energy": energy, "forces": calculator.results["forces"]}
        atoms.calc = SinglePointCalculator(atoms, **labels)
    ase.io.write(path, frames)


def tuning(folder, **options):
    config = configure(
        PARENT, "parent", "last-layer", ["mine.extxyz"], path="config.yml",
        replay=ReplayConfig(["replayed.extxyz"], **options),
    )  # fmt: skip
    return open_fine_tuning(config, PARENT, Path(folder))


def test_replayed_energies_count_from_the_parent_s_baseline():
    label_by_parent("data.extxyz", "mine.extxyz", 7.0)
    label_by_parent("data.extxyz", "replayed.extxyz", 0.0)
    run = tuning("run", share=0.5)
    assert run.change == pytest.approx({29: 7.0, 47: 7.0, 79: 7.0}, abs=1e-3)
    names, placed = run._next()
    assert 8 <= len(names) <= 16  # about six of either kind
    _, metrics = run._step(run.state, *placed)
    # Both kinds are what the parent says, each from its own baseline.
    assert float(metrics["energy"]) < ROUNDING
    assert float(metrics["forces"]) < ROUNDING
    assert "structures of replay" in run.describe()


def test_a_replayed_structure_weighs_as_much_as_another():
    label_by_parent("data.extxyz", "mine.extxyz", 0.0)
    frames = ase.io.read("data.extxyz", ":")
    label_by_parent("data.extxyz", "replayed.extxyz", 0.5)
    run = tuning("run", share=0.75)
    data, other = run.loader, run.others[0].loader
    each = [len(loader.sizes) / loader.steps_per_epoch for loader in (data, other)]
    assert each[1] / sum(each) == pytest.approx(0.75, abs=0.1)
    batches = next(data), next(other)
    n = [sum(batch.labels["energy"].mask.sum() for batch in part) for part in batches]
    data.restore({**data.state(), "position": 0})
    other.restore({**other.state(), "position": 0})
    _, metrics = run._step(run.state, *run._next()[1])
    assert float(metrics["energy"]) == pytest.approx(0.5 * n[1] / sum(n), rel=1e-3)
    assert len(frames) == 30


def test_replay_without_labels_is_refused_and_makes_up_for_no_others():
    label_by_parent("data.extxyz", "mine.extxyz", 0.0)
    frames = ase.io.read("mine.extxyz", ":")
    for atoms in frames:
        atoms.calc = None
    ase.io.write("replayed.extxyz", frames)
    with pytest.raises(DataError, match=r"replayed.*none of 30 structures for replay has energy or forces"):
        tuning("run")
    label_by_parent("data.extxyz", "replayed.extxyz", 0.0)
    energies = ase.io.read("mine.extxyz", ":")
    for atoms in energies:
        atoms.calc = SinglePointCalculator(atoms, energy=atoms.get_potential_energy())
    ase.io.write("mine.extxyz", energies)
    assert "0 with forces" in tuning("run").describe()  # the others have some
    for atoms in energies:
        atoms.info["dft_E"], atoms.calc = atoms.get_potential_energy(), None
    ase.io.write("mine.extxyz", energies)
    with pytest.raises(DataError, match=r"mine.*none of 24 structures for training has .*dft_E"):
        tuning("run")


def test_replayed_data_that_changed_are_noticed_once_steps_were_taken(monkeypatch):
    label_by_parent("data.extxyz", "mine.extxyz", 0.0)
    label_by_parent("data.extxyz", "replayed.extxyz", 0.0)
    run = tuning("run", share=0.5)
    run.checkpoint()
    with monkeypatch.context() as patched:
        patched.setattr(statistics_cache, "compute", None)  # nothing is measured twice
        tuning("run", share=0.5)
    run.write()
    run._own.note()
    assert finished(run.config, Path("run"))
    label_by_parent("data.extxyz", "replayed.extxyz", 0.1)
    assert not finished(run.config, Path("run"))
    with pytest.raises(DataError, match=r"replayed\.extxyz: changed since the run in run began"):
        tuning("run", share=0.5)


@pytest.mark.parametrize("share", [0, 1, 1.5, -1, float("nan")])
def test_a_share_of_replay_is_a_part(share):
    with pytest.raises(DataError, match=r"replay.share = .*, expected above 0 and below 1"):
        ReplayConfig(["replayed.extxyz"], share)


def test_the_command_line_s_share_of_replay_goes_before_the_file_s():
    Path("share.yml").write_text("replay: {share: 0.2}")
    replay = ReplayConfig(["data.extxyz"])
    for given, expected in ((None, 0.2), (0.7, 0.7)):
        config = configure(
            PARENT, "parent", "full", ["mine"], path="share.yml", replay=replay, replay_share=given
        )
        assert config.replay.share == expected


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (None, "{train: [other.extxyz]}"),
        (ReplayConfig(["data.extxyz"]), "{train: [other.extxyz]}"),
        (ReplayConfig(["data.extxyz"]), "null"),
    ],
)
def test_files_of_replay_are_named_on_the_command_line(given, text):
    Path("other.yml").write_text(f"replay: {text}")
    with pytest.raises(DataError, match=r"replay\.train is named on the command line"):
        configure(PARENT, "parent", "full", ["mine"], path="other.yml", replay=given)


def test_replay_by_itself_is_the_data_and_keeps_the_atom_energies():
    config = configure(PARENT, "parent", "full", [], replay=ReplayConfig(["data.extxyz"]))
    assert (config.data.train, config.replay) == (["data.extxyz"], None)
    assert not config.refit_atom_energies
    with pytest.raises(DataError, match="refitted to new labels, and there are none"):
        configure(PARENT, "parent", "full", [], replay=ReplayConfig(["a"]), refit_atom_energies=True)


def nequix(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["nequix", "finetune", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code


def test_without_data_and_replay_there_is_nothing_to_learn(monkeypatch, capsys):
    assert nequix(monkeypatch, "--from", "parent.safetensors", "-o", "run") == 1
    assert "no data: name labelled structures" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("--curve 6,10,14,18 --ensemble 2", "--curve and --ensemble exclude each other"),
        ("--target 50", "--target does nothing without --curve"),
        ("--draws 3 --ensemble 2", "--draws does nothing without --curve"),
        ("--replay-share 0.3", "--replay-share does nothing without --replay beside DATA"),
        ("--valid-phonons more", "--valid-phonons does nothing without --phonons"),
    ],
)
def test_options_without_their_partner_are_refused(monkeypatch, capsys, options, reason):
    arguments = ("data.extxyz", "--from", "parent.safetensors", "-o", "run", *options.split())
    assert nequix(monkeypatch, *arguments) == 1
    assert reason in capsys.readouterr().err
    assert not Path("run").exists()


def test_a_curve_takes_nested_parts_and_answers(monkeypatch, capsys):
    arguments = ["data.extxyz", "-o", "curve", "--from", "parent.safetensors", "--config", "config.yml"]
    arguments += ["--mode", "head", "--draws", "1", "--target", "100"]
    assert nequix(monkeypatch, *arguments, "--curve", "6,12,18") == 1
    assert "expected at least 4 different numbers" in capsys.readouterr().err
    assert nequix(monkeypatch, *arguments, "--curve", "6,10,14,18") == 0
    content = json.loads(Path("curve/curve.json").read_text())
    assert [row["n"] for row in content["runs"]] == [6, 10, 14, 18]
    assert "force MAE = " in capsys.readouterr().out
    assert content["answer"]["target"] == 100.0
    assert content["answer"]["reason"]
    assert Path("curve/curve.png").stat().st_size > 0
    assert (
        read_weights(f"curve/n-6-draw-0/{MODEL}").provenance.extra["finetune_data"].endswith("(6 structures)")
    )
    assert History(Path("curve/n-6-draw-0/history.csv")).rows()
    parts = []
    for size in (6, 10, 14, 18):
        config = configure(PARENT, "parent", "head", ["data.extxyz"], path="config.yml")
        config = dataclasses.replace(config, n_train=size, draw=0)
        run = FineTuningOpening(config, PARENT, Path("run"))
        train, valid = run._sources()
        parts.append({structure.name for structure in train})
        assert len(parts[-1]) == size
        assert not parts[-1] & {structure.name for structure in valid}
    assert all(small < large for small, large in pairwise(parts))
    run.config = dataclasses.replace(run.config, n_train=99)
    with pytest.raises(DataError, match="99 structures to train on, but there are 24"):
        run._sources()
    assert np.isfinite([row["forces_mae_meV_per_A"] for row in content["runs"]]).all()


@pytest.mark.parametrize(
    ("kept", "fraction", "reason"),
    [
        (("energy", "forces"), 0.2, "30 structures to train on, but there are 24, besides the 6 held out"),
        (("energy",), 0.2, "none of the 6 that are has forces"),
        (("energy", "forces"), 0.0, "nothing is"),
    ],
    ids=["sizes", "no forces", "none"],
)
def test_what_no_curve_can_be_made_of_is_refused_before_the_first_run(
    monkeypatch, capsys, kept, fraction, reason
):
    frames = ase.io.read("data.extxyz", ":")
    for atoms in frames:
        atoms.calc.results = {name: x for name, x in atoms.calc.results.items() if name in kept}
    ase.io.write("data.extxyz", frames)
    Path("config.yml").write_text(f"data: {{valid_fraction: {fraction}}}\n")
    arguments = ["data.extxyz", "-o", "curve", "--from", "parent.safetensors", "--config", "config.yml"]
    assert nequix(monkeypatch, *arguments, "--curve", "6,12,18,30") == 1
    assert reason in capsys.readouterr().err
    assert not Path("curve").exists()


def test_a_teacher_s_structures_have_its_labels_and_are_made_once(tmp_path):
    path = write_teacher_data(PARENT, tmp_path / "made" / "replay.extxyz", n=6)
    frames = ase.io.read(path, ":")
    assert len(frames) == 6
    assert len({atoms.get_chemical_formula() for atoms in frames}) > 2
    calculator = NequixCalculator(PARENT, "torch")
    for atoms in frames:
        results = (calculator.get_potential_energy(atoms), calculator.get_forces(atoms))
        assert atoms.get_potential_energy() == pytest.approx(results[0], abs=ROUNDING * len(atoms))
        np.testing.assert_allclose(atoms.get_forces(), results[1], atol=ROUNDING)
    assert max(np.abs(atoms.get_forces()).max() for atoms in frames) > 10 * ROUNDING
    before = path.stat().st_mtime_ns
    assert write_teacher_data(PARENT, path, n=6).stat().st_mtime_ns == before
    write_teacher_data(PARENT, tmp_path / "again.extxyz", n=6)
    assert (tmp_path / "again.extxyz").read_bytes() == path.read_bytes()


def test_what_another_teacher_made_is_not_taken_for_its_own(tmp_path):
    path = write_teacher_data(PARENT, tmp_path / "replay.extxyz", n=2)
    other = dataclasses.replace(PARENT, digest="0123456789abcdef" * 4)
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"is there already, but not made by little 0123456789abcdef;"):
        write_teacher_data(other, path, n=2)
    assert path.read_bytes() == before


@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["run", "dry run"])
@pytest.mark.parametrize("others", [[], ["more.extxyz"]], ids=["only", "and a file"])
def test_a_teacher_is_one_of_the_sources_of_replay(monkeypatch, tmp_path, dry, others):
    monkeypatch.chdir(tmp_path)
    for name in ("data.extxyz", "parent.safetensors", *others):
        Path(name).touch()
    made, configs = [], []
    module = sys.modules["nequix.cli.finetune"]  # the package's attribute is the command
    monkeypatch.setattr(teacher, "write_teacher_data", lambda parent, path: made.append(path) or path)
    monkeypatch.setattr(opening, "open_fine_tuning", lambda config, *_: configs.append(config))
    monkeypatch.setattr(module, "follow", lambda make, dry_run: make(print))
    replay = [argument for name in ("teacher", *others) for argument in ("--replay", name)]
    assert nequix(monkeypatch, "data.extxyz", "-o", "run", "--from", "parent.safetensors", *replay, *dry) == 0
    assert made == [Path("run/replay.extxyz")]
    assert configs[0].replay.train == ["run/replay.extxyz", *others]


def test_a_teacher_leaves_out_crystals_too_dense_to_evaluate(tmp_path, monkeypatch):
    drawn, draw = [], teacher._draw

    def dense_first(parent, rng):
        drawn.append(draw(parent, rng))
        if len(drawn) == 1:
            drawn[0].set_cell(0.1 * drawn[0].cell.array, scale_atoms=True)
        return drawn[-1]

    monkeypatch.setattr(teacher, "_draw", dense_first)
    assert len(ase.io.read(write_teacher_data(PARENT, tmp_path / "replay.extxyz", n=2), ":")) == 2
    assert len(drawn) > 2
