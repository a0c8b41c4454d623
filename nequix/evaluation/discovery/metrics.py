"""Metrics of Matbench-Discovery (Riebesell et al., Nat. Mach. Intell. 7, 836, 2025), and its score CPS-1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from nequix.metrics.statistics import mean_absolute, root_mean_square

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

STABLE = 0.0
"""eV/atom above the hull up to which a material counts as stable."""

MOST_STABLE = 10_000
"""Unique prototypes of the subset of those predicted the most stable."""

UNREALISTIC = 5.0
"""eV/atom by which a formation energy is off when it counts as no prediction."""

CPS_WEIGHTS = {"F1": 0.5, "kappa_SRME": 0.4, "RMSD": 0.1}
"""Weights of the combined score of version 1."""

RMSD_BASELINE = 0.15
"""RMSD from which on the combined score gives nothing for it."""

WORST_SRME = 2.0
"""kappa_SRME of which the combined score gives nothing."""


def above_hull(
    reference_above_hull: Float[np.ndarray, " n"],
    reference_formation: Float[np.ndarray, " n"],
    formation: Float[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """Return predicted energies above the hull of the reference, which stays as it is.

    Args:
        reference_above_hull: eV/atom.
        reference_formation: Formation energies, eV/atom.
        formation: Predicted, eV/atom; NaN where there is none.

    Returns:
        eV/atom; NaN where there is no prediction, or one that is off by more than :data:`UNREALISTIC`.
    """
    errors = formation - reference_formation
    return reference_above_hull + np.where(np.abs(errors) > UNREALISTIC, np.nan, errors)


def discovery_metrics(
    reference: Float[np.ndarray, " n"], predicted: Float[np.ndarray, " n"], threshold: float = STABLE
) -> dict[str, float | int | None]:
    """Compare energies above the hull: which materials are stable, and how far off the energies are.

    A missing prediction counts as unstable, and is left out of MAE, RMSE and R2. DAF, the discovery
    acceleration factor, is precision over prevalence: how many more stable materials the model finds than
    choosing at random does.

    Args:
        reference: eV/atom; NaN where it is missing, which leaves the material out.
        predicted: eV/atom; NaN where there is no prediction.
        threshold: Up to it, a material is stable, eV/atom.

    Returns:
        By the benchmark's names; None where a number does not exist, as precision if nothing is called
        stable.
    """
    known = ~np.isnan(reference)
    reference, predicted = reference[known], predicted[known]
    stable, called = reference <= threshold, predicted <= threshold  # NaN is not called stable
    tp, fn = int((stable & called).sum()), int((stable & ~called).sum())
    fp, tn = int((~stable & called).sum()), int((~stable & ~called).sum())
    precision, recall = _ratio(tp, tp + fp), _ratio(tp, tp + fn)
    return {
        "F1": _f1(precision, recall),
        "DAF": daf(precision, prevalence(reference, threshold)),
        "Precision": precision,
        "Recall": recall,
        "Accuracy": _ratio(tp + tn, len(reference)),
        **{"TPR": recall, "FPR": _ratio(fp, fp + tn), "TNR": _ratio(tn, fp + tn), "FNR": _ratio(fn, tp + fn)},
        **{"TP": tp, "FP": fp, "TN": tn, "FN": fn},
        **regression_metrics(reference, predicted),
        "n": len(reference),
        "missing_preds": int(np.isnan(predicted).sum()),
    }


def regression_metrics(
    reference: Float[np.ndarray, " n"], predicted: Float[np.ndarray, " n"]
) -> dict[str, float | None]:
    """Return MAE, RMSE (in the energies' unit) and R2, the coefficient of determination.

    Args:
        reference: NaN where missing.
        predicted: NaN where missing.
    """
    known = ~(np.isnan(reference) | np.isnan(predicted))
    if not known.any():
        return {"MAE": None, "RMSE": None, "R2": None}
    errors = predicted[known] - reference[known]
    spread = ((reference[known] - reference[known].mean()) ** 2).sum()
    return {
        "MAE": mean_absolute(errors),
        "RMSE": root_mean_square(errors),
        "R2": None if spread == 0 else float(1 - (errors**2).sum() / spread),
    }


def prevalence(reference: Float[np.ndarray, " n"], threshold: float = STABLE) -> float | None:
    """Return the fraction of stable materials; None of nothing.

    Args:
        reference: eV/atom above the hull; NaN where missing.
        threshold: Up to it, a material is stable.
    """
    known = reference[~np.isnan(reference)]
    return _ratio(int((known <= threshold).sum()), len(known))


def daf(precision: float | None, common: float | None) -> float | None:
    """Return the discovery acceleration factor, precision over prevalence.

    Args:
        precision: True among those called stable.
        common: The prevalence, stable among all.
    """
    return None if precision is None or not common else precision / common


def subset_metrics(
    reference: Float[np.ndarray, " n"], predicted: Float[np.ndarray, " n"], unique: Bool[np.ndarray, " n"]
) -> dict[str, dict[str, float | int | None]]:
    """Compare the benchmark's three subsets; the leaderboard and CPS-1 are of the unique prototypes.

    The third are the 10,000 unique prototypes predicted the most stable; its DAF is against the prevalence
    among all unique prototypes.

    Args:
        reference: eV/atom above the hull.
        predicted: The same, predicted; NaN where there is none.
        unique: Whether a material's prototype is in neither the training data nor earlier in the set.

    Returns:
        Metrics of ``full_test_set``, ``unique_prototypes`` and ``most_stable_10k``.
    """
    prototypes = np.flatnonzero(unique)
    ranked = prototypes[np.argsort(predicted[prototypes], kind="stable")]  # NaN comes last
    ranked = ranked[~np.isnan(predicted[ranked])][:MOST_STABLE]
    chosen = {"full_test_set": slice(None), "unique_prototypes": prototypes, "most_stable_10k": ranked}
    held = {name: discovery_metrics(reference[rows], predicted[rows]) for name, rows in chosen.items()}
    of_unique = prevalence(reference[prototypes])
    held["most_stable_10k"]["DAF"] = daf(held["most_stable_10k"]["Precision"], of_unique)
    return held


def combined_score(
    f1: float, rmsd: float, kappa_srme: float, weights: Mapping[str, float] = CPS_WEIGHTS
) -> float:
    """Return CPS-1 of 0 to 1: F1 as it is, RMSD from 0.15 to 0, kappa_SRME from 2 to 0, weighted.

    Args:
        f1: Of the unique prototypes.
        rmsd: Of the relaxed structures against DFT's, without unit (pymatgen's StructureMatcher).
        kappa_srme: Of the 103 structures of ``nequix evaluate kappa``.
        weights: Of the three.
    """
    parts = {
        "F1": f1,
        "kappa_SRME": max(0.0, 1 - kappa_srme / WORST_SRME),
        "RMSD": min(1.0, max(0.0, 1 - rmsd / RMSD_BASELINE)),
    }
    return sum(weights[name] * part for name, part in parts.items()) / sum(weights.values())


def _f1(precision: float | None, recall: float | None) -> float | None:
    if precision is None or recall is None:
        return None
    return _ratio(2 * precision * recall, precision + recall)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
