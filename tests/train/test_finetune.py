"""Fine-tuning: what stays, what is fitted, when it stops, and what the result says of itself."""

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
import yaml
from ase.calculators.singlepoint import SinglePointCalculator

from nequix import cli
from nequix.calculator import NequixCalculator
from nequix.core.errors import DataError
from nequix.core.parameters import initialise
from nequix.core.spec import ModelSpec
from nequix.finetune.config import RATES, configure
from nequix.finetune.opening import open_fine_tuning
from nequix.finetune.refit import least_change
from nequix.io.weights import Provenance, digest_file, read_weights, write_weights
from nequix.train import loop
from nequix.train.config import overlay
from nequix.train.history import History
from nequix.train.loop import BEST, MODEL
from tests.train.emt import write_data

CONFIGS = Path(__file__).parents[2] / "configs"

SPEC = ModelSpec(
    atomic_numbers=(8, 29, 47, 79),
    avg_n_neighbors=12.0,
    scale=0.5,
    shift=0.1,
    cutoff=4.0,
    hidden_irreps="8x0e + 4x1o",
    lmax=1,
    n_layers=2,
    radial_basis_size=4,
    radial_mlp_size=8,
    radial_mlp_layers=1,
)

CONFIG = """
data: {batch_size: 8, valid_fraction: 0.2}
optimizer: {weight_decay: 0.1, learning_rate: 0.02}
run: {epochs: 3, ema_decay: 0.5, checkpoint_every: 5}
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_data(Path("data.extxyz"))
    Path("config.yml").write_text(CONFIG)
    write_parent("float32")


def write_parent(dtype):
    values = {n: x.astype(dtype) for n, x in initialise(SPEC, 3, {8: -2.0, 29: 0.3, 47: 0.1}).items()}
    write_weights("parent.safetensors", SPEC, values, Provenance(name="little", training_data="none"))


def tuning(mode, folder="run", **options):
    parent = read_weights("parent.safetensors")
    config = configure(parent, "parent.safetensors", mode, ["data.extxyz"], path="config.yml", **options)
    return open_fine_tuning(config, parent, Path(folder))


def changed(before, after):
    return {name for name, x in before.parameters.items() if x.tobytes() != after.parameters[name].tobytes()}


def nequix(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["nequix", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code


@pytest.mark.parametrize(
    ("mode", "dtype", "kind"),
    [
        ("head", "float64", {"readout"}),
        ("last-layer", "float32", {"readout", "layers.1"}),
        ("full", "float32", {"readout", "layers.1", "layers.0"}),
    ],
)
def test_what_a_mode_does_not_train_stays_bit_for_bit(monkeypatch, mode, dtype, kind):
    write_parent(dtype)
    arguments = ("--from", "parent.safetensors", "--mode", mode, "--config", "config.yml")
    assert nequix(monkeypatch, "finetune", "data.extxyz", "-o", "run", *arguments) == 0
    before, after = read_weights("parent.safetensors"), read_weights(Path("run", MODEL))
    expected = {name for name in before.parameters if name.startswith(tuple(kind))}
    assert changed(before, after) == {*expected, "atom_energies"}
    assert after.spec == before.spec
    # Oxygen does not occur.
    assert after.parameters["atom_energies"][0] == before.parameters["atom_energies"][0]
    rows = [row for row in History(Path("run", "history.csv")).rows() if row["valid_loss"]]
    assert [int(row["step"]) for row in rows] == [0, 4, 8, 12]
    assert float(rows[-1]["valid_forces"]) < float(rows[0]["valid_forces"])


def test_the_result_tells_where_it_comes_from(monkeypatch, capsys):
    arguments = ("--from", "parent.safetensors", "--mode", "head", "--epochs", "1", "--keep-atom-energies")
    assert nequix(monkeypatch, "finetune", "data.extxyz", "-o", "run", *arguments) == 0
    provenance = read_weights(Path("run", MODEL)).provenance
    assert provenance.name == "little-head"
    assert provenance.training_data == "none, then data.extxyz"
    assert provenance.extra["parent"] == "little"
    assert provenance.extra["parent_digest"] == digest_file("parent.safetensors")
    assert provenance.extra["finetune_mode"] == "head"
    assert provenance.extra["finetune_data"] == "data.extxyz (35 structures)"
    assert provenance.extra["atom_energies_refitted"] == "no"
    assert Path("run", MODEL).read_bytes() == Path("run", BEST).read_bytes()
    assert "atom_energies" not in changed(
        read_weights("parent.safetensors"), read_weights(Path("run", MODEL))
    )
    capsys.readouterr()
    assert nequix(monkeypatch, "info", str(Path("run", MODEL))) == 0
    assert digest_file("parent.safetensors") in capsys.readouterr().out


def label_by_parent(offsets=None, stress=True):
    """Replace the labels by the parent's predictions and an offset for each element; some lack an energy."""
    frames = ase.io.read("data.extxyz", ":")
    calc = NequixCalculator("parent.safetensors", "jax", dtype="float64", kernel="plain")
    for index, atoms in enumerate(frames):
        atoms.calc = calc
        labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        labels["energy"] += sum((offsets or {}).get(symbol, 0.0) for symbol in atoms.symbols)
        if stress:
            labels["stress"] = atoms.get_stress()
        if index % 5 == 4:
            del labels["energy"]
        atoms.calc = SinglePointCalculator(atoms, **labels)
    ase.io.write("data.extxyz", frames)


