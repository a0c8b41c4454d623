"""Suggested commands: they name the assessed files and model, and the parser accepts them."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import typer
import yaml

from nequix.assess.commands import Asked, name_commands
from nequix.assess.starter import write_starter
from nequix.assess.thresholds import Thresholds
from nequix.cli import app

CONFIGS = Path(__file__).parents[2] / "configs"

ASKED = Asked(
    ["md 1.extxyz", "b.xyz"], ["dft.xyz", "more.xyz"], "nequix-nano", None, "r.safetensors", [], True
)


def commands(action="few-shot", mode: str | None = "last-layer", protocol=None, asked=ASKED):
    return name_commands(action, mode, 40, protocol or Thresholds(), asked)


def test_no_more_are_chosen_than_there_are():
    for n, chosen in ((1, 1), (40, 40), (41, 40)):
        assert f" -n {chosen} " in commands(asked=replace(ASKED, n_structures=n))[0]


def test_commands_carry_model_files_and_reference():
    select, finetune, assess = commands()
    common = "--reference r.safetensors"
    assert (
        select
        == "nequix select 'md 1.extxyz' b.xyz -n 40 --known dft.xyz --known more.xyz --model nequix-nano "
        f"{common} -o to-label.extxyz"
    )
    assert finetune == (
        "nequix finetune --from nequix-nano --mode last-layer to-label.extxyz -o runs/tuned  "
        "# once to-label.extxyz is labelled"
    )
    assert assess == (
        "nequix assess 'md 1.extxyz' b.xyz --dft dft.xyz --dft more.xyz --model runs/tuned/model.safetensors "
        f"{common} --also to-label.extxyz -o again"
    )
    assert commands("undecided", None) == [select]
    assert commands("zero-shot", None) == []


def test_the_engine_is_carried_to_what_takes_one():
    select, finetune, assess = commands(asked=replace(ASKED, engine=["--backend", "torch"]))
    assert "--backend torch" in select
    assert "--backend" not in finetune
    assert "--backend torch" in assess


def test_structures_with_labels_are_not_chosen_again():
    assert " --unlabelled " in commands(asked=replace(ASKED, labelled=[], own_labels=True))[0]
    # All are labelled: these are what there is to train on, and no longer to test on.
    finetune, assess = commands(asked=replace(ASKED, n_structures=0))
    assert finetune == "nequix finetune --from nequix-nano --mode last-layer dft.xyz more.xyz -o runs/tuned"
    assert "--dft HELD-OUT" in assess


def test_a_published_model_may_be_the_better_start():
    asked = replace(ASKED, better="nequix-mp-1", starter="page/train.yml")
    expected = (
        "nequix assess 'md 1.extxyz' b.xyz --dft dft.xyz --dft more.xyz --model nequix-mp-1 -o "
        "page-nequix-mp-1"
    )
    assert commands(asked=asked)[0] == expected
    assert commands("zero-shot", asked=asked) == []
    assert commands("train", asked=asked) == [
        expected,
        "nequix train page/train.yml -o runs/own --dry-run  # then without --dry-run",
    ]


def test_the_starting_configuration_is_that_of_the_quickstart(tmp_path):
    path = write_starter(tmp_path, [Path("a b.xyz"), Path("c.xyz")], energy=True, stress=True)
    text, usual = yaml.safe_load(path.read_text()), yaml.safe_load((CONFIGS / "quickstart.yml").read_text())
    assert text["data"].pop("train") == ["a b.xyz", "c.xyz"]
    assert text.pop("provenance")["training_data"] == "a b.xyz, c.xyz"
    usual["data"].pop("train")
    usual.pop("provenance")
    assert text == usual
    without = yaml.safe_load(write_starter(tmp_path, [Path("a")], energy=False, stress=False).read_text())
    assert without["loss"] == {"energy": 0, "forces": 20, "stress": 0}


def test_labels_of_the_target_itself_are_not_tested_on_again():
    assess = commands(asked=Asked(["md.xyz"], [], "m.safetensors"))[-1]
    assert assess == "nequix assess md.xyz --dft HELD-OUT --model runs/tuned/model.safetensors -o again"


def test_a_tuned_model_is_tuned_again_from_its_parent():
    asked = Asked(
        ["t.xyz"], ["d.xyz"], "runs/tuned/model.safetensors", "nequix-nano", None, ["one.xyz"], True
    )
    select, finetune, assess = commands(asked=asked)
    assert select.endswith("--model runs/tuned/model.safetensors -o to-label-2.extxyz")
    assert "--from nequix-nano --mode last-layer one.xyz to-label-2.extxyz -o runs/tuned-2 " in finetune
    assert "--model runs/tuned-2/model.safetensors --also one.xyz --also to-label-2.extxyz" in assess


def test_thresholds_of_ones_own_are_carried():
    assess = commands(protocol=Thresholds(zero_shot_force=150.0, tuned_energy=5.0))[-1]
    assert "--zero-shot-force 150 --tuned-energy 5 -o again" in assess


@pytest.mark.parametrize("action", ["few-shot", "undecided", "train"])
def test_the_command_line_takes_them(action):
    root = typer.main.get_command(app)
    for command in commands(action, protocol=Thresholds(tuned_force=10.0)):
        name, *words = shlex.split(command, comments=True)[1:]
        root.commands[name].make_context(name, words)
