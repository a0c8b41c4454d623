"""The quantities that a structure may be labelled with, one row each."""

from __future__ import annotations

from dataclasses import dataclass

ENERGIES = "energies"
"""The key of the energies of atoms, ASE's; no calculation has them, only another potential."""

HESSIAN = "hessian"
"""Products of the Hessian with a direction."""


@dataclass(frozen=True)
class Label:
    """A quantity that a structure may be labelled with.

    Attributes:
        name: What it is called in structures, batches and the loss.
        unit: Its unit.
        of_atoms: Whether each atom has one; otherwise each structure has.
        shape: Of one value.
        weighed_by: Which of the weights of a structure is its factor in the loss; None for a factor of one.
        needs_volume: Whether it is used only for structures with a volume.
    """

    name: str
    unit: str
    of_atoms: bool
    shape: tuple[int, ...]
    weighed_by: int | None
    needs_volume: bool = False


LABEL_TABLE = (
    Label("energy", "eV", False, (), 0),
    Label("forces", "eV/A", True, (3,), 1),
    Label("stress", "eV/A^3", False, (3, 3), 2, needs_volume=True),
    Label(ENERGIES, "eV", True, (), 0),
    Label(HESSIAN, "eV/A^2", True, (3,), None),
)
"""Every label, in the order in which the terms of the loss are added."""

LABELS: tuple[str, ...] = tuple(label.name for label in LABEL_TABLE if label.name not in (ENERGIES, HESSIAN))
"""What calculations give: energy, forces and stress."""
