import dataclasses
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from nequix import NequixCalculator
from nequix.cli.assess import _name_parent
from nequix.io.catalogue import load_weights
from tests.calculator import small
from tests.coverage import sets

COMMON = ("--model", "model.safetensors", "--backend", "torch", "--dtype", "float64")


@pytest.fixture(autouse=True)
def _files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    small.write_small(tmp_path)
    calc = NequixCalculator(small.WEIGHTS, "torch", dtype="float64")
    frames = [sets.crystal("NaCl", seed) for seed in range(12)]
    write("target.extxyz", frames)
    for atoms in frames:
        calc.calculate(atoms)
        energy, forces = calc.results["energy"] + 7.0 * len(atoms), calc.results["forces"] + 0.02
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    write("dft.extxyz", frames)


def test_assess_writes_a_page_with_the_verdict(run):
    write("train.extxyz", [sets.crystal(name, seed) for name in sets.CRYSTALS for seed in range(20)])
    run("coverage", "build", "train.extxyz", *COMMON)
    code, out, _ = run("assess", "target.extxyz", "--dft", "dft.extxyz", "-o", "page", *COMMON)
    assert code == 0
    assert "Use the model as it is" in out
    assert "another functional" in " ".join(out.split())
    held = json.loads(Path("page/results.json").read_bytes())["results"]
    assert held["verdict"]["action"] == "zero-shot"
    assert held["measured"]["forces"]["value"] == pytest.approx(20, rel=1e-3)
    assert held["measured"]["energy"]["value"] == pytest.approx(7000, rel=1e-3)
    assert held["measured"]["energy_without_offsets"]["value"] < 0.1
    assert held["coverage"]["n_structures"] == 12
    text = Path("page/report.md").read_text()
    for part in ("**Use the model as it is**", "Doubts:", "thresholds.png", "parity.png", "## Coverage"):
        assert part in text
    assert json.loads(Path("page/protocol.json").read_bytes())["zero_shot_force"] == 100


def test_thresholds_can_be_set_but_not_changed_afterwards(run):
    arguments = ("assess", "target.extxyz", "--dft", "dft.extxyz", "-o", "page", *COMMON)
    code, out, _ = run(*arguments, "--zero-shot-force", "10", "--tuned-force", "10")
    assert (code, "Fine-tune on few structures" in out) == (0, True)
    code, _, err = run(*arguments)
    assert (code, "thresholds are not changed" in err) == (1, True)


def test_the_protocol_is_recorded_before_the_data_are_read(run):
    code, _, err = run("assess", "missing.extxyz", "-o", "page", *COMMON)
    assert (code, "no such file" in err, Path("page").exists()) == (1, True, False)
    Path("damaged.extxyz").write_text("2\n\nNa 0 0 0\n")
    code, _, err = run("assess", "damaged.extxyz", "-o", "page", *COMMON)
    assert (code, "ends within frame 0" in err) == (1, True)
    assert Path("page/protocol.json").exists()


def test_labels_under_other_keys_are_assessed(run):
    frames = read("dft.extxyz", ":")
    for atoms in frames:
        atoms.info["pbe"], atoms.arrays["pbe_forces"] = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = None
    write("other.extxyz", frames)
    keys = ("--energy-key", "pbe", "--forces-key", "pbe_forces")
    code, _, _ = run("assess", "target.extxyz", "--dft", "other.extxyz", "-o", "page", *keys, *COMMON)
    assert code == 0
    measured = json.loads(Path("page/results.json").read_bytes())["results"]["measured"]
    assert measured["forces"]["value"] == pytest.approx(20, rel=1e-3)
    keys = ("--energy-key", "absent")
    code, _, err = run("assess", "target.extxyz", "--dft", "other.extxyz", "-o", "page", *keys, *COMMON)
    assert (code, "has the key 'absent', named for energy" in err) == (1, True)


def test_unlabelled_structures_get_an_answer(run):
    code, out, _ = run("assess", "target.extxyz", "-o", "page", *COMMON)
    assert code == 0
    assert "Undecided" in out
    assert "no snapshot has labelled forces" in " ".join(out.split())
    assert json.loads(Path("page/results.json").read_bytes())["results"]["verdict"]["action"] == "undecided"


@pytest.mark.parametrize("dft", [(), ("--dft", "still.extxyz")])
def test_labelled_forces_that_are_all_zero_get_an_answer(run, dft):
    atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True)
    atoms.calc = SinglePointCalculator(atoms, energy=-27.0, forces=0.0 * atoms.positions)
    write("still.extxyz", atoms)
    code, out, _ = run("assess", "still.extxyz", *dft, "-o", "page", *COMMON)
    assert code == 0
    assert "labelled forces are all zero" in " ".join(out.split())
    assert json.loads(Path("page/results.json").read_bytes())["results"]["verdict"]["action"] == "undecided"


