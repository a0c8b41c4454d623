"""The report of the task ``discovery``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nequix.evaluation.digests import describe_paths
from nequix.evaluation.discovery import metrics
from nequix.evaluation.discovery.reference import Reference, read_elements, read_reference
from nequix.evaluation.discovery.results import (
    RELAXED,
    aligned,
    formation_energies,
    prediction_column,
    read_relaxed,
    write_predictions,
    write_structures,
)
from nequix.evaluation.discovery.structures import Structures
from nequix.evaluation.report import Report
from nequix.evaluation.run_directory import RunDirectory

if TYPE_CHECKING:
    from jaxtyping import Float
    from matplotlib.figure import Figure

SHOWN = 10
"""Failures that the report names; results.json has all."""


@dataclass(frozen=True)
class References:
    """Files that relaxed structures are compared with.

    Attributes:
        table: What :func:`nequix.evaluation.discovery.reference.read_reference` reads.
        elements: Energies of the elements' reference phases.
        structures: DFT's relaxed structures.
        kappa_srme: Of the same model, for the combined score.
    """

    table: Path | None = None
    elements: Path | None = None
    structures: Path | None = None
    kappa_srme: float | None = None


def write_report(
    stores: Sequence[RunDirectory], items: Sequence[str], identity: dict[str, Any], given: References
) -> dict[str, Any]:
    """Write the report of a run, finished or not, and the files of a submission.

    Args:
        stores: The run, and others that have blocks which it has not.
        items: All blocks.
        identity: What :meth:`nequix.evaluation.run_directory.RunDirectory.begin` was given.
        given: What to compare with.

    Returns:
        The summary.
    """
    folder, model = stores[0].folder, identity["engine"]["model"]["name"]
    failures: dict[str, str] = {}
    summary = _count(stores, items, failures)
    summary["n_failed"] = len(failures)
    report = Report(folder, f"Discovery by {model}")
    report.text(
        f"{summary['n']} structures relaxed, {summary['n_converged']} of them converged; {len(failures)} "
        f"failed. {summary['n_blocks']} of {len(items)} blocks are done."
    )
    write_structures(folder / RELAXED, read_relaxed(stores, items, {}))
    formation: dict[str, float] = {}
    if given.table is not None:
        reference = read_reference(given.table)
        elements = None if given.elements is None else read_elements(given.elements)
        formation = formation_energies(read_relaxed(stores, items, {}), reference, elements)
        summary |= _compare(report, reference, formation)
    table = f"{prediction_column(model)}.csv.gz"
    write_predictions(folder / table, model, read_relaxed(stores, items, {}), formation)
    if given.structures is not None:
        summary |= _match(report, stores, items, given.structures)
        if given.kappa_srme is not None:
            summary |= _score(report, summary, given.kappa_srme)
    if failures:
        report.heading(f"{len(failures)} failures")
        report.table(("structure", "reason"), list(failures.items())[:SHOWN])
    files = [path for path in (given.table, given.elements, given.structures) if path is not None]
    held = {"summary": summary, "failures": failures, "compared_with": describe_paths(files)}
    report.write(identity, held)
    return summary


def _count(stores: Sequence[RunDirectory], items: Sequence[str], failures: dict[str, str]) -> dict[str, Any]:
    steps, n_converged = [], 0
    for one in read_relaxed(stores, items, failures):
        steps.append(one.steps)
        n_converged += one.converged
    n_blocks = sum(any(store.done(item) for store in stores) for item in items)
    median = float(np.median(steps)) if steps else None
    return {"n": len(steps), "n_converged": n_converged, "n_blocks": n_blocks, "median_steps": median}


def _compare(report: Report, reference: Reference, formation: dict[str, float]) -> dict[str, Any]:
    """Compare formation energies, and energies above the hull where the reference has them."""
    predicted = aligned(reference, formation)
    energies = metrics.regression_metrics(reference.formation, predicted)
    report.heading("Formation energies")
    report.text(f"{len(formation)} of the reference's {len(reference.names)} materials, eV/atom.")
    report.table(tuple(energies), [tuple(energies.values())])
    if formation:
        report.figure("formation", "Predictions against DFT.", parity(reference.formation, predicted))
    if np.isnan(reference.above_hull).all():
        return {"formation_energy": energies}
    above = metrics.above_hull(reference.above_hull, reference.formation, predicted)
    subsets = metrics.subset_metrics(reference.above_hull, above, reference.unique)
    report.heading("Stability")
    report.text(
        "Energies above the hull of the reference; up to 0 a material is stable. One without a prediction "
        "counts as unstable. The leaderboard shows the unique prototypes."
    )
    names = list(subsets["full_test_set"])
    report.table(("metric", *subsets), [(name, *(held[name] for held in subsets.values())) for name in names])
    return {"formation_energy": energies, "discovery": subsets}


def _match(
    report: Report, stores: Sequence[RunDirectory], items: Sequence[str], path: Path
) -> dict[str, Any]:
    from nequix.evaluation.discovery.matching import UNMATCHED, displacements

    held = displacements(read_relaxed(stores, items, {}), dict(Structures(path).by_name()))
    rmsd = float(np.mean(list(held.values()))) if held else None
    n_unmatched = sum(value == UNMATCHED for value in held.values())
    report.heading("Structures")
    report.text(
        f"RMSD against DFT's structures over {len(held)} materials, {n_unmatched} without a match (1)."
    )
    report.table(("RMSD",), [(rmsd,)])
    return {"rmsd": rmsd, "n_matched": len(held) - n_unmatched, "n_unmatched": n_unmatched}


def _score(report: Report, summary: dict[str, Any], kappa_srme: float) -> dict[str, Any]:
    f1 = summary.get("discovery", {}).get("unique_prototypes", {}).get("F1")
    if f1 is None or summary["rmsd"] is None:
        return {"cps_1": None}
    score = metrics.combined_score(f1, summary["rmsd"], kappa_srme)
    report.text(f"CPS-1 {score:.4f}, with kappa_SRME {kappa_srme}.")
    return {"cps_1": score}


def parity(reference: Float[np.ndarray, " n"], predicted: Float[np.ndarray, " n"]) -> Figure:
    """Draw predicted formation energies against the reference's.

    Args:
        reference: eV/atom.
        predicted: eV/atom; NaN where there is none.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    axis = figure.subplots()
    axis.hexbin(*_known(reference, predicted), gridsize=60, bins="log", mincnt=1, linewidths=0.1)
    axis.axline((0.0, 0.0), slope=1.0, color="black", linewidth=0.6)
    axis.set_xlabel("DFT: formation energy (eV/atom)")
    axis.set_ylabel("prediction")
    return figure


def _known(*columns: Float[np.ndarray, " n"]) -> list[Float[np.ndarray, " n"]]:
    known = np.all(np.isfinite(columns), axis=0)
    return [column[known] for column in columns]
