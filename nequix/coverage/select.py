"""Selection of structures to label next: typical, distant, with gaps, or with a large ensemble spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nequix.core.errors import DataError
from nequix.core.suggest import did_you_mean
from nequix.coverage.assess_coverage import MATTERS, NEARLY_NONE
from nequix.coverage.environments import VIEWS, Environments, environments_of, name_of
from nequix.coverage.features import FeatureReference, FeatureSums, last_features
from nequix.coverage.reference import Reference
from nequix.data.batch import graph_of
from nequix.data.structure import Structure

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from nequix.potential import Potential

ROUNDS = 20
"""Of k-means."""

STRATEGIES = ("clusters", "farthest", "gaps", "ensemble", "random")
"""The selection strategies."""

COVERED = 0.5
"""Factor on the weight of a gap per chosen structure that has it: a single structure does not close it."""


@dataclass(frozen=True)
class Choice:
    """A chosen structure.

    Attributes:
        index: Index among the candidates.
        value: Selection criterion, in the strategy's unit.
        reason: Explanation.
    """

    index: int
    value: float
    reason: str


def check_number(n: int, n_candidates: int) -> None:
    """Reject a selection of more structures than there are.

    Args:
        n: How many.
        n_candidates: Number of candidates.

    Raises:
        DataError: If there are fewer, or none are requested.
    """
    if not 1 <= n <= n_candidates:
        raise DataError(f"-n {n}, expected 1 to {n_candidates}, the number of candidates")


def random_choice(n_candidates: int, n: int, seed: int = 0) -> list[Choice]:
    """Choose at random, as a baseline.

    Args:
        n_candidates: Number of candidates.
        n: Number of structures to choose.
        seed: Random seed.

    Raises:
        DataError: If there are fewer.
    """
    check_number(n, n_candidates)
    drawn = np.random.default_rng(seed).permutation(n_candidates)[:n]
    return [Choice(int(index), 0.0, f"at random, seed {seed}") for index in drawn]


def ensemble_choice(spreads: Sequence[Float[np.ndarray, "..."]], n: int) -> list[Choice]:
    """Choose the structures with the largest ensemble spread.

    Args:
        spreads: One number, or one per atom, for each candidate, e.g. the standard deviation of its forces
            over the members; the mean over the atoms counts.
        n: Number of structures to choose.

    Raises:
        DataError: If there are fewer candidates, or a spread is not a number.
    """
    check_number(n, len(spreads))
    values = np.array([np.mean(spread) for spread in spreads])
    if not np.isfinite(values).all() or (values < 0).any():
        bad = int(np.flatnonzero(~(np.isfinite(values) & (values >= 0)))[0])
        raise DataError(
            f"candidate {bad}: its spread is {values[bad]}, expected numbers that are not negative"
        )
    order = np.argsort(-values, kind="stable")[:n]
    return [
        Choice(int(index), float(values[index]), f"spread {values[index]:.4g}, {rank}. of {len(spreads)}")
        for rank, index in enumerate(order.tolist(), 1)
    ]


def farthest_choice(
    features: Sequence[Float[np.ndarray, "n n_features"]],
    n: int,
    known: Sequence[Float[np.ndarray, "n n_features"]] = (),
) -> list[Choice]:
    """Choose one by one the structure with atoms farthest from all known or chosen atoms.

    A structure's distance is the mean over its atoms of the distance to the nearest such atom.

    Args:
        features: Whitened features of the atoms of each candidate.
        n: Number of structures to choose.
        known: The same for labelled structures; without them the first choice is the candidate most similar
            to all others.

    Raises:
        DataError: If there are fewer candidates.
    """
    check_number(n, len(features))
    atoms = np.concatenate([np.asarray(part, np.float64) for part in features])
    starts = np.concatenate([[0], np.cumsum([len(part) for part in features])])
    lengths = np.diff(starts)
    nearest = np.full(len(atoms), np.inf)
    for part in known:
        nearest = np.minimum(nearest, _distances(atoms, np.asarray(part, np.float64)))
    choices: list[Choice] = []
    for _ in range(n):
        if np.isinf(nearest).all():
            means = np.add.reduceat(atoms, starts[:-1]) / lengths[:, None]
            index = int(np.linalg.norm(means - means.mean(axis=0), axis=1).argmin())
            choice = Choice(index, 0.0, "the one most like all others, to begin with")
        else:
            values = np.add.reduceat(nearest, starts[:-1]) / lengths
            values[[chosen.index for chosen in choices]] = -1
            index = int(values.argmax())
            reason = f"{values[index]:.3g} from what is known, in the model's features"
            choice = Choice(index, float(values[index]), reason)
        choices.append(choice)
        own = atoms[starts[index] : starts[index + 1]]
        nearest = np.minimum(nearest, _distances(atoms, own))
    return choices


def _distances(
    atoms: Float[np.ndarray, "n n_features"], others: Float[np.ndarray, "m n_features"]
) -> Float[np.ndarray, " n"]:
    """Return each atom's distance to the nearest of others, over the root of the number of features."""
    found = np.empty(len(atoms))
    for start in range(0, len(atoms), 4096):  # limits the size of the distance table
        some = atoms[start : start + 4096]
        squares = (some**2).sum(1)[:, None] + (others**2).sum(1) - 2 * some @ others.T
        found[start : start + 4096] = squares.min(axis=1)
    return np.sqrt(np.maximum(found, 0) / atoms.shape[1])