def test_the_refit_removes_an_offset_of_each_element():
    write_parent("float64")
    label_by_parent({"Cu": -4000.0, "Ag": 3.5, "Au": 0.25})
    run = tuning("head")
    assert run.change == pytest.approx({29: -4000.0, 47: 3.5, 79: 0.25}, abs=1e-6)  # extxyz: 8 decimals
    assert "Ag +3.5000" in run.describe()
    errors = run.errors(run.valid)
    assert errors["energy"] < 1e-3  # float32 of thousands of eV
    assert errors["forces"] < 1e-4


def test_energies_of_weight_zero_have_no_part_in_the_refit():
    write_parent("float64")
    label_by_parent({"Cu": 3.0})
    frames = ase.io.read("data.extxyz", ":")
    for atoms in [atoms for atoms in frames if "energy" in atoms.calc.results][::3]:
        atoms.calc.results["energy"] -= 1e4
        atoms.info["energy_weight"] = 0.0
    ase.io.write("data.extxyz", frames)
    assert tuning("head").change == pytest.approx({29: 3.0, 47: 0.0, 79: 0.0}, abs=1e-6)


def test_what_the_compositions_leave_open_keeps_the_parent_s_values():
    # Only the sum of the first two is determined; the fourth does not occur.
    fractions = np.array([[0.5, 0.5, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
    change = least_change(fractions, np.array([1.0, 3.0, -2.0]))
    np.testing.assert_allclose(change[:3], [2.0, 2.0, -2.0], atol=1e-12)
    assert change[3] == 0
    assert (least_change(fractions[:0], np.zeros(0)) == 0).all()


def test_patience_ends_a_run_whose_parent_is_the_best():
    label_by_parent(stress=False)
    run = tuning("head", refit_atom_energies=False, epochs=50)
    run = open_fine_tuning(
        dataclasses.replace(run.config, run=dataclasses.replace(run.config.run, patience=2)),
        run.parent,
        Path("patient"),
    )
    assert run.train()
    assert run.loader.position == 2 * run.loader.steps_per_epoch < run.n_steps
    assert changed(run.parent, read_weights(Path("patient", MODEL))) == set()
    rows = History(Path("patient", "history.csv")).rows()
    assert np.isfinite([float(row["loss"]) for row in rows if row["loss"]]).all()
    again = open_fine_tuning(run.config, run.parent, Path("patient"))
    assert again.complete
    assert again.train()
    assert History(Path("patient", "history.csv")).rows() == rows


def test_a_deleted_best_model_is_named(monkeypatch):
    """It is the result, and in no checkpoint."""
    run = tuning("head", epochs=1)
    losses = iter([1.0, 2.0, 3.0])  # so that the parent is the best
    monkeypatch.setattr(run, "errors", lambda *_: {"loss": next(losses)})
    with pytest.raises(DataError, match=r"best\.safetensors: missing, .* another folder"):
        run.train(lambda *_: Path("run", BEST).unlink(missing_ok=True) if run.loader.position == 1 else None)
    assert not Path("run", MODEL).exists()


def test_a_deleted_best_model_is_named_before_a_run_resumes():
    run = tuning("head", epochs=3)
    assert not run.train(lambda step, *_: os.kill(os.getpid(), signal.SIGTERM) if step == 1 else None)
    Path("run", BEST).unlink()
    with pytest.raises(DataError, match=r"best\.safetensors: missing"):
        tuning("head", epochs=3)


def test_trackers_receive_the_parent_s_validation(monkeypatch):
    calls = []

    class Recorder:
        def add(self, step, values):
            calls.append((step, set(values)))
            raise InterruptedError  # before any step

        def close(self):
            calls.append("closed")

    monkeypatch.setattr(loop, "open_trackers", lambda *_: [Recorder()])
    run = tuning("head", refit_atom_energies=False)
    monkeypatch.setattr(run, "errors", lambda *_: {"loss": 1.0})
    with pytest.raises(InterruptedError):
        run.train()
    assert calls == [(0, {"valid_loss"}), "closed"]


@pytest.mark.parametrize("index", [3, 4])  # one is for validation
def test_an_unknown_element_is_named(index):
    frames = ase.io.read("data.extxyz", ":")
    frames[index].symbols[0] = "Pt"
    ase.io.write("data.extxyz", frames)
    with pytest.raises(DataError, match=f"data.extxyz:{index}: Pt unknown to little"):
        tuning("full")


def test_a_folder_of_another_parent_or_mode_is_refused():
    run = tuning("head")
    run.checkpoint()
    with pytest.raises(DataError, match="another configuration"):
        tuning("full")
    write_parent("float64")
    with pytest.raises(DataError, match="another configuration"):
        tuning("head")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mode: full", "mode follows from the command line"),
        ("data: {train: other.extxyz}", "data.train and data.valid are named on the command line"),
        ("loss:\n  {energy: 0, forces: 0, stress: 0}", "line 2: no weight of the loss is positive"),
        ("run:\n  kernel: plane", "line 2: kernel = 'plane', .*; did you mean 'plain'"),
        ("run:\n  epocs: 3", "line 2: unknown key 'epocs'; did you mean 'epochs'"),
    ],
)
def test_a_mistake_in_the_configuration_is_named(text, message):
    Path("config.yml").write_text(text)
    with pytest.raises(DataError, match=message):
        tuning("head")


def test_the_shipped_configuration_states_the_usual_values():
    parent, path = read_weights("parent.safetensors"), CONFIGS / "finetune.yml"
    usual = configure(parent, "parent.safetensors", "head", ["data.extxyz"])
    assert overlay(usual, path) == usual
    stated = yaml.safe_load(path.read_text())
    assert stated.keys() == {"refit_atom_energies", "data", "loss", "optimizer", "run", "stop", "log"}
    for section, omitted in (
        ("data", {"train", "valid"}), ("loss", {"hessian", "energies"}), ("optimizer", {"learning_rate"}),
        ("run", set()), ("stop", set()), ("log", set()),
    ):  # fmt: skip
        names = {field.name for field in dataclasses.fields(getattr(usual, section))}
        assert stated[section].keys() == names - omitted
    rates = ", ".join(f"{mode} {rate}" for mode, rate in RATES.items())
    assert f"learning_rate: measured for each mode (docs/finetuning.md): {rates}" in path.read_text()


DRIVER = """
import os, signal, sys
from pathlib import Path
from nequix.io.weights import read_weights
from nequix.finetune.config import configure
from nequix.finetune.opening import open_fine_tuning

def report(step, n_steps, values):
    if step == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

parent = read_weights("parent.safetensors")
config = configure(parent, "parent.safetensors", "last-layer", ["data.extxyz"], path="config.yml")
sys.exit(0 if open_fine_tuning(config, parent, Path(sys.argv[1])).train(report) else 3)
"""


def test_a_killed_run_resumes_bit_for_bit():
    def run(folder, at):
        command = [sys.executable, "-c", DRIVER, folder, str(at)]
        root = str(CONFIGS.parent)
        return subprocess.run(command, timeout=300, env={**os.environ, "PYTHONPATH": root}).returncode

    assert run("whole", -1) == 0
    assert run("parts", 7) == -signal.SIGKILL
    assert run("parts", -1) == 0
    for name in (MODEL, BEST, "checkpoints/step-000000012.safetensors"):
        assert Path("whole", name).read_bytes() == Path("parts", name).read_bytes()
