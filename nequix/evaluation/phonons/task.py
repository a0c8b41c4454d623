"""The task ``phonons``: harmonic phonons of relaxed crystals against DFT's, as in the MDR benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from nequix.calculator import NequixCalculator
from nequix.evaluation.digests import describe_paths
from nequix.evaluation.phonons import bands, harmonic
from nequix.evaluation.phonons.data import file_of, find_references, read_reference
from nequix.evaluation.relaxation import FIXED, FREE, relax_symmetric
from nequix.evaluation.task import ItemResult

if TYPE_CHECKING:
    from phonopy import Phonopy

FMAX = 0.005
"""eV/A."""

STEPS = 500
"""Steps of the relaxation at most."""

METHODS = {"displacements": harmonic.by_displacements, "hessian": harmonic.by_hessian}
"""Both ways to the model's force constants."""


@dataclass(frozen=True)
class Phonons:
    """Phonons of the materials of a folder, against DFT.

    Attributes:
        folder: Where the references are (see :func:`nequix.evaluation.phonons.data.find_references`).
        fixed_cell: Names of materials whose cell is not relaxed, since DFT's is under pressure or strain.
        fmax: Threshold of the relaxation, eV/A.
        steps: Steps of the relaxation at most.
        with_hessian: Whether force constants are taken from the Hessian, too, besides displacements.
    """

    folder: Path
    fixed_cell: tuple[str, ...] = ()
    fmax: float = FMAX
    steps: int = STEPS
    with_hessian: bool = True
    name: str = "phonons"

    def settings(self) -> dict[str, Any]:
        """List what the numbers depend on besides the model."""
        # Runs of older versions have both ways, and no entry that says so.
        methods = {} if self.with_hessian else {"methods": ["displacements"]}
        return {
            **methods,
            "fmax_eV_per_A": self.fmax,
            "steps": self.steps,
            "fixed_cell": sorted(self.fixed_cell),
            "displacement_A": harmonic.DISPLACEMENT,
            "temperature_K": harmonic.TEMPERATURE,
            "mesh_A": harmonic.MESH,
            "data": describe_paths(find_references(self.folder).values()),
        }

    def items(self) -> list[str]:
        """Name the materials, those with small files first."""
        found = find_references(self.folder)
        return sorted(found, key=lambda name: (_size(found[name]), name))

    def evaluate(self, item: str, calculator: NequixCalculator) -> ItemResult:
        """Relax one material, and compare its phonons with DFT's.

        Args:
            item: Its name.
            calculator: The model.
        """
        reference = read_reference(find_references(self.folder)[item])
        strain = FIXED if item in self.fixed_cell else FREE
        relaxed = relax_symmetric(unit_cell(reference), calculator, self.fmax, self.steps, strain)
        several: dict[str, Phonopy] = {"dft": reference}
        methods = {name: METHODS[name] for name in METHODS if self.with_hessian or name != "hessian"}
        for name, method in methods.items():
            several[name] = harmonic.prepare(relaxed.atoms, reference)
            method(several[name], calculator.potential)
        path = bands.find_path(reference)
        arrays = {"cell": relaxed.atoms.cell.array, "positions": relaxed.atoms.positions}
        arrays["distances"] = bands.distances(reference, path)
        arrays |= {f"bands_{name}": bands.band_frequencies(p, path) for name, p in several.items()}
        values = {
            "formula": relaxed.atoms.get_chemical_formula(empirical=True),
            "n_atoms_primitive": len(reference.primitive),
            "n_atoms_supercell": len(reference.supercell),
            "relaxation_steps": relaxed.steps,
            "relaxation_converged": relaxed.converged,
            "broken_symmetry": relaxed.broken_symmetry,
            "volume_ratio": float(relaxed.atoms.get_volume() / reference.unitcell.volume),
            "path": path.labels,
            **_disagreement(arrays),
            **{name: asdict(harmonic.properties(phonons)) for name, phonons in several.items()},
        }
        return ItemResult(values, arrays | bands.densities(several))


def _disagreement(arrays: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return by how much the two ways differ along the bands, where there are two."""
    if "bands_hessian" not in arrays:
        return {}
    return {"disagreement_THz": float(np.abs(arrays["bands_hessian"] - arrays["bands_displacements"]).max())}


def unit_cell(reference: Phonopy) -> Atoms:
    """Return the unit cell of a reference.

    Args:
        reference: The phonons.
    """
    cell = reference.unitcell
    return Atoms(cell.symbols, positions=cell.positions, cell=cell.cell, pbc=True)


def _size(path: Path) -> int:
    return file_of(path).stat().st_size
