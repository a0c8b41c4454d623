"""Learning curves of fine-tuning: runs on nested subsets of the data, their fit, and predictions from it."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nequix.backends import load_model
from nequix.core.errors import DataError
from nequix.data.batch import graph_of
from nequix.data.structure import Structure
from nequix.finetune.config import FinetuneConfig
from nequix.finetune.power_law import INTERVAL, Answer, PowerLaw, answer, fit
from nequix.graphs.batches import evaluate_graphs
from nequix.io.files import write_atomic
from nequix.io.weights import Weights, read_weights
from nequix.metrics.statistics import mean_absolute
from nequix.train.loop import MODEL
from nequix.train.streams import held_out, open_sources

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVE, FIGURE = "curve.json", "curve.png"


def curve_configs(config: FinetuneConfig, sizes: Sequence[int], draws: int) -> dict[str, FinetuneConfig]:
    """Configure a run for each subset of the training structures; subsets of one draw are nested.

    Args:
        config: The common configuration.
        sizes: Numbers of structures.
        draws: Number of random subsets per size.

    Returns:
        The configurations by folder.
    """
    return {
        f"n-{size}-draw-{draw}": replace(config, n_train=size, draw=draw)
        for draw in range(draws)
        for size in sorted(sizes)
    }


def check_curve(config: FinetuneConfig, sizes: Sequence[int]) -> None:
    """Reject data that do not suffice for a curve, before any training.

    Args:
        config: The common configuration.
        sizes: Numbers of structures.

    Raises:
        DataError: If there are too few training structures, or no held-out structures with forces.
    """
    train, valid = open_sources(config)
    if valid is None or all(structure.forces is None for structure in map(Structure.trusted, valid)):
        lacking = "nothing is" if valid is None else f"none of the {len(valid)} that are has forces"
        raise DataError(
            f"a learning curve needs held-out structures with forces, but {lacking}; give some with --valid, "
            "or set data.valid_fraction"
        )
    if max(sizes) > len(train):
        held = "" if config.data.valid is not None else f", besides the {len(valid)} held out"
        raise DataError(
            f"{max(sizes)} structures to train on, but there are {len(train)}{held}; give sizes up to that"
        )


def conclude(
    config: FinetuneConfig, folder: Path, sizes: Sequence[int], draws: int, target: float | None
) -> tuple[PowerLaw, Answer | None]:
    """Measure every run's errors on the held-out structures, and fit and evaluate the curve.

    Args:
        config: The common configuration.
        folder: Holds the runs; it gets ``curve.json``, where an end that is infinite is null, and
            ``curve.png``.
        sizes: Numbers of structures.
        draws: Number of random subsets per size.
        target: Mean absolute error of force components to reach, meV/A.

    Raises:
        DataError: If no forces were held out, or there are too few sizes for a fit.
    """
    check_curve(config, sizes)
    structures = [s for s in map(Structure.trusted, held_out(config) or ()) if s.forces is not None]
    rows = []
    for name, own in curve_configs(config, sizes, draws).items():
        error = force_error(read_weights(folder / name / MODEL), structures)
        rows.append({"n": own.n_train, "draw": own.draw, "forces_mae_meV_per_A": error})
    law = fit([row["n"] for row in rows], [row["forces_mae_meV_per_A"] for row in rows])
    result = None if target is None else answer(law, target)
    a, alpha, b = law.parameters.tolist()
    low, high = np.percentile(law.resampled, INTERVAL, axis=0).tolist()
    content = {
        "held_out": len(structures),
        "runs": rows,
        "fit": {"A": a, "alpha": alpha, "B": b, "low": low, "high": high, "interval": INTERVAL},
        "answer": None if result is None else _plain(result),
    }
    write_atomic(folder / CURVE, [json.dumps(content, indent=1, allow_nan=False).encode()])
    drawn = io.BytesIO()
    draw_curve(law, rows, target).savefig(drawn, format="png", dpi=130)
    write_atomic(folder / FIGURE, [drawn.getvalue()])
    return law, result


def _plain(result: Answer) -> dict:
    """Convert to plain values, with None for infinity, which JSON lacks."""
    ends = None if result.interval is None else [n if np.isfinite(n) else None for n in result.interval]
    return {**asdict(result), "interval": ends}


def force_error(weights: Weights, structures: Sequence[Structure]) -> float:
    """Return the mean absolute error of force components, meV/A.

    Args:
        weights: The model.
        structures: Structures with forces.
    """
    potential = load_model(weights, "jax")
    predictions = evaluate_graphs(potential, (graph_of(structure, weights.spec) for structure in structures))
    errors = [(r.forces - s.forces).ravel() for r, s in zip(predictions, structures, strict=True)]
    return 1000 * (mean_absolute(np.concatenate(errors)) or 0.0)


def draw_curve(law: PowerLaw, rows: Sequence[dict], target: float | None) -> Figure:
    """Draw errors against numbers of structures, with the fit and its interval.

    Args:
        law: The fit.
        rows: Of each run ``n`` and ``forces_mae_meV_per_A``.
        target: Target to mark with a line, if there is one.
    """
    from matplotlib.figure import Figure

    figure = Figure((5.5, 4), layout="constrained")
    axes = figure.subplots()
    n = np.geomspace(law.smallest, 4 * law.largest, 100)
    inside = n <= law.largest
    low, high = law.interval(n)
    axes.fill_between(n, low, high, color="C0", alpha=0.2, lw=0)
    axes.plot(n[inside], law(n[inside]), "C0")
    axes.plot(n[~inside], law(n[~inside]), "C0--")
    axes.plot([r["n"] for r in rows], [r["forces_mae_meV_per_A"] for r in rows], "ko", ms=4)
    if target is not None:
        axes.axhline(target, color="C1", lw=1, label=f"target: {target:g} meV/A")
        axes.legend(frameon=False)
    a, alpha, b = law.parameters
    axes.set(xscale="log", yscale="log", xlabel="training structures", ylabel="force MAE (meV/A)")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_title(f"{a:.3g} N^-{alpha:.2f} + {b:.3g}", fontsize="medium")
    return figure


def sentence(law: PowerLaw, result: Answer | None) -> str:
    """Summarise the learning curve and its answer.

    Args:
        law: The fit.
        result: The answer, if a target was given.
    """
    a, alpha, b = law.parameters
    low, high = np.percentile(law.resampled, INTERVAL, axis=0)
    line = (
        f"force MAE = {a:.3g} N^-{alpha:.2f} + {b:.3g} meV/A; alpha {low[1]:.2f} to {high[1]:.2f}, the error "
        f"that remains {low[2]:.3g} to {high[2]:.3g}"
    )
    if result is None:
        return line
    ends = [] if result.interval is None else sorted({f"{n:.0f}" for n in result.interval}, key=float)
    interval = f" ({' to '.join(ends)})" if len(ends) > 1 else ""
    if result.n is None:
        return f"{line}\n{result.target:g} meV/A: no answer: {result.reason}"
    return f"{line}\n{result.target:g} meV/A: {result.n:.0f} structures{interval}: {result.reason}"
