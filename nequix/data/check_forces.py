"""Checks of forces, structure by structure, against the other structures and against a reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nequix.core.errors import GraphError
from nequix.data.check_report import Report
from nequix.data.pair_fit import LEAST, MAX_PAIRS, PairFit
from nequix.data.scan_records import Record
from nequix.data.sources import Source, StreamError
from nequix.data.structure import Structure

if TYPE_CHECKING:
    from jaxtyping import Float

    from nequix.graphs.results import Results

    Pair = tuple[Structure, Results]

HUGE = 100.0
"""eV/A, below which no force is an outlier; MPtrj's sample has 70, displaced MgO 215."""

OUTLYING = 20.0
"""Times the force that one structure in twenty exceeds: the most of the real sets is 35, at 70 eV/A."""

IMPOSSIBLE = 1000.0
"""eV/A, an outlier where no distance is below ``UNCOMPRESSED``; dimers in DFT have 450."""

UNCOMPRESSED = 0.6
"""Shortest distance over the sum of the covalent radii; see ``IMPOSSIBLE``."""

FITTED, JUDGED = 120, 2000
"""Structures that the pair potential is fitted to, and that it judges."""

TRUSTED = 0.85
"""Median cosine between labels and reference from which single structures are judged."""

STRANGE, BELOW = 0.3, 0.5
"""A cosine below the first value, and lower than the 10th percentile by the second, is not explained by an
inexact reference: among real structures the worst has 0.19 where the 10th percentile is 0.8; for reordered
forces it is 0."""

OPPOSITE = -0.6
"""Cosine below which forces have the opposite sign."""

ALIGNED = 0.6
"""Cosine above which only the size may be wrong."""

SCALED = 6.0
"""Ratio to the median ratio of sizes: of real structures the largest is 2.4; a kcal/mol gives 23."""

SIGNIFICANT, SMALL = 0.3, 0.05
"""Forces are compared above this part of the median size, and above this size, eV/A."""


