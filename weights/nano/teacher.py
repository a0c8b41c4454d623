"""The teacher: labels, lattice constants and a few steps towards the minimum, many structures at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from nequix.graphs.graph import batch, graph_from_atoms
from nequix.potential import Potential
from weights.nano.prototypes import rescale

MOST_EDGES = 6000
"""Edges that are evaluated together: beyond, the time of an edge no longer falls."""

SCALES = (0.90, 0.96, 1.02, 1.09)
STEPS = 3
MAX_FORCE = 10.0
MAX_STRESS = 0.6


@dataclass(frozen=True, eq=False)
class Label:
    """What the teacher says of a structure.

    Attributes:
        energies: eV, of every atom.
        forces: eV/A.
        stress: eV/A^3; None without a volume.
    """

    energies: np.ndarray
    forces: np.ndarray
    stress: np.ndarray | None

    @property
    def energy(self) -> float:
        """Of the whole structure, eV."""
        return float(self.energies.sum())

    @property
    def is_sound(self) -> bool:
        """Whether forces and stress are no larger than what is worth learning."""
        fine = bool(np.isfinite(self.energy) and (np.linalg.norm(self.forces, axis=1) < MAX_FORCE).all())
        return fine and (self.stress is None or bool((abs(self.stress) < MAX_STRESS).all()))


Teach = Callable[[Sequence[Atoms]], list[Label]]
"""Labels structures, in order."""


def teach_with(potential: Potential) -> Teach:
    """Make a potential the teacher.

    Args:
        potential: Of either engine.
    """

    def teach(structures: Sequence[Atoms]) -> list[Label]:
        graphs = [graph_from_atoms(atoms, potential.spec) for atoms in structures]
        labels: list[Label] = []
        while len(labels) < len(graphs):
            group = graphs[len(labels) : len(labels) + 1]
            for graph in graphs[len(labels) + 1 :]:
                if sum(g.n_edges for g in group) + graph.n_edges > MOST_EDGES:
                    break
                group.append(graph)
            results = potential.evaluate(batch(group))
            ends = np.cumsum([graph.n_nodes for graph in group])[:-1]
            each = (np.split(values, ends) for values in (results.energies, results.forces))
            for energies, forces, stress in zip(*each, results.stress, strict=True):
                labels.append(Label(energies, forces, None if np.isnan(stress).any() else stress))
        return labels

    return teach


def labelled(atoms: Atoms, label: Label) -> Atoms:
    """Return a copy that carries its labels, as ASE writes them.

    Args:
        atoms: The structure.
        label: Its labels.
    """
    copy = atoms.copy()
    results = {"energy": label.energy, "energies": label.energies, "forces": label.forces}
    if label.stress is not None and atoms.pbc.all():
        results["stress"] = full_3x3_to_voigt_6_stress(label.stress)
    copy.calc = SinglePointCalculator(copy, **results)
    return copy


def equilibrate(
    crystals: Sequence[Atoms], teach: Teach
) -> tuple[list[Atoms], list[tuple[int, Atoms, Label]]]:
    """Bring crystals near their minimum: a scan of the volume, then a few damped steps of atoms and cell.

    Args:
        crystals: At guessed lattice constants.
        teach: The teacher.

    Returns:
        The crystals afterwards, and what is worth keeping of the way: which crystal, structure, label.
    """
    scan = [rescale(atoms, s) for atoms in crystals for s in SCALES]
    labels = teach(scan)
    n = len(SCALES)
    seen = [(i // n, atoms, label) for i, (atoms, label) in enumerate(zip(scan, labels, strict=True))]
    current = []
    for i, atoms in enumerate(crystals):
        energies = [label.energy for label in labels[n * i : n * (i + 1)]]
        current.append(rescale(atoms, _lowest(energies)))
    for _ in range(STEPS - 1):
        current = [step(atoms, label) for atoms, label in zip(current, teach(current), strict=True)]
    labels = teach(current)
    seen += [(i, *last) for i, last in enumerate(zip(current, labels, strict=True))]
    return [step(*last) for last in zip(current, labels, strict=True)], seen


def _lowest(energies: list[float]) -> float:
    """Return the scale of the lowest energy, by a parabola through the lowest point and its neighbours."""
    i = min(max(int(np.argmin(energies)), 1), len(energies) - 2)
    a, b, _ = np.polyfit(SCALES[i - 1 : i + 2], energies[i - 1 : i + 2], 2)
    lowest = -b / (2 * a) if a > 0 else SCALES[int(np.argmin(energies))]
    return float(np.clip(lowest, 0.85, 1.18))


def step(atoms: Atoms, label: Label, size: float = 0.04) -> Atoms:
    """Move along forces and stress, as if all springs were of common stiffness.

    Args:
        atoms: The structure.
        label: What the teacher says of it.
        size: A^2/eV, of the atoms.
    """
    copy = atoms.copy()
    copy.positions += np.clip(size * label.forces, -0.1, 0.1)
    if label.stress is not None:
        matrix = np.eye(3) - np.clip(label.stress / 1.2, -0.03, 0.03)
        copy.set_cell(copy.cell.array @ matrix, scale_atoms=True)
    return copy
