"""Band structures and densities of states: along the reference's path, for figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nequix.evaluation.phonons.harmonic import run_mesh

if TYPE_CHECKING:
    from jaxtyping import Float
    from matplotlib.figure import Figure
    from phonopy import Phonopy

N_POINTS = 41
"""q-points of each stretch of a path."""

N_FREQUENCIES = 201
"""Points of a density of states."""

STYLES = {"dft": ("k-", "DFT"), "displacements": ("C0-", "displacements"), "hessian": ("C1--", "Hessian")}
"""Line and label of each kind of force constants."""


@dataclass(frozen=True)
class Path:
    """A path through the Brillouin zone.

    Attributes:
        points: q-points of its stretches, in reciprocal vectors of the primitive cell.
        labels: Names of the two ends of each stretch.
    """

    points: Float[np.ndarray, "n_stretches n_points 3"]
    labels: list[list[str]]


def find_path(reference: Phonopy) -> Path:
    """Let seekpath choose a path for a reference.

    Args:
        reference: The phonons.
    """
    import seekpath

    cell = reference.primitive
    found = seekpath.get_path_orig_cell((cell.cell, cell.scaled_positions, cell.numbers))
    named = found["point_coords"]
    ends = [(np.array(named[start]), np.array(named[end])) for start, end in found["path"]]
    points = np.array([np.linspace(start, end, N_POINTS) for start, end in ends])
    return Path(points, [list(pair) for pair in found["path"]])


def band_frequencies(phonons: Phonopy, path: Path) -> Float[np.ndarray, "n_stretches n_points n_bands"]:
    """Return the frequencies along a path, THz, negative where imaginary.

    Args:
        phonons: Has force constants.
        path: The path.
    """
    return np.array([phonons.run_qpoints(stretch).frequencies for stretch in path.points])


def distances(phonons: Phonopy, path: Path) -> Float[np.ndarray, "n_stretches n_points"]:
    """Return how far along a path its q-points are, 1/A; jumps have no length.

    Args:
        phonons: Has the primitive cell.
        path: The path.
    """
    steps = np.diff(path.points @ np.linalg.inv(phonons.primitive.cell).T, axis=1)
    along = np.insert(np.linalg.norm(steps, axis=-1).cumsum(axis=1), 0, 0.0, axis=1)
    starts = np.concatenate([[0.0], along[:-1, -1].cumsum()])
    return along + starts[:, None]


def densities(several: dict[str, Phonopy]) -> dict[str, np.ndarray]:
    """Return densities of states by name on common frequencies (THz): states per THz and primitive cell.

    Args:
        several: Phonons by name, with force constants.
    """
    meshes = {name: run_mesh(phonons) for name, phonons in several.items()}
    lowest = min(float(mesh.frequencies.min()) for mesh in meshes.values())
    highest = 1.04 * max(float(mesh.frequencies.max()) for mesh in meshes.values())
    pitch = (highest - lowest) / (N_FREQUENCIES - 1)
    held: dict[str, np.ndarray] = {}
    for name, phonons in several.items():
        dos = phonons.run_total_dos(freq_min=lowest, freq_max=highest, freq_pitch=pitch)
        held["dos_frequencies"] = np.asarray(dos.frequency_points)
        held[f"dos_{name}"] = np.asarray(dos.dos)
    return held


def plot(title: str, labels: list[list[str]], arrays: dict[str, np.ndarray]) -> Figure:
    """Plot bands and densities of states.

    Args:
        title: What they are of.
        labels: Names of the two ends of each stretch.
        arrays: ``distances``, ``bands_NAME``, ``dos_frequencies`` and ``dos_NAME``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    along = arrays["distances"]
    for name, (style, label) in STYLES.items():
        if f"bands_{name}" not in arrays:  # the run left the Hessian out
            continue
        for number, (x, y) in enumerate(zip(along, arrays[f"bands_{name}"], strict=True)):
            lines = left.plot(x, y, style, lw=1)
            lines[0].set_label(label if number == 0 else "_")
        right.plot(arrays[f"dos_{name}"], arrays["dos_frequencies"], style, lw=1)
    ticks = [0.0, *along[:, -1]]
    left.set_xticks(ticks, [name.replace("GAMMA", "Γ").replace("_", "") for name in _joints(labels)])
    left.set(xlim=(ticks[0], ticks[-1]), ylabel="frequency (THz)", title=title)
    left.vlines(ticks, 0, 1, color="0.85", lw=0.5, zorder=0, transform=left.get_xaxis_transform())
    for axes in (left, right):
        axes.axhline(0, color="0.7", lw=0.5, zorder=0)
    left.legend(frameon=False, fontsize="small")
    right.set(xlabel="states / THz", xlim=(0, None))
    return figure


def _joints(labels: list[list[str]]) -> list[str]:
    """Name the ends of the stretches in order, two names where the path jumps."""
    following = [start for start, _ in labels[1:]]
    ends = [end for _, end in labels]
    joints = [a if a == b else f"{a}|{b}" for a, b in zip(ends[:-1], following, strict=True)]
    return [labels[0][0], *joints, ends[-1]]