def test_an_element_that_the_model_lacks_gets_an_answer(run):
    frames = [sets.crystal("NaCl", 1)]
    frames[0].symbols[0] = "Ti"
    write("other.extxyz", frames)
    code, out, _ = run("assess", "other.extxyz", "--dft", "dft.extxyz", "-o", "page", *COMMON)
    assert code == 0
    assert "the model lacks Ti (1 structures)" in " ".join(out.split())
    assert "Train fully" in out


def test_labels_that_the_model_cannot_evaluate_at_all_get_an_answer(run):
    write("train.extxyz", [sets.crystal(name, seed) for name in sets.CRYSTALS for seed in range(20)])
    run("coverage", "build", "train.extxyz", *COMMON)
    frames = read("dft.extxyz", ":3")
    for atoms in frames:
        atoms.symbols[0] = "Ti"
    write("other.extxyz", frames)
    code, out, _ = run("assess", "other.extxyz", "-o", "page", *COMMON)
    assert code == 0
    assert "no labelled snapshot could be evaluated: nothing is measured" in " ".join(out.split())
    assert "Train fully" in out
    assert "labelled snapshots are not like that" not in " ".join(out.split())
    assert "3 labelled snapshots without a prediction" in Path("page/report.md").read_text()


def test_labels_of_another_material_do_not_decide(run):
    write("other.extxyz", [sets.crystal("Cu", seed) for seed in range(4)])
    code, out, _ = run("assess", "other.extxyz", "--dft", "dft.extxyz", "-o", "page", *COMMON)
    assert code == 0
    assert "no labelled snapshot has what the target has: Cu" in " ".join(out.split())
    assert "Undecided" in out


def follow(run, verdict, labelled):
    """Run the commands as they are printed, labelling what is selected; return their outputs."""
    outputs = []
    for line in verdict["next"]:
        words = shlex.split(line, comments=True)
        code, out, err = run(*words[1:])
        assert code == 0, (line, err)
        outputs.append(out)
        if words[1] == "select":
            chosen = read("to-label.extxyz", ":")
            labelled(chosen)
            write("to-label.extxyz", chosen)
    return outputs


def add_labels(frames, shift=0.02):
    calc = NequixCalculator("nequix-nano", "torch")
    for atoms in frames:
        calc.calculate(atoms)
        forces = calc.results["forces"] + shift
        atoms.calc = SinglePointCalculator(atoms, energy=calc.results["energy"], forces=forces)


@pytest.fixture
def _nano():
    frames = [sets.crystal("NaCl", seed) for seed in range(16)]
    write("target.extxyz", frames)
    add_labels(frames, 0.3)
    write("dft.extxyz", frames[:8])


@pytest.mark.usefixtures("_nano")
def test_every_command_runs_as_it_is_printed(run, monkeypatch):
    verdict = assessed(run, "--dft", "dft.extxyz", "--backend", "torch")
    assert verdict["action"] == "few-shot"
    assert "nequix-mp-1, may be the better start" in " ".join(verdict["reasons"])
    select, finetune, _ = verdict["next"][1:]
    assert " -n 8 --known dft.extxyz " in select  # the other eight have labels
    assert "--backend torch" in select
    assert "--config" not in finetune
    # The commands after the selection run with a smaller model, below.
    monkeypatch.setitem(verdict, "next", [select])
    (out,) = follow(run, verdict, add_labels)
    assert out.splitlines()[0].startswith("8 of 16 candidates are already labelled")
    chosen = {atoms.positions.tobytes() for atoms in read("to-label.extxyz", ":")}
    assert len(chosen) == 8
    assert not chosen & {atoms.positions.tobytes() for atoms in read("dft.extxyz", ":")}


def with_own_keys(frames):
    """Give structures forces under another key, and nothing else."""
    calc = NequixCalculator(small.WEIGHTS, "torch", dtype="float64")
    for atoms in frames:
        calc.calculate(atoms)
        atoms.arrays["pbe_forces"] = calc.results["forces"] + 0.3 * np.sin(7 * atoms.positions)
        atoms.calc = None


