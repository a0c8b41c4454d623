"""The verdict: use the model as it is, fine-tune it on few structures, or train a new one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from nequix.assess.commands import Asked, name_commands
from nequix.assess.kinds import Conditions, Kind, decisive_kind
from nequix.assess.measure import FEW, Measured
from nequix.assess.similarity import shared
from nequix.assess.thresholds import Thresholds
from nequix.coverage.assess_coverage import MANY, Coverage

CURVE = ((10, 0.60), (50, 0.54), (200, 0.34))
"""Fraction of the force errors that remains after fine-tuning the last layer, by number of structures.

Measured on MoNbTaW with nequix-mp-1 (docs/finetuning.md). Other systems differ: this is a first guess.
"""

HOPELESS = 0.1
"""If less than this fraction of the error may remain, a few structures do not suffice."""

ANOTHER_SCALE = 0.5
"""eV/atom; larger offsets indicate another functional, other pseudo-potentials or an all-electron code."""

NO_FORCE = 0.01
"""meV/A; labelled forces that are smaller on average are zero except for rounding."""

SOME = 20
"""Structures to label if no number follows from the errors."""

SHOWN = 10
"""Number of elements and pairs that are named."""

ACTIONS = {
    "zero-shot": "use the model as it is",
    "tuned": "use the fine-tuned model",
    "few-shot": "fine-tune on few structures",
    "train": "train fully, or choose another model",
    "undecided": "undecided: label more",
}
"""All verdicts in words."""


@dataclass
class Verdict:
    """The recommended action and its reasons.

    Attributes:
        action: One of ``ACTIONS``.
        mode: Mode of the fine-tuning, if that is the action.
        n_structures: Number of structures to start with; None if unknown.
        reasons: Reasons for the action.
        doubts: Reasons against it, and unknowns.
        next: Suggested next commands.
    """

    action: str
    mode: str | None = None
    n_structures: int | None = None
    reasons: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    next: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {**asdict(self), "words": ACTIONS[self.action]}


def decide(
    measured: Measured,
    protocol: Thresholds,
    *,
    coverage: Coverage | None,
    labelled_coverage: Coverage | None = None,
    unlike: Sequence[str] = (),
    tuned: bool = False,
    lacking: Mapping[str, int] | None = None,
    spread: float | None = None,
    asked: Asked | None = None,
    caveat: str = "",
    target: Conditions | None = None,
    conditions: Sequence[str] = (),
) -> Verdict:
    """Decide by the recorded thresholds; an interval must be on one side of a threshold to count as clear.

    Args:
        measured: Errors on the labelled snapshots.
        protocol: The thresholds.
        coverage: Coverage of the target; None if there is no reference.
        labelled_coverage: Coverage of the labelled snapshots with measured errors.
        unlike: Elements and pairs of the target that none of these has.
        tuned: Whether the model was fine-tuned, so that the thresholds for such models apply.
        lacking: Number of structures with each element that the model does not know.
        spread: Mean spread of an ensemble's forces on the target, meV/A.
        asked: Files and model, for the suggested commands.
        caveat: Caveat of the coverage reference.
        target: Predicted forces and volumes of the target, which choose the kind of snapshots that decides.
        conditions: Conditions of the target that no labelled snapshot covers
            (``nequix.assess.kinds.differences``).
    """
    asked = asked or Asked()
    kind = decisive_kind(target, measured.kinds, FEW)
    verdict = _by_errors(measured if kind is None else _of_kind(measured, kind), protocol, tuned)
    if kind is not None:
        verdict.reasons.insert(0, _name_kinds(measured, kind))
    if conditions:
        verdict.doubts += conditions
        _distrust(verdict)
    _another_scale(verdict, measured)
    verdict.doubts += measured.notes
    if coverage is None:
        verdict.doubts.append(
            "no reference of the model's training set: whether the target is inside is unknown"
        )
    else:
        _weigh_coverage(verdict, coverage, labelled_coverage)
        if caveat:
            verdict.doubts.append(caveat)
        if tuned and "features" not in coverage.values:
            verdict.doubts.append(
                "coverage uses only histograms, not the model's features: fine-tuning has changed "
                "them, and the parent's reference does not tell what is usual"
            )
    if unlike:
        _weigh_unlike(verdict, unlike)
    if spread is not None:
        _weigh_spread(verdict, spread, protocol, tuned)
    if lacking:
        names = ", ".join(f"{symbol} ({n} structures)" for symbol, n in lacking.items())
        verdict.reasons.insert(0, f"the model lacks {names}; fine-tuning cannot add elements")
        if verdict.action != "undecided":
            verdict.doubts.append(f"considering only the structures without them: {ACTIONS[verdict.action]}")
        verdict.action, verdict.mode, verdict.n_structures = "train", None, None
    if verdict.action not in ("zero-shot", "tuned") and asked.better:
        verdict.reasons.append(
            f"{asked.model} is small: a published model, such as {asked.better}, may be the better start; "
            "assess it in the same way"
        )
    if verdict.action == "few-shot" and tuned:
        verdict.n_structures = asked.n_before or SOME
        number = asked.count(verdict.n_structures)
        verdict.reasons.append(
            f"label {number} more, and fine-tune the original model on all of them; compare what each step "
            "gained"
        )
    number = verdict.n_structures or SOME
    verdict.next = name_commands(verdict.action, verdict.mode, number, protocol, asked)
    return verdict


def _of_kind(measured: Measured, kind: Kind) -> Measured:
    """Decide by the force errors of one kind of snapshots."""
    return replace(measured, forces=kind.forces, force_size=kind.sizes)


def _name_kinds(measured: Measured, kind: Kind) -> str:
    each = ", ".join(
        f"{one.name}: {one.forces.value:.3g} ({one.forces.n} snapshots)"
        for one in measured.kinds
        if one.forces.value is not None
    )
    return f"force MAE by kind, meV/A: {each}; the snapshots with {kind.name} decide"


def _by_errors(measured: Measured, protocol: Thresholds, tuned: bool) -> Verdict:
    forces = measured.forces
    if forces.value is None:
        return Verdict("undecided", reasons=["the decision is made by force errors, and there are none"])
    limit = protocol.tuned_force if tuned else protocol.zero_shot_force
    text = f"force MAE {_span(forces)} meV/A, threshold {limit:g}"
    size = measured.force_size
    no_force = size is not None and size < NO_FORCE
    if forces.upper <= limit and no_force:
        verdict = Verdict("undecided", reasons=[f"{text}: below it, but of forces that are zero", _DISPLACE])
        _weigh_energies(verdict, measured, protocol, tuned)
    elif forces.upper <= limit:
        verdict = Verdict("tuned" if tuned else "zero-shot", reasons=[f"{text}: below it"])
        _weigh_energies(verdict, measured, protocol, tuned)
    elif forces.lower > limit:
        verdict = Verdict("few-shot", "last-layer") if tuned else _fine_tuning(forces.value, protocol)
        verdict.reasons.insert(0, f"{text}: above it")
    else:
        verdict = Verdict("undecided", reasons=[f"{text}: within the interval"])
        verdict.reasons.append(_how_many_more(measured, limit))
    if no_force:
        verdict.doubts.append(
            "labelled forces are all zero: symmetry or a relaxed structure; they say nothing of forces"
        )
    elif size is not None and forces.value > size / 2:
        verdict.doubts.append(
            f"labelled forces are only {size:.3g} meV/A on average: an error of {forces.value:.3g} is "
            f"{100 * forces.value / size:.0f} % of them"
        )
    return verdict


def _weigh_energies(verdict: Verdict, measured: Measured, protocol: Thresholds, tuned: bool) -> None:
    """Add the energy errors; they decide about a fine-tuned model and only warn about others."""
    energy = measured.energy_without_offsets
    if energy.value is None and tuned and measured.energy.value is not None:
        verdict.action = "undecided"
        verdict.reasons.append("energies decide, too, and there are too few to tell errors from offsets")
    if energy.value is not None:
        text = f"energy MAE without offsets {_span(energy)} meV/atom, threshold {protocol.tuned_energy:g}"
        if energy.upper <= protocol.tuned_energy:
            verdict.reasons.append(f"{text}: below it")
        elif tuned:
            verdict.action = "few-shot" if energy.lower > protocol.tuned_energy else "undecided"
            verdict.mode = "last-layer" if verdict.action == "few-shot" else None
            verdict.reasons.append(f"{text}: not below it")
        else:
            verdict.doubts.append(
                f"{text}: good for forces, not for differences of energies; fine-tune for those"
            )


def _another_scale(verdict: Verdict, measured: Measured) -> None:
    largest = max((abs(offset) for offset in measured.offsets.values()), default=0.0)
    if largest > ANOTHER_SCALE:
        verdict.doubts.append(
            f"labelled energies are on another scale (offsets up to {largest:.3g} eV/atom): another "
            "functional, other pseudo-potentials, or all electrons; its energies and the labels' must not be "
            "mixed, and forces of another functional differ, too"
        )


def _fine_tuning(error: float, protocol: Thresholds) -> Verdict:
    """Choose mode and number by the errors that fine-tuning leaves elsewhere."""
    left = protocol.tuned_force / error
    numbers, ratios = np.log([n for n, _ in CURVE]), np.array([ratio for _, ratio in CURVE])
    text = f"{100 * left:.0f} % of the force error may be left to reach {protocol.tuned_force:g} meV/A"
    if left < HOPELESS:
        return Verdict("train", reasons=[f"{text}: more than few structures can be expected to give"])
    if left < ratios[-1]:
        reason = (
            f"{text}; {CURVE[-1][0]} structures left {100 * ratios[-1]:.0f} % elsewhere: start with that many"
        )
        return Verdict("few-shot", "last-layer", CURVE[-1][0], [reason, _CURVE_NOTE])
    n = int(np.ceil(np.exp(np.interp(-left, -ratios, numbers)) / 5) * 5)
    return Verdict(
        "few-shot", "last-layer", n, [f"{text}; some {n} structures gave that elsewhere", _CURVE_NOTE]
    )


_DISPLACE = "label snapshots whose atoms are displaced, as those of dynamics are"
_CURVE_NOTE = (
    "elsewhere is MoNbTaW with nequix-mp-1 (docs/finetuning.md): a first guess; measure your own curve"
)


def _how_many_more(measured: Measured, limit: float) -> str:
    """Estimate how many snapshots would decide: intervals shrink with the square root of their number."""
    forces = measured.forces
    if forces.value is None or forces.low is None or forces.high is None or forces.n < FEW:
        return "label some twenty snapshots"
    half = forces.high - forces.value if forces.value < limit else forces.value - forces.low
    distance = max(abs(forces.value - limit), 1e-9)
    n = forces.n * (half / distance) ** 2
    return (
        "too close to tell with any number" if n > 1000 else f"some {int(np.ceil(n))} snapshots would decide"
    )


def _weigh_coverage(verdict: Verdict, coverage: Coverage, labelled: Coverage | None) -> None:
    n = len(coverage.verdicts)
    outside = [index for index, one in enumerate(coverage.verdicts) if one == "outside"]
    text = f"coverage of the target: {coverage.verdict} ({coverage.reasons[0]})"
    if outside:
        text += f"; {len(outside)} of {n} structures are outside, the first is {coverage.names[outside[0]]}"
    if coverage.verdict == "inside":
        verdict.reasons.append("the target is inside the training distribution")
    if coverage.verdict != "outside":
        if outside or coverage.verdict == "edge":
            verdict.doubts.append(text)
        return
    if labelled is not None:
        alike, labels = shared(coverage, labelled)
        often = len(labels) / len(labelled.verdicts) >= len(outside) / n / 2
        if labels and often and len(outside) - len(alike) <= MANY["outside"] * n:
            verdict.doubts.append(
                f"{text}; {len(labels)} of {len(labelled.verdicts)} labelled snapshots have such gaps, too, "
                "and their errors count"
            )
            return
        text += "; the labelled snapshots are not like that: their errors say nothing of it"
    verdict.doubts.append(text)
    _distrust(verdict)


def _weigh_unlike(verdict: Verdict, unlike: Sequence[str]) -> None:
    """Mention parts of the target that no labelled snapshot has."""
    named = ", ".join(unlike[:SHOWN]) + (f" and {len(unlike) - SHOWN} more" if len(unlike) > SHOWN else "")
    verdict.doubts.append(
        f"no labelled snapshot has what the target has: {named} (elements, and pairs within the cutoff); the "
        "errors say nothing of these"
    )
    _distrust(verdict)


def _distrust(verdict: Verdict) -> None:
    """Withdraw a verdict that rests on small errors of snapshots unlike the target."""
    if verdict.action in ("zero-shot", "tuned"):
        verdict.reasons.append(
            "small errors were measured on snapshots unlike the target: label some of the target"
        )
        verdict.action = "undecided"


def _weigh_spread(verdict: Verdict, spread: float, protocol: Thresholds, tuned: bool) -> None:
    limit = protocol.tuned_force if tuned else protocol.zero_shot_force
    text = f"mean spread of the ensemble's forces {spread:.3g} meV/A"
    if spread > limit:
        verdict.doubts.append(f"{text}: above the threshold of {limit:g}; the members disagree on the target")
    else:
        verdict.reasons.append(f"{text}: below {limit:g}; members that agree may still be wrong together")


def _span(estimate: Any) -> str:
    if estimate.low is None:
        return f"{estimate.value:.3g}"
    return f"{estimate.value:.3g} ({estimate.low:.3g} to {estimate.high:.3g})"
