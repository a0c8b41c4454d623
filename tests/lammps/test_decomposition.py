"""Energies, forces and pressure are those of ASE, for any division of the box among ranks."""

import numpy as np
import pytest

from tests.lammps.running import pressure_of, read_results, write_data
from tests.lammps.structures import CASES, cluster, quartz, reference, salt, slab

FORCE = {"double": 1e-9, "single": 1e-5}
ENERGY = {"double": 1e-10, "single": 2e-7}
"""eV/A and eV/atom, for forces up to 30 eV/A."""

LARGE = (quartz, salt, cluster, slab)
"""Boxes longer than cutoff and skin, which LAMMPS demands for its tiled decomposition."""

BALANCED = {"before": "comm_style tiled", "after": "balance 1.0 rcb"}

LAUNCHES = [
    (1, "* * *", "double", {}),
    (2, "* * *", "double", {}),
    (3, "3 1 1", "double", {}),
    (4, "1 1 4", "double", {}),
    (7, "1 7 1", "double", {}),
    (8, "2 2 2", "double", {}),
    (4, "* * *", "double", BALANCED),
    (1, "* * *", "single", {}),
    (4, "* * *", "single", {}),
]


@pytest.mark.parametrize(("ranks", "grid", "precision", "settings"), LAUNCHES)
def test_results_are_those_of_the_calculator(ranks, grid, precision, settings, lammps, tmp_path):
    cases = [make() for make in CASES if not settings or make in LARGE]
    text = ""
    for case in cases:
        write_data(tmp_path / f"{case.name}.data", case.atoms, case.types, case.elements, case.gap)
        options = {**settings, "boundary": case.boundary, "precision": precision, "grid": grid}
        text += "clear\n" + lammps.setup(case.elements, f"{case.name}.data", **options)
        text += lammps.evaluation(case.name)
    lammps.run(tmp_path, text, ranks)
    dtype = {"double": "float64", "single": "float32"}[precision]
    for case in cases:
        found, atoms = read_results(tmp_path, case.name), reference(case.name, dtype)
        n = len(atoms)
        forces = atoms.get_forces()
        assert np.abs(forces).max() < 30, case.name
        np.testing.assert_allclose(found.forces, forces, rtol=0, atol=FORCE[precision], err_msg=case.name)
        assert abs(found.energy - atoms.get_potential_energy()) <= n * ENERGY[precision], case.name
        np.testing.assert_allclose(
            found.energies, atoms.get_potential_energies(), rtol=0, atol=10 * ENERGY[precision]
        )
        if precision == "double" and atoms.pbc.all():
            # LAMMPS's constant of pressure is rounded: 7.6e-8 off.
            np.testing.assert_allclose(found.pressure, pressure_of(atoms), rtol=1e-7, atol=0.01)
            total = found.stresses.sum(axis=0) / -atoms.get_volume()
            np.testing.assert_allclose(total, found.pressure, rtol=1e-9, atol=1e-6)