def test_every_command_runs_as_it_is_printed_with_keys_of_ones_own(run):
    """A small model, 60 epochs of its last layer: half a minute."""
    frames = [sets.crystal("NaCl", seed) for seed in range(14)]
    with_own_keys(frames[:6])
    write("target.extxyz", frames)
    keys = ("--forces-key", "pbe_forces")
    code, _, err = run("assess", "target.extxyz", "-o", "page", *keys, *COMMON)
    assert code == 0, err
    verdict = json.loads(Path("page/results.json").read_bytes())["results"]["verdict"]
    assert verdict["action"] == "few-shot"
    select, finetune, assess = verdict["next"]
    assert "--unlabelled --forces-key pbe_forces" in select
    assert "--config page/finetune.yml" in finetune
    assert yaml.safe_load(Path("page/finetune.yml").read_text()) == {
        "data": {"forces_key": "pbe_forces"},
        "loss": {"energy": 0},
    }
    # What the commands leave open: structures to test on.
    held_out = [sets.crystal("NaCl", seed) for seed in range(20, 24)]
    with_own_keys(held_out)
    write("held out.extxyz", held_out)
    assert " --dft HELD-OUT " in assess
    verdict["next"][2] = assess.replace("HELD-OUT", "'held out.extxyz'")
    outputs = follow(run, verdict, with_own_keys)
    assert outputs[0].startswith("6 of 14 candidates are already labelled")
    assert "6 structures of 2 elements, 0 with an energy, 6 with forces" in outputs[1]
    tuned = load_weights("runs/tuned/model.safetensors")
    assert tuned.provenance.extra["finetune_mode"] == "last-layer"
    assert Path("again/report.md").exists()


@pytest.mark.usefixtures("_nano")
def test_the_command_for_a_full_training_runs_as_it_is_printed(run):
    verdict = assessed(run, "--dft", "dft.extxyz", "--tuned-force", "1", "--zero-shot-force", "2")
    assert verdict["action"] == "train"
    verdict["next"] = verdict["next"][1:]
    assert len(follow(run, verdict, add_labels)) == 1


@pytest.mark.usefixtures("_nano")
def test_the_published_model_that_is_named_can_be_assessed(run, published_folder):
    verdict = assessed(run, "--dft", "dft.extxyz")
    verdict["next"] = verdict["next"][:1]
    assert verdict["next"][0].endswith("--model nequix-mp-1 -o page-nequix-mp-1")
    follow(run, verdict, add_labels)
    assert Path("page-nequix-mp-1/report.md").exists()


@pytest.mark.usefixtures("_nano")
def test_labels_of_cells_without_forces_do_not_trust_a_model_for_dynamics(run):
    cells = [bulk("NaCl", "rocksalt", 5.64 * (1 + 0.01 * i), cubic=True) for i in range(-3, 4)]
    add_labels(cells, 0.0005)
    write("still.extxyz", cells)
    verdict = assessed(run, "--dft", "still.extxyz")
    assert verdict["action"] == "undecided"
    assert "no labelled snapshot has" in " ".join(verdict["doubts"])


def assessed(run, *options):
    code, _, err = run("assess", "target.extxyz", "-o", "page", "--model", "nequix-nano", *options)
    assert code == 0, err
    return json.loads(Path("page/results.json").read_bytes())["results"]["verdict"]


def test_the_suggested_commands_are_for_this_model_and_these_files(run):
    write("target.extxyz", [sets.crystal("NaCl", seed) for seed in range(14)])
    write("train.extxyz", [sets.crystal(name, seed) for name in sets.CRYSTALS for seed in range(20)])
    run("coverage", "build", "train.extxyz", *COMMON)
    thresholds = ("--zero-shot-force", "10", "--tuned-force", "10")
    _, out, _ = run("assess", "target.extxyz", "--dft", "dft.extxyz", "-o", "page", *thresholds, *COMMON)
    verdict = json.loads(Path("page/results.json").read_bytes())["results"]["verdict"]
    select, finetune, assess = verdict["next"]
    assert f"> {assess}\n" in out  # on one line, to be copied
    assert select.startswith("nequix select target.extxyz -n 2 --known dft.extxyz --model model.safetensors ")
    assert select.endswith("--backend torch --dtype float64 -o to-label.extxyz")
    assert "--from model.safetensors" in finetune
    assert "nequix assess target.extxyz --dft dft.extxyz --model runs/tuned/model.safetensors" in assess
    # A model that is fine-tuned from this one has the reference elsewhere.
    assert "--reference model.coverage.safetensors --backend torch" in assess
    assert "--also to-label.extxyz" in assess
    assert "--zero-shot-force 10 --tuned-force 10" in assess


@pytest.mark.parametrize(
    ("parent", "named"), [("nequix-mp-1", "nequix-mp-1"), ("own", "PARENT"), (None, None)]
)
def test_a_parent_that_is_not_a_model_here_is_named_by_a_placeholder(parent, named):
    weights = load_weights("nequix-nano")
    extra = {} if parent is None else {"parent": parent}
    provenance = dataclasses.replace(weights.provenance, extra=extra)
    assert _name_parent(dataclasses.replace(weights, provenance=provenance)) == named