def cluster_choice(
    features: Sequence[Float[np.ndarray, "n n_features"]], n: int, seed: int = 0
) -> list[Choice]:
    """Choose the most typical structure of each of ``n`` clusters, the largest cluster first.

    Clusters are those of k-means over the means and the spreads of the atoms' features: common kinds of
    structures get more of the choices than rare ones, unlike with :func:`farthest_choice`.

    Args:
        features: Whitened features of the atoms of each candidate.
        n: Number of structures to choose.
        seed: Random seed of the first centres.

    Raises:
        DataError: If there are fewer candidates.
    """
    check_number(n, len(features))
    points = np.array([np.concatenate([part.mean(axis=0), part.std(axis=0)]) for part in features])
    rng = np.random.default_rng(seed)
    centres = [int(rng.integers(len(points)))]
    squares = np.full(len(points), np.inf)
    for _ in range(n - 1):  # k-means++: far ones are likelier
        squares = np.minimum(squares, ((points - points[centres[-1]]) ** 2).sum(axis=1))
        squares[centres] = 0.0
        total = squares.sum()
        share = squares / total if total > 0 else np.isin(np.arange(len(points)), centres, invert=True) * 1.0
        centres.append(int(rng.choice(len(points), p=share / share.sum())))
    means, owner = points[centres], np.zeros(len(points), int)
    for _ in range(ROUNDS):
        owner = ((points[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
        means = np.array([points[owner == k].mean(axis=0) if k in owner else means[k] for k in range(n)])
    return _most_typical(points, means, owner)


def _most_typical(
    points: Float[np.ndarray, "n d"], means: Float[np.ndarray, "k d"], owner: Int[np.ndarray, " n"]
) -> list[Choice]:
    """Take the member nearest to each mean; for a mean without members, the least typical remaining one."""
    squares = ((points - means[owner]) ** 2).sum(axis=1)
    sizes = np.bincount(owner, minlength=len(means))
    choices: list[Choice] = []
    for k in np.argsort(-sizes, kind="stable").tolist():
        if sizes[k]:
            members = np.flatnonzero(owner == k)
            index = int(members[squares[members].argmin()])
            choices.append(Choice(index, float(sizes[k]), f"most typical of {sizes[k]} alike"))
        else:
            free = np.setdiff1d(np.arange(len(points)), [choice.index for choice in choices])
            index = int(free[squares[free].argmax()])
            choices.append(Choice(index, 0.0, "unlike the others that are alike it"))
    return choices


def gap_choice(around: Sequence[Environments], reference: Reference, n: int) -> list[Choice]:
    """Choose one by one the structure with the most gaps relative to the training set.

    A candidate's value is the sum of the rarities of its gaps, halved for each gap that was already chosen.

    Args:
        around: Environments of each candidate.
        reference: Reference of the training set, with labelled structures counted as known.
        n: Number of structures to choose.

    Raises:
        DataError: If there are fewer candidates.
    """
    check_number(n, len(around))
    worth: list[dict[tuple[str, int, int], float]] = [_gaps(some, reference) for some in around]
    left: dict[tuple[str, int, int], float] = {}
    choices: list[Choice] = []
    taken: set[int] = set()
    for _ in range(n):
        values = [
            -1.0 if i in taken else sum(rarity * left.get(gap, 1.0) for gap, rarity in gaps.items())
            for i, gaps in enumerate(worth)
        ]
        index = int(np.argmax(values))
        fresh = sorted(worth[index], key=lambda gap: -worth[index][gap] * left.get(gap, 1.0))
        names = list(dict.fromkeys(name_of(gap[0], gap[1]) for gap in fresh))[:3]
        reason = (
            f"{len(fresh)} gaps, worth {values[index]:.3g}: {', '.join(names)}" if fresh else "no gaps left"
        )
        choices.append(Choice(index, values[index], reason))
        taken.add(index)
        left.update({gap: COVERED * left.get(gap, 1.0) for gap in worth[index]})
    return choices


def _gaps(environments: Environments, reference: Reference) -> dict[tuple[str, int, int], float]:
    found: dict[tuple[str, int, int], float] = {}
    for view in VIEWS:
        events = getattr(environments, view)
        empty = (reference.smoothed[view].of(events) < NEARLY_NONE) & (events.weight > MATTERS)
        rarity = reference.rarity(view, events)
        for code, place, rare in zip(
            events.code[empty].tolist(), events.bin[empty].tolist(), rarity[empty].tolist(), strict=True
        ):
            found[view, code, place] = max(found.get((view, code, place), 0.0), rare)
    return found


def select(
    strategy: str,
    candidates: Sequence[Structure],
    n: int,
    *,
    potential: Potential | None = None,
    reference: Reference | None = None,
    known: Sequence[Structure] = (),
    spreads: Sequence[Float[np.ndarray, "..."]] | None = None,
    seed: int = 0,
) -> list[Choice]:
    """Choose structures to label.

    Args:
        strategy: One of ``STRATEGIES``.
        candidates: The structures to choose from.
        n: How many.
        potential: The model, for ``clusters`` and ``farthest``.
        reference: Reference of its training set: for ``gaps``, and for the scale of features, which is
            otherwise that of the candidates.
        known: Structures that are already labelled.
        spreads: Spreads of an ensemble, for ``ensemble`` (:func:`ensemble_choice`).
        seed: Random seed, for ``random`` and ``clusters``.

    Raises:
        DataError: If an input of the strategy is missing, or there are too few candidates.
        GraphError: For a candidate that the model cannot evaluate, naming it.
    """
    if strategy == "random":
        return random_choice(len(candidates), n, seed)
    if strategy == "ensemble":
        if spreads is None:
            raise DataError("the strategy ensemble needs the spreads of an ensemble; name them with --spread")
        return ensemble_choice(spreads, n)
    if strategy == "gaps":
        if reference is None:
            raise DataError(
                "the strategy gaps needs the model's reference; build it, or use another strategy"
            )
        around = [environments_of(structure, reference.cutoff) for structure in candidates]
        if known:
            from nequix.coverage.build import tally

            counted = tally(known, reference.cutoff)
            reference = reference.with_also(counted)
        return gap_choice(around, reference, n)
    if strategy not in ("clusters", "farthest"):
        hint = did_you_mean(strategy, STRATEGIES)
        raise DataError(f"strategy = {strategy!r}, expected one of {', '.join(STRATEGIES)}{hint}")
    if potential is None:
        raise DataError(f"the strategy {strategy} needs a model on a backend")
    if strategy == "clusters" and known:
        raise DataError("the strategy clusters ignores known structures; use farthest or gaps")
    check_number(n, len(candidates))
    found, held = (
        list(last_features(potential, (graph_of(structure, potential.spec) for structure in some)))
        for some in (candidates, known)
    )
    scale = _scale(found, reference)
    if strategy == "clusters":
        return cluster_choice([scale.whitened(part) for part in found], n, seed)
    return farthest_choice(
        [scale.whitened(part) for part in found], n, [scale.whitened(part) for part in held]
    )


def _scale(features: Sequence[np.ndarray], reference: Reference | None) -> FeatureReference:
    if reference is not None and reference.features is not None:
        return reference.features
    sums = FeatureSums()
    for part in features:
        sums.add(part)
    return sums.reference()
