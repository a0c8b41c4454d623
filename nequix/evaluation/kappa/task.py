"""The task ``kappa``: thermal conductivity of the 103 phononDB-PBE structures of Matbench-Discovery."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nequix.calculator import NequixCalculator
from nequix.core.errors import DataError
from nequix.evaluation.digests import describe_paths
from nequix.evaluation.kappa import conductivity, srme
from nequix.evaluation.kappa.data import Reference, estimate_cost, find_files, read_reference, read_structures
from nequix.evaluation.relaxation import NO_SHEAR, Relaxed, relax_symmetric
from nequix.evaluation.task import ItemResult

FMAX = 0.02
"""eV/A, with which the published results of Nequix were made; the benchmark's own is 1e-4."""

STEPS = 500
"""Steps of the relaxation at most."""


@dataclass(frozen=True)
class Kappa:
    """Thermal conductivity of the structures of a folder, against DFT.

    Attributes:
        folder: Where the structures and the reference are.
        fmax: Threshold of the relaxation, eV/A.
        steps: Steps of the relaxation at most.
    """

    folder: Path
    fmax: float = FMAX
    steps: int = STEPS
    name: str = "kappa"

    def settings(self) -> dict[str, Any]:
        """List what the numbers depend on besides the model."""
        return {
            "fmax_eV_per_A": self.fmax,
            "steps": self.steps,
            "displacement_A": conductivity.DISPLACEMENT,
            "temperature_K": conductivity.TEMPERATURE,
            "boundary_mfp_um": conductivity.BOUNDARY,
            "data": describe_paths(find_files(self.folder)),
        }

    def items(self) -> list[str]:
        """Name the materials by their identifiers, the cheapest first.

        Raises:
            DataError: If the structures or the reference cannot be read, or a structure has no reference, as
                it would count as the worst possible result of the model.
        """
        structures, reference = read_structures(self.folder), read_reference(self.folder)
        if missing := sorted(structures.keys() - reference.keys()):
            raise DataError(
                f"{self.folder}: no DFT conductivity of {', '.join(missing[:3])} ({len(missing)} of "
                f"{len(structures)} structures); give files of one data set"
            )
        return sorted(structures, key=lambda name: (estimate_cost(structures[name]), name))

    def evaluate(self, item: str, calculator: NequixCalculator) -> ItemResult:
        """Relax one material, and compare its conductivity with DFT's.

        Args:
            item: Its identifier.
            calculator: The model.
        """
        atoms, reference = read_structures(self.folder)[item], read_reference(self.folder)[item]
        times = [time.perf_counter()]
        relaxed = relax_symmetric(atoms, calculator, self.fmax, self.steps, NO_SHEAR)
        times.append(time.perf_counter())
        info = relaxed.atoms.info
        phonons = conductivity.prepare(
            relaxed.atoms, info["fc2_supercell"], info["fc3_supercell"], info["q_mesh"]
        )
        frequencies = conductivity.solve_harmonic(phonons, calculator.potential)
        times.append(time.perf_counter())
        values = {**_describe(relaxed, frequencies), "kappa_dft": reference.kappa}
        arrays: dict[str, Any] = {"cell": relaxed.atoms.cell.array, "positions": relaxed.atoms.positions}
        arrays["fc2_forces"] = phonons.phonon_forces
        if values["imaginary_modes"] or values["broken_symmetry"]:
            values |= {"kappa": None, "sre": srme.WORST, "srme": srme.WORST}
        else:
            solved = conductivity.solve_conductivity(phonons, calculator.potential)
            values |= compare(solved, reference)
            arrays |= {"fc3_forces": phonons.forces, **vars(solved)}
        times.append(time.perf_counter())
        values["seconds"] = dict(zip(("relaxation", "fc2", "fc3_and_kappa"), np.diff(times), strict=True))
        return ItemResult(values, arrays)


def _describe(relaxed: Relaxed, frequencies: np.ndarray) -> dict[str, Any]:
    return {
        "formula": relaxed.atoms.info["name"],
        "space_group": relaxed.space_groups[0],
        "relaxed_space_group": relaxed.space_groups[1],
        "relaxation_steps": relaxed.steps,
        "relaxation_converged": relaxed.converged,
        "cell_A": relaxed.atoms.cell.cellpar().tolist(),
        "min_frequency_THz": float(frequencies.min()),
        "max_frequency_THz": float(frequencies.max()),
        "imaginary_modes": conductivity.is_unstable(frequencies),
        "broken_symmetry": relaxed.broken_symmetry,
    }


def compare(solved: conductivity.Conductivity, reference: Reference) -> dict[str, Any]:
    """Return conductivity, SRE and SRME of a material.

    Args:
        solved: What the model gave.
        reference: What DFT gave.

    Raises:
        ValueError: If the q-points are not the reference's.
    """
    kappa, n_points = solved.average, solved.weights.sum()
    error = srme.symmetric_relative_mean_error(
        solved.modes, reference.modes, n_points, kappa, reference.kappa
    )
    if not np.allclose(solved.q_points, reference.q_points, atol=1e-6):
        raise ValueError("the q-points are in another order than the reference's")
    sre = srme.symmetric_relative_error(kappa, reference.kappa)
    return {"kappa": kappa, "sre": sre, "srme": error}
