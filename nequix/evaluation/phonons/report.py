"""The report of the task ``phonons``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nequix.evaluation.phonons import bands
from nequix.evaluation.report import Report
from nequix.evaluation.run_directory import RunDirectory
from nequix.evaluation.task import ItemResult
from nequix.metrics.statistics import mean_absolute

COMPARED = {
    "max_frequency": "max. frequency (K)",
    "entropy": "entropy (J/K/mol)",
    "free_energy": "free energy (kJ/mol)",
    "heat_capacity": "heat capacity (J/K/mol)",
}
"""What is averaged over materials, and how it is called."""

METHODS = ("displacements", "hessian")


def write_report(store: RunDirectory, items: Sequence[str], identity: dict[str, Any]) -> dict[str, Any]:
    """Write the report of a run, finished or not.

    Args:
        store: The run.
        items: Its materials.
        identity: What :meth:`nequix.evaluation.run_directory.RunDirectory.begin` was given.

    Returns:
        The summary.
    """
    outcomes = {item: store.read(item) for item in items if store.done(item)}
    done = {item: outcome for item, outcome in outcomes.items() if outcome.error is None}
    failed = {item: outcome.error for item, outcome in outcomes.items() if outcome.error is not None}
    summary = {"n": len(done), "n_failed": len(failed), "n_materials": len(items), **summarise(done)}
    report = Report(store.folder, f"Phonons of {identity['engine']['model']['name']}")
    methods = list(summary["mae"])
    both = " and from the Hessian" if "hessian" in methods else ""
    report.text(
        f"{len(done)} of {len(items)} materials, {len(failed)} failed. Mean absolute errors against DFT at "
        f"300 K, per mole of primitive cells, of force constants by displacements{both}."
    )
    rows = [
        [title, *(summary["mae"][method][name] for method in methods)] for name, title in COMPARED.items()
    ]
    report.table(("MAE", *methods), rows)
    if summary["disagreement_in"] is not None:
        report.text(
            "The two ways differ along the bands by "
            f"{summary['disagreement_THz']:.2g} THz at most (in {summary['disagreement_in']})."
        )
    report.heading("Materials")
    header = ("material", "atoms", "V / V(DFT)", *(f"{title}, DFT" for title in COMPARED.values()))
    report.table(header, [row for item, outcome in done.items() for row in _rows(item, outcome.values)])
    if failed:
        report.heading("Failures")
        report.table(("material", "reason"), list(failed.items()))
    report.heading("Bands and densities of states")
    for item, outcome in done.items():
        figure = bands.plot(item, outcome.values["path"], dict(outcome.arrays))
        report.figure(f"bands-{item}", f"{item}: DFT and the model.", figure)
    materials = {item: outcome.values for item, outcome in done.items()}
    report.write(identity, {"summary": summary, "materials": materials, "failures": failed})
    return summary


def summarise(outcomes: Mapping[str, ItemResult]) -> dict[str, Any]:
    """Average absolute errors over materials, and find where the two ways differ most.

    Args:
        outcomes: Of materials that did not fail.
    """
    held = {item: outcome.values for item, outcome in outcomes.items()}
    mae = {
        method: {
            name: mean_absolute(np.array([v[method][name] - v["dft"][name] for v in held.values()]))
            for name in COMPARED
        }
        for method in METHODS
        if method == "displacements" or all(method in values for values in held.values())
    }
    compared = [item for item, values in held.items() if "disagreement_THz" in values]
    worst = max(compared, key=lambda item: held[item]["disagreement_THz"], default=None)
    largest = None if worst is None else held[worst]["disagreement_THz"]
    return {"mae": mae, "disagreement_THz": largest, "disagreement_in": worst}


def _rows(item: str, values: Mapping[str, Any]) -> list[list[Any]]:
    """Return the values of a material: the model's, by displacements, and DFT's behind a comma."""
    pairs = [f"{values['displacements'][name]:.4g}, {values['dft'][name]:.4g}" for name in COMPARED]
    return [[item, values["n_atoms_primitive"], values["volume_ratio"], *pairs]]