def check_forces(records: Sequence[Record], report: Report) -> None:
    """Find structures with forces far beyond those of all others.

    Args:
        records: Of all structures.
        report: Receives findings.
    """
    known = [r for r in records if np.isfinite(r.largest_force)]
    sizes = np.sort([r.largest_force for r in known])
    usual = sizes[-1 - max(1, -(-len(known) // 20))] if len(known) >= LEAST else np.inf
    limit = max(HUGE, OUTLYING * float(usual))
    names = [
        f"{r.name} ({r.largest_force:.3g} eV/A)"
        for r in known
        if r.largest_force > limit or (r.largest_force > IMPOSSIBLE and not r.closest < UNCOMPRESSED)
    ]
    message = (
        "forces that neither the other structures nor the distances explain: a failed calculation, or "
        "another unit; leave these structures out, or repeat their calculations"
    )
    report.judge("force-outlier", "error", message, names, len(known))


def fit_pairs(records: Sequence[Record], source: Source, report: Report) -> list[Pair]:
    """Fit a pair potential to some of the forces and evaluate up to ``JUDGED`` structures with it.

    Args:
        records: Of all structures.
        source: Where the structures are.
        report: Receives why there is no fit.

    Returns:
        Structures and what the fit predicts; none without a fit.
    """
    usable = [
        r for r in records if r.has[1] and len(r.numbers) > 1 and not (r.problem or r.not_finite or r.zero)
    ]
    chosen = [usable[position] for position in spread_evenly(len(usable), JUDGED)]
    try:
        structures = [source[r.index] for r in chosen]
    except StreamError as error:
        report.notes.append(f"forces against a pair potential: not checked, {error}")
        return []
    fit = PairFit.fit([structures[position] for position in spread_evenly(len(structures), FITTED)])
    if fit is None:
        report.notes.append(
            f"forces against a pair potential: not checked, which takes {LEAST} structures with forces and "
            f"at most {MAX_PAIRS} pairs of elements; a model (--model) has no such limits"
        )
        return []
    pairs = []
    for structure in structures:
        try:
            pairs.append((structure, fit.evaluate(structure)))
        except GraphError:  # an element that is in none of those that were fitted
            continue
    return pairs


def spread_evenly(n: int, most: int) -> list[int]:
    """Choose at most a number of ``n`` positions, evenly spaced.

    Args:
        n: Number of positions.
        most: How many to choose.
    """
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(int)).tolist()


class ForceComparison:
    """Labelled forces beside those of a reference, structure by structure.

    Args:
        pairs: Structures and the reference's predictions.
        fitted: Whether the reference is a fit to these forces, and so only as good as a few functions can be.

    Attributes:
        structures: Those with forces that are large enough to compare.
        cosines: Between labels and reference.
        ratios: Size of the labels over that of the reference.
        directed: Whether the labels are large enough for a direction.
        sign: -1 if most labels are opposite to the reference.
        factor: Median ratio, with the sign.
    """

    def __init__(self, pairs: Sequence[Pair], *, fitted: bool = False) -> None:
        labelled = [(s, s.forces, r.forces) for s, r in pairs if s.forces is not None and len(s.numbers) > 1]
        sizes = np.array([_rms(forces) for _, forces, _ in labelled])
        expected = np.array([_rms(forces) for *_, forces in labelled])
        large = directed = (sizes > 0) & (expected > 0)
        if large.any():
            # A wrong unit makes all labels small or large: the reference tells which structures count.
            usual = float(np.median(sizes[large]))
            large &= expected > max(SIGNIFICANT * float(np.median(expected[large])), SMALL)
            # A fit to the larger forces says nothing about structures close to equilibrium.
            directed = sizes > SIGNIFICANT * usual
            large &= directed | (not fitted)
        kept = np.flatnonzero(large)
        self.structures: list[Structure] = [labelled[index][0] for index in kept]
        self.cosines: np.ndarray = np.array(
            [
                float((labelled[i][1] * labelled[i][2]).mean()) / (sizes[i] * expected[i])
                for i in kept.tolist()
            ]
        )
        self.ratios: np.ndarray = sizes[kept] / expected[kept]
        self.directed: np.ndarray = directed[kept]
        middle = float(np.median(self.cosines)) if kept.size else 0.0
        self.sign: float = -1.0 if middle < 0 else 1.0
        self.agreement: float = abs(middle)
        self.factor: float = self.sign * float(np.median(self.ratios)) if kept.size else 1.0

    def judge(self, report: Report, reference: str, suffix: str = "") -> None:
        """Find single structures whose forces are not those of their atoms.

        Args:
            report: Receives findings.
            reference: What the labels are compared with, in words.
            suffix: Of the rules' names.
        """
        n = len(self.structures) if len(self.structures) >= LEAST and self.agreement >= TRUSTED else 0
        if not n:
            report.notes.append(
                f"single structures' forces against {reference}: not judged, {len(self.structures)} "
                f"structures with forces above {SMALL} eV/A, median cosine "
                f"{self.agreement:.2f} ({LEAST} and {TRUSTED} are needed)"
            )
        cosines = self.sign * self.cosines
        limit = min(STRANGE, float(np.quantile(cosines, 0.1)) - BELOW) if n else -np.inf
        relative = self.ratios / abs(self.factor)
        mixed: list[str] = []
        opposite: list[str] = []
        scaled: list[str] = []
        rows = zip(self.structures if n else [], cosines, relative, self.directed, strict=False)
        for structure, cosine, ratio, directed in rows:
            if cosine < min(OPPOSITE, limit) and directed:
                opposite.append(f"{structure.name} (cosine {cosine:.2f})")
            elif cosine < limit and directed:
                mixed.append(f"{structure.name} (cosine {cosine:.2f})")
            elif cosine > ALIGNED and not 1 / SCALED < ratio < SCALED:
                scaled.append(f"{structure.name} ({ratio:.3g} times)")
        report.judge(
            f"forces-mismatch{suffix}",
            "error",
            f"forces do not belong to the atoms by {reference}: are the atoms in another order than their "
            "forces, or the forces another structure's? Leave these structures out",
            mixed,
            n,
        )
        message = f"forces opposite to those of {reference}; multiply by -1?"
        report.judge(f"forces-opposite{suffix}", "error", message, opposite, n)
        report.judge(
            f"forces-scale{suffix}",
            "error",
            f"forces of another size than the other structures' by {reference}: another unit?",
            scaled,
            n,
        )


def _rms(values: Float[np.ndarray, "..."]) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0
