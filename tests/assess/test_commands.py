"""Commands to go on with: of the files and the model that were assessed, and such as the parser takes."""

import shlex
from dataclasses import replace

import pytest
import typer

from nequix.assess.commands import Asked, name_commands
from nequix.assess.thresholds import Thresholds
from nequix.cli import app

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
        select == f"nequix select 'md 1.extxyz' b.xyz -n 40 --model nequix-nano {common} -o to-label.extxyz"
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


def test_labels_of_the_target_itself_are_not_tested_on_again():
    assess = commands(asked=Asked(["md.xyz"], [], "m.safetensors"))[-1]
    assert assess == "nequix assess md.xyz --dft HELD-OUT --model runs/tuned/model.safetensors -o again"


def test_a_tuned_model_is_tuned_anew_from_its_parent():
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
