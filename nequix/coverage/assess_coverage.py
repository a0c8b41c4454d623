"""Assessment of a target: named gaps, scores of atoms, and the verdict inside, edge or outside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nequix.core.errors import DataError, GraphError
from nequix.coverage.environments import (
    ANGLE_BINS,
    BIN_WIDTH,
    CROWD_RATIO,
    ORDER_SCALE,
    VIEWS,
    Environments,
    environments_of,
    name_of,
)
from nequix.coverage.features import last_features
from nequix.coverage.histograms import Histograms, Tally
from nequix.coverage.reference import RANGES, VERDICTS, Reference, score
from nequix.data.batch import graph_of
from nequix.data.structure import Structure

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from nequix.potential import Potential

NEARLY_NONE = 0.9
"""Structures of the training set, those of neighbouring bins counted in part, below which a bin is a gap."""

MANY = {"edge": 0.2, "outside": 0.05}
"""A target with more than this part of its structures so, or worse, is called so.

By the calibration, a few in a hundred structures of the training distribution itself are at the edge."""

MATTERS = 0.02
"""Minimum weight of a named event: pairs up to six sevenths of the cutoff."""

SOME = 0.01
"""More than this part of the structures outside makes at least an edge.

A single one suffices if it is outside by ``range``, where the training set has no such distance of a
well-known pair.
"""

NAMED = 200
"""Maximum number of gaps, and of atoms per gap."""


@dataclass(frozen=True)
class Gap:
    """An environment that the target has and the training set almost never.

    Attributes:
        view: One of :data:`nequix.coverage.environments.VIEWS`.
        name: The pair, triple or element.
        low: Lower end: A, degrees or a number.
        high: Upper end.
        share: Fraction of the target's atoms with such an environment.
        n_known: Number of training structures with this pair, triple or element.
        reason: Range in the training set.
        rarity: Rarity of its rarest event; the calibration has the usual values.
        atoms: Indices of structure and atom of the first such atoms.
        n_atoms: Number of such atoms.
        structures: Indices of all structures with such an atom.
    """

    view: str
    name: str
    low: float
    high: float
    share: float
    n_known: float
    reason: str
    rarity: float
    atoms: list[list[int]]
    n_atoms: int
    structures: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Coverage:
    """A target compared with a reference.

    Attributes:
        names: The structures' names.
        n_atoms: Number of atoms of each.
        numbers: Atomic numbers.
        values: Values of each atom, by view (:meth:`nequix.coverage.reference.Reference.values`).
        score: Score of each atom: 1 is as unusual as one atom in a hundred of held-out training structures.
        verdicts: Verdict of each structure.
        verdict: Verdict of the whole target.
        reasons: Reasons, the most important first.
        gaps: Named gaps, the worst first.
        histograms: Histograms of the target.
        failures: Name and reason of invalid structures.
    """

    names: tuple[str, ...]
    n_atoms: Int[np.ndarray, " n"]
    numbers: Int[np.ndarray, " n_atoms"]
    values: dict[str, Float[np.ndarray, " n_atoms"]]
    score: Float[np.ndarray, " n_atoms"]
    verdicts: tuple[str, ...]
    verdict: str
    reasons: list[str]
    gaps: list[Gap]
    histograms: Histograms
    failures: list[list[str]]

    @property
    def atom_structure(self) -> Int[np.ndarray, " n_atoms"]:
        """Structure of each atom."""
        return np.repeat(np.arange(len(self.names)), self.n_atoms)

    @property
    def structure_score(self) -> Float[np.ndarray, " n"]:
        """Largest score of each structure."""
        return np.array([part.max() for part in np.split(self.score, np.cumsum(self.n_atoms)[:-1])])

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "verdict": self.verdict,
            "reasons": self.reasons,
            "n_structures": len(self.names),
            "n_atoms": len(self.numbers),
            "structures": [
                {"name": name, "verdict": verdict, "score": float(value)}
                for name, verdict, value in zip(self.names, self.verdicts, self.structure_score, strict=True)
            ],
            "gaps": [_without_structures(gap) for gap in self.gaps[:NAMED]],
            "atoms": {
                "structure": self.atom_structure.tolist(),
                "number": self.numbers.tolist(),
                "score": np.round(self.score, 4).tolist(),
                **{view: _json(x) for view, x in self.values.items()},
            },
            "failures": self.failures,
        }


def _without_structures(gap: Gap) -> dict[str, Any]:
    """Return a gap as JSON values, without fields that grow with the target."""
    return {name: value for name, value in asdict(gap).items() if name != "structures"}


def _json(values: Float[np.ndarray, " n"]) -> list[float | None]:
    return [round(value, 4) if np.isfinite(value) else None for value in values.tolist()]


def assess_coverage(
    structures: Iterable[Structure], reference: Reference, potential: Potential | None = None
) -> Coverage:
    """Compare a target with a reference.

    Args:
        structures: The target.
        reference: Reference of the model's training set.
        potential: The model on a backend, for its features; they are left out without it.

    Raises:
        DataError: If the target has no valid structure.
    """
    kept: list[Structure] = []
    around: list[Environments] = []
    failures: list[list[str]] = []
    for structure in structures:
        try:
            around.append(environments_of(structure, reference.cutoff))
            kept.append(structure)
        except GraphError as error:
            failures.append([structure.name, str(error)])
    if not kept:
        reason = f" ({failures[0][1]})" if failures else ""
        raise DataError(f"the target contains no structure that can be judged{reason}; is it complete?")
    features = _features(kept, reference, potential)
    each = [reference.values(*pair) for pair in zip(around, features, strict=True)]
    views = [view for view in (*VIEWS, "range", "features") if any(view in found for found in each)]
    values = {
        view: np.concatenate(
            [found.get(view, np.full(len(e.numbers), np.nan)) for found, e in zip(each, around, strict=True)]
        )
        for view in views
    }
    scores = [score(found, reference.calibration.usual) for found in each]
    strangers = [sorted(set(e.numbers.tolist()) - set(reference.elements)) for e in around]
    verdicts, beyond = [], False
    for found, own, strange in zip(each, scores, strangers, strict=True):
        largest = {view: float(x.max()) for view, x in {**found, "score": own}.items()}
        verdicts.append("outside" if strange else reference.calibration.judge(largest))
        beyond |= largest["range"] > reference.calibration.outside.get("range", np.inf)
    gaps = find_gaps(around, reference)
    counted = Tally(reference.cutoff)
    for environments in around:
        counted.add(environments)
    verdict = _overall(verdicts, beyond)
    return Coverage(
        tuple(structure.name for structure in kept),
        np.array([len(e.numbers) for e in around]),
        np.concatenate([e.numbers for e in around]),
        values,
        np.concatenate(scores),
        tuple(verdicts),
        verdict,
        _reasons(each, scores, verdicts, strangers, gaps, reference),
        gaps,
        counted.histograms(),
        failures,
    )


def _features(
    structures: Sequence[Structure], reference: Reference, potential: Potential | None
) -> list[np.ndarray | None]:
    """Evaluate features of structures with known elements."""
    if potential is None or reference.features is None:
        return [None] * len(structures)
    graphs = []
    for structure in structures:
        try:
            graphs.append(graph_of(structure, potential.spec))
        except GraphError:  # an element that the model lacks; reported by elements
            graphs.append(None)
    known = last_features(potential, [graph for graph in graphs if graph is not None])
    return [None if graph is None else next(known) for graph in graphs]


def _overall(verdicts: Sequence[str], beyond: bool) -> str:
    for name in reversed(VERDICTS[1:]):
        worse = sum(VERDICTS.index(verdict) >= VERDICTS.index(name) for verdict in verdicts)
        if worse > MANY[name] * len(verdicts):
            return name
    return "edge" if beyond or verdicts.count("outside") > SOME * len(verdicts) else "inside"


def find_gaps(around: Sequence[Environments], reference: Reference) -> list[Gap]:
    """List gaps: what the target has and the training set almost never, the rarest and most frequent first.

    Args:
        around: Environments of the target's structures.
        reference: Reference of the model's training set.
    """
    n_atoms = sum(len(environments.numbers) for environments in around)
    gaps = []
    for view in VIEWS:
        pieces = []
        for number, environments in enumerate(around):
            events = getattr(environments, view)
            empty = (reference.smoothed[view].of(events) < NEARLY_NONE) & (events.weight > MATTERS)
            if empty.any():
                some = type(events)(*(array[empty] for array in events))
                rarity = reference.rarity(view, some)
                owner = np.full(len(some.atom), number)
                pieces.append((owner, some.atom, some.code, some.bin, some.value, rarity))
        if pieces:
            columns = [np.concatenate(column) for column in zip(*pieces, strict=True)]
            gaps += _named(view, columns, n_atoms, reference)
    usual = reference.calibration.usual
    gaps.sort(key=lambda gap: -gap.rarity / usual.get(gap.view, 1.0) * (1 + gap.share))
    return gaps


def _named(view: str, columns: list[np.ndarray], n_atoms: int, reference: Reference) -> list[Gap]:
    """Join events of one kind in adjacent bins to a gap."""
    owner, atom, code, bins, value, rarity = columns
    gaps = []
    for kind in np.unique(code).tolist():
        mine = np.flatnonzero(code == kind)
        occupied = np.unique(bins[mine])
        for run in np.split(occupied, np.flatnonzero(np.diff(occupied) > 1) + 1):
            inside = mine[(bins[mine] >= run[0]) & (bins[mine] <= run[-1])]
            atoms = np.unique(np.stack([owner[inside], atom[inside]], 1), axis=0)
            low, high = _range(view, run, value[inside])
            counts = reference.histograms[view].row(kind)
            gaps.append(
                Gap(
                    view,
                    name_of(view, kind),
                    low,
                    high,
                    len(atoms) / n_atoms,
                    float(np.round(counts.max(initial=0.0))),
                    _instead(view, kind, run, counts),
                    float(rarity[inside].max()),
                    atoms[:NAMED].tolist(),
                    len(atoms),
                    tuple(np.unique(atoms[:, 0]).tolist()),
                )
            )
    return gaps


def _range(view: str, run: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    width = {"pairs": BIN_WIDTH, "angles": 180 / ANGLE_BINS}.get(view)
    if width is None:
        return float(values.min()), float(values.max())
    return round(float(run[0] * width), 6), round(float((run[-1] + 1) * width), 6)


def _instead(view: str, kind: int, run: np.ndarray, counts: Float[np.ndarray, " n_bins"]) -> str:
    """Describe what the training set has of a kind."""
    known = np.flatnonzero(counts)
    if not len(known):
        return "never seen"
    if view in ("crowd", "orders"):
        low, high = CROWD_RATIO ** np.array([known[0], known[-1] + 1]) - 1
        if view == "crowd":
            return f"seen with {low:.0f} to {high:.0f}"
        return f"seen with {low / ORDER_SCALE:.3g} to {high / ORDER_SCALE:.3g}"
    if view == "coordination":
        return f"seen with {known[0]} to {known[-1]}"
    width, unit = (BIN_WIDTH, "A") if view == "pairs" else (180 / ANGLE_BINS, "degrees")
    if run[-1] < known[0]:
        return (
            f"shortest seen {known[0] * width:.4g} {unit}"
            if view == "pairs"
            else (f"smallest seen {known[0] * width:.4g} {unit}")
        )
    if run[0] > known[-1]:
        return f"largest seen {(known[-1] + 1) * width:.4g} {unit}"
    return "seen at smaller and larger ones"


def _reasons(
    each: Sequence[dict[str, np.ndarray]],
    scores: Sequence[np.ndarray],
    verdicts: Sequence[str],
    strangers: Sequence[list[int]],
    gaps: Sequence[Gap],
    reference: Reference,
) -> list[str]:
    from ase.data import chemical_symbols

    n, reasons = len(verdicts), []
    unknown = sorted({z for strange in strangers for z in strange})
    if unknown:
        names = ", ".join(chemical_symbols[z] for z in unknown)
        reasons.append(f"{names}: not in the training set ({sum(map(bool, strangers))} of {n} structures)")
    for view in ("range", *VIEWS, "features", "score"):
        largest = [
            (own if view == "score" else found.get(view, np.zeros(1))).max()
            for found, own in zip(each, scores, strict=True)
        ]
        for limit, word in ((reference.calibration.outside, "outside"), (reference.calibration.edge, "edge")):
            beyond = sum(value > limit.get(view, np.inf) for value in largest)
            if beyond:
                reasons.append(
                    f"{_WORDS[view]}: {beyond} of {n} structures beyond the {word} value {limit[view]:.3g} "
                    f"(largest {max(largest):.3g}){_example(view, gaps)}"
                )
                break
    if not reasons:
        reasons.append("no environment is more unusual than those of the training set, held out")
    return reasons


_WORDS = {
    "range": "beyond the range of pairs that are well known",
    "pairs": "distances",
    "angles": "angles",
    "coordination": "bonded neighbours",
    "crowd": "neighbours within the cutoff",
    "orders": "bond orders",
    "features": "the model's features",
    "score": "all views together",
}


def _example(view: str, gaps: Sequence[Gap]) -> str:
    found = next((gap for gap in gaps if gap.view == view or (view == "range" and gap.view in RANGES)), None)
    return "" if found is None else f"; {describe(found)}"


def describe(gap: Gap) -> str:
    """Describe a gap in one line.

    Args:
        gap: The gap.
    """
    unit = {"pairs": " A", "angles": " degrees", "orders": " bonds"}.get(gap.view, " neighbours")
    span = f"{gap.low:.4g}" if gap.low == gap.high else f"{gap.low:.4g}-{gap.high:.4g}"
    return f"{gap.name} {span}{unit}: {100 * gap.share:.3g} % of the atoms, {gap.reason}"
