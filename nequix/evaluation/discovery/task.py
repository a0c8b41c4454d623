"""The task ``discovery``: unrelaxed structures relaxed by the model, block by block."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE

from nequix.calculator import NequixCalculator
from nequix.cell_relaxation import cell_relaxation
from nequix.core.errors import DataError
from nequix.evaluation.digests import describe_paths
from nequix.evaluation.discovery.structures import open_structures
from nequix.evaluation.task import ItemResult

BLOCK = 16
"""Structures of an item: what a killed run has to do again at most, for each worker."""

FMAX, STEPS = 0.05, 500
"""The benchmark's threshold, eV/A, and its steps at most."""


@dataclass(frozen=True)
class Discovery:
    """Relaxation of the structures of a file: FIRE, Frechet filter, nothing fixed.

    Attributes:
        path: What :class:`nequix.evaluation.discovery.structures.Structures` reads.
        fmax: Threshold of forces on atoms and cell, eV/A.
        steps: Steps of the relaxation at most.
        limit: Only this many structures, from the first on; by default all.
    """

    path: Path
    fmax: float = FMAX
    steps: int = STEPS
    limit: int | None = None
    name: str = "discovery"

    def settings(self) -> dict[str, Any]:
        """List what the numbers depend on besides the model."""
        held = {"data": describe_paths([self.path]), "fmax_eV_per_A": self.fmax, "steps": self.steps}
        return {**held, "limit": self.limit, "block": BLOCK}

    def items(self) -> list[str]:
        """Name the blocks in the file's order.

        Raises:
            DataError: If the file cannot be read.
        """
        return [f"structures-{start:08d}" for start in range(0, self._size(), BLOCK)]

    def evaluate(self, item: str, calculator: NequixCalculator) -> ItemResult:
        """Relax the structures of a block; what fails is noted with the reason.

        Args:
            item: The block.
            calculator: The model.
        """
        start = int(item.rpartition("-")[2])
        rows, relaxed = [], []
        for index in range(start, min(start + BLOCK, self._size())):
            name = f"{self.path.name}, structure {index}"
            try:
                name, atoms = open_structures(self.path)[index]
                row = relax(atoms, calculator, self.fmax, self.steps)
            except Exception as error:  # of any kind: one structure must not take the block with it
                rows.append({"name": name, "error": f"{type(error).__name__}: {error}"})
                continue
            rows.append({"name": name, "error": None, "n_atoms": len(atoms), **row})
            relaxed.append(atoms)
        return ItemResult({"structures": rows}, _arrays(relaxed))

    def _size(self) -> int:
        n = len(open_structures(self.path))
        return n if self.limit is None else min(n, self.limit)


def relax(atoms: Atoms, calculator: NequixCalculator, fmax: float, steps: int) -> dict[str, Any]:
    """Relax cell and atoms of a structure in place.

    Args:
        atoms: The structure; it is left with the relaxed cell and positions.
        calculator: The model.
        fmax: Converged when no force on an atom or on the cell is larger, eV/A.
        steps: Steps at most.

    Returns:
        ``energy`` (eV), ``converged`` and ``steps``.

    Raises:
        DataError: If the energy is not finite.
    """
    atoms.calc = calculator
    atoms.set_constraint()
    with cell_relaxation():
        optimizer = FIRE(FrechetCellFilter(atoms), logfile=None)  # pyright: ignore[reportArgumentType]
        converged = bool(optimizer.run(fmax=fmax, steps=steps))
    energy = float(atoms.get_potential_energy())
    atoms.calc = None
    if not np.isfinite(energy):
        raise DataError(f"energy {energy} eV after {optimizer.nsteps} steps")
    return {"energy": energy, "converged": converged, "steps": optimizer.nsteps}


def _arrays(relaxed: list[Atoms]) -> dict[str, np.ndarray]:
    """Put structures one after the other."""
    return {
        "numbers": np.concatenate([np.zeros(0, int), *(atoms.numbers for atoms in relaxed)]),
        "positions": np.concatenate([np.zeros((0, 3)), *(atoms.positions for atoms in relaxed)]),
        "cells": np.array([atoms.cell.array for atoms in relaxed]).reshape(-1, 3, 3),
    }
