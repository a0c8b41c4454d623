"""The next commands that an assessment suggests."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields

from nequix.assess.thresholds import Thresholds


@dataclass(frozen=True)
class Asked:
    """What was assessed, as the suggested commands refer to it.

    Attributes:
        target: Files of the target. labelled: Files of labelled snapshots; none if the labels are the
            target's own.
        model: A known name or a path.
        parent: The model that it was fine-tuned from; None if it was not.
        reference: File of the coverage reference, if it must be named.
        also: Files of structures that count as known, e.g. those used for fine-tuning.
        covered: Whether there is a reference at all.
        n_structures: Number of unlabelled structures of the target, the candidates; None if unknown.
        engine: Options of the backend, precision, kernel and device that differ from the defaults.
        keys: Options that name the labels' keys.
        own_labels: Whether structures of the target have labels.
        n_before: Number of structures that the model was fine-tuned on.
        better: A published model that may be the better start; None if the model is one.
        starter: File of a configuration that trains on the labelled structures; None without any.
        tuning: File of a configuration that fine-tunes on structures labelled like these; None if the usual
            values do.
    """

    target: Sequence[str] = ("TARGET",)
    labelled: Sequence[str] = ()
    model: str = "MODEL"
    parent: str | None = None
    reference: str | None = None
    also: Sequence[str] = ()
    covered: bool = False
    n_structures: int | None = None
    engine: Sequence[str] = ()
    keys: Sequence[str] = ()
    own_labels: bool = False
    n_before: int = 0
    better: str | None = None
    starter: str | None = None
    tuning: str | None = None

    def count(self, number: int) -> int:
        """Return how many of the wanted structures can be chosen.

        Args:
            number: The wanted number.
        """
        return number if self.n_structures is None else min(number, self.n_structures)


def name_commands(
    action: str, mode: str | None, number: int, protocol: Thresholds, asked: Asked
) -> list[str]:
    """Return the suggested commands.

    Args:
        action: The verdict (:data:`nequix.assess.decide.ACTIONS`).
        mode: Mode of the fine-tuning, if that is the verdict.
        number: Number of structures to label, limited by the target.
        protocol: Thresholds; those that differ from the defaults are named.
        asked: What was assessed.
    """
    better = []
    if action not in ("zero-shot", "tuned") and asked.better:
        held_out = [word for name in asked.labelled for word in ("--dft", name)]
        words = [
            *held_out,
            *asked.keys,
            "--model",
            asked.better,
            *_thresholds(protocol),
            "-o",
            f"page-{asked.better}",
        ]
        better = [_spell("nequix assess", *asked.target, *words)]
    if action == "train":
        train = [] if asked.starter is None else [_spell("nequix train", asked.starter, "-o", "runs/own")]
        return [*better, *(f"{line} --dry-run  # then without --dry-run" for line in train)]
    if action not in ("few-shot", "undecided"):
        return []
    # A tuned model comes from an earlier round; its files are kept.
    again = "" if asked.parent is None else f"-{max(len(asked.also), 1) + 1}"
    chosen, run = f"to-label{again}.extxyz", f"runs/tuned{again}"
    reference = ["--reference", asked.reference] if asked.reference else []
    model = ["--model", asked.model, *reference, *asked.engine]
    count = asked.count(number)
    labelled = [word for name in (*asked.labelled, *asked.also) for word in ("--known", name)]
    labelled += ["--unlabelled", *_option(asked.keys, "--forces-key")] if asked.own_labels else []
    found = []
    if count:
        found = [_spell("nequix select", *asked.target, "-n", str(count), *labelled, *model, "-o", chosen)]
    if action == "undecided":
        return [*better, *found]
    earlier = asked.also or ([] if asked.parent is None else ["LABELLED-BEFORE"])
    parent = ["--from", asked.parent or asked.model, "--mode", str(mode)]
    parent += [] if asked.tuning is None else ["--config", asked.tuning]
    # If all structures of the target are labelled, they are the training data.
    new = [chosen] if count else list(asked.labelled or asked.target)
    finetune = _spell("nequix finetune", *parent, *earlier, *new, "-o", run)
    tests = (asked.labelled if count else ()) or ["HELD-OUT"]
    held_out = [word for name in tests for word in ("--dft", name)]
    known = [word for name in (*earlier, *new) for word in ("--also", name)] if asked.covered else []
    tuned = ["--model", f"{run}/model.safetensors", *reference, *asked.engine, *known, *_thresholds(protocol)]
    assess = _spell("nequix assess", *asked.target, *held_out, *asked.keys, *tuned, "-o", f"again{again}")
    once = f"{finetune}  # once {chosen} is labelled" if count else finetune
    return [*better, *found, once, assess]


def _option(words: Sequence[str], name: str) -> list[str]:
    """Return an option with its value, if it is among some words."""
    return [*words[words.index(name) :][:2]] if name in words else []


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
