"""The report of the task ``kappa``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nequix.core.errors import DataError
from nequix.evaluation.kappa.srme import WORST
from nequix.evaluation.report import Report
from nequix.evaluation.run_directory import RunDirectory
from nequix.evaluation.task import ItemResult
from nequix.io import strict_json
from nequix.metrics.statistics import mean_absolute

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PUBLISHED = "kappa103_matbench_discovery.json"
"""File in the folder of the data with the results of models by material, where it is there."""

COLUMNS = ("material", "formula", "group", "kappa", "DFT", "SRE", "SRME", "min. THz", "remark")


def write_report(
    store: RunDirectory, items: Sequence[str], identity: dict[str, Any], data: Path
) -> dict[str, Any]:
    """Write the report of a run, finished or not.

    Args:
        store: The run.
        items: Its materials.
        identity: What :meth:`nequix.evaluation.run_directory.RunDirectory.begin` was given.
        data: Where :data:`PUBLISHED` may be.

    Returns:
        The summary.
    """
    outcomes = {item: store.read(item) for item in items if store.done(item)}
    model = identity["engine"]["model"]["name"]
    summary = summarise(outcomes)
    results: dict[str, Any] = {"summary": {**summary, "n_materials": len(items)}}
    results["materials"] = {item: _values(outcome) for item, outcome in outcomes.items()}
    report = Report(store.folder, f"Thermal conductivity of {model}")
    report.text(
        f"{len(outcomes)} of {len(items)} materials. A failure, an imaginary mode or a broken symmetry "
        f"counts {WORST:g} in both errors."
    )
    report.table(("", "mean", "median"), [_mean_row(name, outcomes) for name in ("sre", "srme")])
    if outcomes:
        report.figure("kappa", "Conductivity against DFT, and SRME.", plot(outcomes))
    published = read_published(data, model)
    if published is not None:
        results["published"] = _compare(report, outcomes, published)
    report.heading("Materials")
    report.text("W/(m K) at 300 K, mean of three directions; the frequency is the lowest of the mesh.")
    report.table(COLUMNS, [_row(item, outcome) for item, outcome in outcomes.items()])
    report.write(identity, results)
    return results["summary"]


def summarise(outcomes: Mapping[str, ItemResult]) -> dict[str, Any]:
    """Average SRE and SRME over materials, failures included.

    Args:
        outcomes: Of the materials that were run.
    """
    held = outcomes.values()
    return {
        "n": len(outcomes),
        "n_failed": sum(outcome.error is not None for outcome in held),
        "n_imaginary": sum(bool(outcome.values.get("imaginary_modes")) for outcome in held),
        "n_broken_symmetry": sum(bool(outcome.values.get("broken_symmetry")) for outcome in held),
        "kappa_sre": float(np.mean(_errors(outcomes, "sre"))) if outcomes else None,
        "kappa_srme": float(np.mean(_errors(outcomes, "srme"))) if outcomes else None,
    }


def read_published(folder: Path, model: str) -> dict[str, dict[str, Any]] | None:
    """Read what was published of a model, by material; None where nothing was.

    Args:
        folder: Where :data:`PUBLISHED` may be.
        model: The model's name.

    Raises:
        DataError: If the file is damaged.
    """
    path = folder / PUBLISHED
    if not path.exists():
        return None
    try:
        held = strict_json.read_object(path)
        if model not in held["models"]:
            return None
        columns = held["models"][model]
        names = held["material_ids"]
        return {name: {key: columns[key][row] for key in columns} for row, name in enumerate(names)}
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: cannot be read ({type(error).__name__}: {error}); fetch it again"
        ) from error


def _errors(outcomes: Mapping[str, ItemResult], name: str) -> list[float]:
    return [outcome.values.get(name, WORST) for outcome in outcomes.values()]


def _mean_row(name: str, outcomes: Mapping[str, ItemResult]) -> tuple[str, float | None, float | None]:
    errors = _errors(outcomes, name)
    if not errors:
        return name.upper(), None, None
    return name.upper(), float(np.mean(errors)), float(np.median(errors))


def _values(outcome: ItemResult) -> dict[str, Any]:
    return {**outcome.values, "error": outcome.error}


def _row(item: str, outcome: ItemResult) -> list[Any]:
    held = outcome.values
    remarks = [outcome.error] if outcome.error else []
    remarks += ["imaginary modes"] if held.get("imaginary_modes") else []
    remarks += ["symmetry broken"] if held.get("broken_symmetry") else []
    remarks += ["relaxation not converged"] if held.get("relaxation_converged") is False else []
    names = ("formula", "space_group", "kappa", "kappa_dft", "sre", "srme", "min_frequency_THz")
    return [item, *(held.get(name) for name in names), ", ".join(remarks)]


def _compare(
    report: Report, outcomes: Mapping[str, ItemResult], published: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Show the published results of the same materials beside ours."""
    both = [item for item in outcomes if item in published]
    ours = np.array([outcomes[item].values.get("srme", WORST) for item in both])
    theirs = np.array([published[item]["srme"] for item in both])
    kappas = [(outcomes[item].values.get("kappa"), published[item]["kappa_ml"]) for item in both]
    ratios = np.array([a / b for a, b in kappas if a is not None and b is not None])
    compared = {
        "n": len(both),
        "srme_here": float(ours.mean()) if both else None,
        "srme_published": float(theirs.mean()) if both else None,
        f"srme_published_all_{len(published)}": float(
            np.mean([entry["srme"] for entry in published.values()])
        ),
        "srme_mean_absolute_difference": mean_absolute(ours - theirs),
        "kappa_ratio_median": float(np.median(ratios)) if len(ratios) else None,
        "kappa_ratio_range": [float(ratios.min()), float(ratios.max())] if len(ratios) else None,
        "failed_differently": [
            item for item, (a, b) in zip(both, kappas, strict=True) if (a is None) != (b is None)
        ],
    }
    report.heading("Against the published results of the same model")
    report.text(f"Of the {len(both)} materials that were run here, unless it says all {len(published)}.")
    rows = [(name.replace("_", " "), value) for name, value in compared.items()]
    report.table(("", ""), [(name, _listed(value)) for name, value in rows])
    if both:
        report.figure("published", "SRME here against SRME published, by material.", _parity(ours, theirs))
    return compared


