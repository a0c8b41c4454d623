"""The commands that an assessment names to go on with."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields

from nequix.assess.thresholds import Thresholds


@dataclass(frozen=True)
class Asked:
    """What was assessed, as the commands to go on with name it.

    Attributes:
        target: Files of the target.
        labelled: Files of labelled snapshots; none if the labels are the target's own.
        model: A known name or a path.
        parent: What the model was fine-tuned from; None if it was not.
        reference: File of the coverage reference, if it must be named.
        also: Files of structures that count as known, as those of a fine-tuning do.
        covered: Whether there is a reference at all.
        n_structures: Of the target, which are all the candidates; None if unknown.
    """

    target: Sequence[str] = ("TARGET",)
    labelled: Sequence[str] = ()
    model: str = "MODEL"
    parent: str | None = None
    reference: str | None = None
    also: Sequence[str] = ()
    covered: bool = False
    n_structures: int | None = None


def name_commands(
    action: str, mode: str | None, number: int, protocol: Thresholds, asked: Asked
) -> list[str]:
    """Spell the commands.

    Args:
        action: The verdict (:data:`nequix.assess.decide.ACTIONS`).
        mode: Of the fine-tuning, if that is the verdict.
        number: Of structures to label; no more are chosen than the target has.
        protocol: Thresholds; those that differ from the usual ones are named.
        asked: What was assessed.
    """
    if action == "train":
        return ["nequix train configs/quickstart.yml -o runs/own"]
    if action not in ("few-shot", "undecided"):
        return []
    # A tuned model is the result of a round before, whose files stay.
    again = "" if asked.parent is None else f"-{max(len(asked.also), 1) + 1}"
    chosen, run = f"to-label{again}.extxyz", f"runs/tuned{again}"
    reference = ["--reference", asked.reference] if asked.reference else []
    model = ["--model", asked.model, *reference]
    count = number if asked.n_structures is None else min(number, asked.n_structures)
    found = [_spell("nequix select", *asked.target, "-n", str(count), *model, "-o", chosen)]
    if action == "undecided":
        return found
    earlier = asked.also or ([] if asked.parent is None else ["LABELLED-BEFORE"])
    parent = ["--from", asked.parent or asked.model, "--mode", str(mode)]
    finetune = _spell("nequix finetune", *parent, *earlier, chosen, "-o", run)
    held_out = [word for name in asked.labelled or ["HELD-OUT"] for word in ("--dft", name)]
    known = [word for name in (*earlier, chosen) for word in ("--also", name)] if asked.covered else []
    tuned = ["--model", f"{run}/model.safetensors", *reference, *known, *_thresholds(protocol)]
    assess = _spell("nequix assess", *asked.target, *held_out, *tuned, "-o", f"again{again}")
    return [*found, f"{finetune}  # once {chosen} is labelled", assess]


def _thresholds(protocol: Thresholds) -> list[str]:
    names = [field.name for field in fields(Thresholds) if field.name.endswith(("_force", "_energy"))]
    usual = Thresholds()
    return [
        word
        for name in names
        if getattr(protocol, name) != getattr(usual, name)
        for word in (f"--{name.replace('_', '-')}", f"{getattr(protocol, name):g}")
    ]


def _spell(command: str, *words: str) -> str:
    return f"{command} {shlex.join(words)}"
