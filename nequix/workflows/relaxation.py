"""Relaxation of a structure to its nearest minimum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import ase.optimize
import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter

from nequix.cell_relaxation import cell_relaxation
from nequix.core.errors import DataError
from nequix.core.suggest import did_you_mean
from nequix.distance_guard import Guard
from nequix.execution import DEFAULT, Execution
from nequix.workflows.models import Model, open_calculator
from nequix.workflows.structures import with_results

Optimizer = Literal["fire", "bfgs", "lbfgs"]
"""Names of optimizers of ``ase.optimize``, in lower case."""


@dataclass(frozen=True)
class RelaxationStep:
    """What a relaxation has reached after some steps.

    Attributes:
        number: How many steps were taken; 0 before the first.
        energy: eV.
        fmax: Length of the largest force, eV/A; with a free cell, forces on the cell are included.
        volume: A^3; None for a structure without three independent lattice vectors.
        atoms: A copy of the structure, with its results.

    Example:
        >>> import nequix
        >>> from ase.build import bulk
        >>> steps = []
        >>> _ = nequix.relax(bulk("Si", a=5.5), "nequix-nano", cell=True, on_step=steps.append)
        >>> steps[0].number, round(steps[0].volume, 1), steps[-1].energy < steps[0].energy
        (0, 41.6, True)
    """

    number: int
    energy: float
    fmax: float
    volume: float | None
    atoms: Atoms


@dataclass(frozen=True)
class Relaxation:
    """The outcome of a relaxation.

    Attributes:
        atoms: The structure that was reached, with its energy (eV), forces (eV/A) and stress (eV/A^3).
        converged: Whether the largest force fell below the threshold.
        n_steps: How many steps were taken.
        energy: Energy of that structure, eV.
        fmax: Length of its largest force, eV/A; with a free cell, forces on the cell are included.

    Example:
        >>> import nequix
        >>> from ase.build import bulk
        >>> relaxed = nequix.relax(bulk("Si", a=5.5), "nequix-nano", cell=True, steps=1, fmax=1e-9)
        >>> relaxed.converged, relaxed.n_steps
        (False, 1)
    """

    atoms: Atoms
    converged: bool
    n_steps: int
    energy: float
    fmax: float


def relax(
    atoms: Atoms,
    model: Model = "nequix-mp-1",
    *,
    fmax: float = 0.02,
    steps: int = 500,
    cell: bool = False,
    optimizer: Optimizer = "fire",
    execution: Execution = DEFAULT,
    guard: Guard = "warn",
    on_step: Callable[[RelaxationStep], None] | None = None,
) -> Relaxation:
    """Relax the positions of a structure and, if wanted, its cell.

    The structure itself is not changed. Its constraints hold.

    Args:
        atoms: The structure.
        model: A name of :func:`nequix.list_models`, the path of a weight file, the folder of an ensemble,
            weights, a potential, or a calculator.
        fmax: Converged when no force is larger, eV/A.
        steps: Most steps.
        cell: Whether the cell relaxes too (ASE's ``FrechetCellFilter``).
        optimizer: ``fire``, ``bfgs`` or ``lbfgs``.
        execution: How the model is executed.
        guard: What happens when atoms are closer than in the model's training data: ``warn``, ``error`` or
            None.
        on_step: Called before the first step and after each.

    Returns:
        The structure that was reached, and whether it is converged.

    Raises:
        BackendUnavailable: If the backend, the kernel or the device is not available.
        DataError: If ``fmax`` or ``steps`` is not positive, or the cell of a structure that is not periodic
            in all directions is to relax.
        GraphError: For a structure that the model cannot evaluate, naming the atom.
        ValueError: For an unknown optimizer.
        WeightsError: If there is no such model, or it cannot be downloaded or read.

    Example:
        >>> import nequix
        >>> from ase.build import bulk
        >>> crystal = bulk("Si", a=5.6)
        >>> relaxed = nequix.relax(crystal, "nequix-nano", cell=True)
        >>> relaxed.converged, relaxed.fmax < 0.02
        (True, True)
        >>> bool(relaxed.atoms.get_volume() < crystal.get_volume())
        True
    """
    check_limits(fmax, steps)
    if optimizer not in get_args(Optimizer):
        names = get_args(Optimizer)
        hint = did_you_mean(str(optimizer), names)
        raise ValueError(f"optimizer = {optimizer!r}, expected one of {', '.join(map(repr, names))}{hint}")
    if cell:
        check_cell(atoms)
    relaxed = atoms.copy()
    relaxed.calc = open_calculator(model, execution, guard)
    subject: Any = FrechetCellFilter(relaxed) if cell else relaxed
    minimiser = getattr(ase.optimize, optimizer.upper())(subject, logfile=None)

    def report() -> None:
        if on_step is not None:
            volume = float(relaxed.get_volume()) if relaxed.cell.rank == 3 else None
            structure = with_results(relaxed)
            on_step(RelaxationStep(minimiser.nsteps, _energy(relaxed), _fmax(subject), volume, structure))

    minimiser.attach(report)
    with cell_relaxation():
        converged = bool(minimiser.run(fmax=fmax, steps=steps))
        largest = _fmax(subject)
    return Relaxation(with_results(relaxed), converged, minimiser.nsteps, _energy(relaxed), largest)


def check_limits(fmax: float, steps: int) -> None:
    """Check the limits of a relaxation.

    Args:
        fmax: Threshold of the forces, eV/A.
        steps: Most steps.

    Raises:
        DataError: If one of them is not positive.
    """
    if not (fmax > 0 and steps > 0):
        raise DataError(f"fmax = {fmax} and steps = {steps}, expected positive numbers")


def check_cell(atoms: Atoms) -> None:
    """Check that the cell of a structure can relax.

    Args:
        atoms: The structure.

    Raises:
        DataError: If it is not periodic in all directions.
    """
    if not (atoms.pbc.all() and atoms.cell.rank == 3):
        raise DataError(
            f"pbc = {atoms.pbc.tolist()}, {atoms.cell.rank} of 3 independent lattice vectors: only a cell "
            "periodic in all directions relaxes; complete it, or keep the cell fixed"
        )


def _energy(atoms: Atoms) -> float:
    return float(atoms.get_potential_energy())


def _fmax(subject: Any) -> float:
    """Return the length of the largest force, constraints applied, eV/A."""
    return float(np.linalg.norm(subject.get_forces(), axis=1).max())