def _listed(value: Any) -> Any:
    return (
        ", ".join(f"{v:.4g}" if isinstance(v, float) else v for v in value)
        if isinstance(value, list)
        else value
    )


def plot(outcomes: Mapping[str, ItemResult]) -> Figure:
    """Plot conductivities against DFT's, and the distribution of SRME.

    Args:
        outcomes: Of the materials that were run.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    held = [o.values for o in outcomes.values() if o.values.get("kappa") is not None]
    groups = {225: "rocksalt", 216: "zincblende", 186: "wurtzite"}
    for group in sorted({values["space_group"] for values in held}):
        some = [values for values in held if values["space_group"] == group]
        pairs = [[values["kappa_dft"] for values in some], [values["kappa"] for values in some]]
        left.loglog(*pairs, "o", ms=4, alpha=0.7, label=groups.get(group, f"group {group}"))
    _diagonal(left)
    left.set(xlabel="DFT (W/mK)", ylabel="model (W/mK)")
    if held:
        left.legend(frameon=False)
    right.hist(_errors(outcomes, "srme"), bins=np.linspace(0, WORST, 21).tolist())
    right.set(xlabel="SRME", ylabel="materials")
    return figure


def _parity(ours: np.ndarray, theirs: np.ndarray) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(theirs, ours, "o", ms=4, alpha=0.7)
    _diagonal(axes)
    axes.set(xlabel="SRME published", ylabel="SRME here")
    return figure


def _diagonal(axes: Axes) -> None:
    ends = [min(axes.get_xlim()[0], axes.get_ylim()[0]), max(axes.get_xlim()[1], axes.get_ylim()[1])]
    axes.plot(ends, ends, "k-", lw=0.5, zorder=0)
    axes.set(xlim=ends, ylim=ends)
