"""Figures of the battery."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from nequix.evaluation.physics.judge import judge_dimer, plain_elements
from nequix.evaluation.physics.verdicts import Verdict
from nequix.evaluation.task import ItemResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = {Verdict.passed: "tab:green", Verdict.warned: "tab:orange", Verdict.failed: "tab:red"}
_COLUMNS = 10
_HIGH = 25.0  # eV, to which curves of dimers are shown


def dimer_curves(outcomes: Mapping[str, ItemResult]) -> Figure:
    """Draw a panel for every element: the model's curve in the colour of its verdict, DFT's in grey.

    Args:
        outcomes: By symbol.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    n_rows = -(-len(outcomes) // _COLUMNS)
    figure = Figure(figsize=(1.5 * _COLUMNS, 1.35 * n_rows + 0.6), layout="constrained")
    axes = figure.subplots(n_rows, _COLUMNS, sharex=True, squeeze=False).ravel()
    for axis in axes[len(outcomes) :]:
        axis.set_axis_off()
    for axis, (symbol, outcome) in zip(axes, outcomes.items(), strict=False):
        arrays = outcome.arrays
        depth = max(0.5, -float(np.min(arrays["energy"])))
        if "reference_energy" in arrays:
            axis.plot(arrays["reference_distance"], arrays["reference_energy"], color="0.6", linewidth=2.5)
            depth = max(depth, -float(arrays["reference_energy"].min()))
        axis.plot(
            arrays["distance"],
            arrays["energy"],
            color=COLORS[judge_dimer(outcome.values)[0]],
            linewidth=1,
        )
        axis.axhline(0, color="black", linewidth=0.3)
        axis.set_ylim(-min(1.2 * depth, _HIGH), _HIGH)
        axis.set_yscale("symlog", linthresh=2)
        axis.set_xlim(0, 6)
        axis.text(0.95, 0.8, symbol, transform=axis.transAxes, ha="right", fontsize=9)
        axis.tick_params(labelsize=6)
    lines = [
        Line2D([], [], color=color, label=label)
        for label, color in {"DFT": "0.6", **{f"model: {v.value}": c for v, c in COLORS.items()}}.items()
    ]
    figure.legend(handles=lines, loc="outside upper center", ncols=len(lines), fontsize=8)
    figure.supxlabel("distance (A)", fontsize=9)
    figure.supylabel("energy (eV, logarithmic beyond 2)", fontsize=9)
    return figure


def cutoff_curves(outcome: ItemResult, cutoff: float) -> Figure:
    """Draw energy and force of an atom pulled off a slab, and of a pair near the cutoff.

    Args:
        outcome: Of the check.
        cutoff: A.
    """
    from matplotlib.figure import Figure

    a = outcome.arrays
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(a["height"], a["energy"] - a["energy"][-1], label="energy (eV)")
    left.plot(a["height"], a["force"], label="force (eV/A)")
    left.set(xlabel="height above the slab (A)", ylabel="energy (eV), force (eV/A)")
    left.legend()
    near = np.abs(a["distance"] - cutoff) < 0.15 * cutoff
    for name, label in (("pair_energy", "|energy| (eV)"), ("pair_force", "|force| (eV/A)")):
        values = np.abs(a[name] - a[name][-1])
        right.semilogy(a["distance"][near], np.maximum(values[near], 1e-12), label=label)
    right.axvline(cutoff, color="black", linewidth=0.5)
    right.set(xlabel="distance of a pair (A)", ylabel="size of energy (eV), force (eV/A)")
    right.legend()
    return figure


def energies_of_dynamics(outcomes: Mapping[str, ItemResult]) -> Figure:
    """Draw the total energy over time.

    Args:
        outcomes: By system.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axis = figure.subplots()
    for outcome in outcomes.values():
        time, energy = outcome.arrays["time"], outcome.arrays["energy"]
        axis.plot(time, 1e3 * (energy - energy[0]), label=outcome.values["formula"], linewidth=0.8)
    axis.set_xlabel("time (ps)")
    axis.set_ylabel("energy (meV/atom)")
    axis.legend()
    return figure


def equations_of_state(outcomes: Mapping[str, ItemResult]) -> Figure:
    """Draw V0 and B0 against the reference, and the distribution of Delta.

    Args:
        outcomes: By crystal.
    """
    from matplotlib.figure import Figure

    plain = set(plain_elements(outcomes))
    figure = Figure(figsize=(13, 4), layout="constrained")
    axes = figure.subplots(1, 3)
    for kind, chosen in (("other", False), ("non-magnetic, no f electrons", True)):
        held = [
            outcome.values
            for name, outcome in outcomes.items()
            if (name in plain) == chosen and outcome.values["V0"] is not None
        ]
        if not held:
            continue
        color = "tab:blue" if chosen else "0.7"
        volumes = [(v["reference"]["V0"] / v["n_atoms"], v["V0"] / v["n_atoms"]) for v in held]
        moduli = [(v["reference"]["B0"], v["B0"]) for v in held]
        for axis, pairs in zip(axes, (volumes, moduli), strict=False):
            axis.loglog(*np.array(pairs).T, ".", color=color, markersize=4, label=kind)
        ordered = np.sort([v["delta"] for v in held])
        axes[2].semilogx(ordered, np.linspace(0, 1, len(ordered)), color=color, label=kind)
    for axis, label in zip(axes, ("V0 (A^3/atom)", "B0 (GPa)"), strict=False):
        low, high = axis.get_xlim()
        axis.plot([low, high], [low, high], color="black", linewidth=0.5)
        # A model without a minimum has a modulus near zero: a point on the edge, not an axis of 16 decades.
        axis.set_ylim(low, high)
        for line in axis.get_lines():
            line.set_ydata(np.clip(line.get_ydata(), low, high))
            line.set_clip_on(False)
        axis.set_xlabel(f"reference: {label}")
        axis.set_ylabel(f"model: {label}")
    axes[2].set_xlabel("Delta (meV/atom)")
    axes[2].set_ylabel("part of the crystals below")
    axes[2].legend(loc="lower right", fontsize=8)
    return figure


def elastic_moduli(outcomes: Mapping[str, ItemResult]) -> Figure:
    """Draw bulk and shear moduli against the reference.

    Args:
        outcomes: By identifier.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    for axis, kind in zip(figure.subplots(1, 2), ("bulk", "shear"), strict=True):
        pairs = np.array([(o.values["reference"][kind], o.values[kind]) for o in outcomes.values()])
        axis.plot(*pairs.T, "o", markersize=4)
        high = 1.05 * float(pairs.max())
        axis.plot([0, high], [0, high], color="black", linewidth=0.5)
        axis.set_xlabel(f"reference: {kind} modulus (GPa)")
        axis.set_ylabel(f"model: {kind} modulus (GPa)")
    return figure
