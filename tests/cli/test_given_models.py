"""A checkpoint or the folder of a run, given as a model: every command names the file and the model. 10 s."""

import json

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write

from tests.calculator.small import write_small

CHECKPOINT = "run/checkpoints/step-000000100.safetensors"
OUTPUT = ("-o", "out")
COMMANDS = {
    "info": ("info", "{model}"),
    "export": ("lammps", "export", "{model}", "m.lammps"),
    "predict": ("predict", "good.extxyz", "-o", "p.extxyz", "--model", "{model}"),
    "relax": ("relax", "good.extxyz", "-o", "r.extxyz", "--model", "{model}"),
    "verify": ("verify", "--model", "{model}"),
    "coverage": ("coverage", "check", "good.extxyz", "--model", "{model}"),
    "build": ("coverage", "build", "good.extxyz", "-o", "c.safetensors", "--model", "{model}"),
    "select": ("select", "good.extxyz", "-o", "s.extxyz", "-n", "1", "--model", "{model}"),
    "assess": ("assess", "good.extxyz", *OUTPUT, "--model", "{model}"),
    "check": ("data", "check", "good.extxyz", "--model", "{model}"),
    "finetune": ("finetune", "good.extxyz", *OUTPUT, "--from", "{model}"),
    "errors": ("evaluate", "errors", "good.extxyz", *OUTPUT, "--model", "{model}"),
    "discovery": ("evaluate", "discovery", "good.extxyz", *OUTPUT, "--model", "{model}"),
    "physics": ("evaluate", "physics", *OUTPUT, "--model", "{model}"),
    "speed": ("evaluate", "speed", *OUTPUT, "--model", "{model}"),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    from nequix.train.checkpoint import save_checkpoint

    monkeypatch.chdir(tmp_path)
    write("good.extxyz", bulk("NaCl", "rocksalt", a=5.6))
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    save_checkpoint(tmp_path / CHECKPOINT, {"a": np.zeros(3)}, {"best": 1.0})
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", [CHECKPOINT, "run"])
def test_checkpoints_and_folders_of_runs_are_named_with_the_model(run, folder, command, name):
    write_small(folder / "run")
    code, _, err = run(*(part.format(model=name) for part in COMMANDS[command]))
    assert code == 1
    assert err.count("\n") == 1
    kind = "the checkpoint of a training" if name.endswith(".safetensors") else "the folder of a training"
    assert f"{name}: {kind}" in err
    assert "give run/model.safetensors" in err


def test_a_run_without_a_model_must_be_completed(run, folder):
    for name in ("run", "run/checkpoints", CHECKPOINT):
        code, _, err = run("info", name)
        assert (code, "complete the run, which writes run/model.safetensors" in err) == (1, True)
    (folder / "run/best.safetensors").touch()
    assert "give run/best.safetensors" in run("info", "run")[2]


def test_ensembles_and_other_folders_are_distinguished(run, folder):
    (folder / "ensemble").mkdir()
    (folder / "ensemble/ensemble.json").write_text(json.dumps({}))
    assert "the folder of an ensemble, not a model" in run("info", "ensemble")[2]
    (folder / "other").mkdir()
    assert "other: a folder, not a file" in run("info", "other")[2]
