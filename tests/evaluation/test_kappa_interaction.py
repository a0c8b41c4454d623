import numpy as np
import pytest
from ase.build import bulk

from nequix.evaluation.kappa import conductivity
from nequix.evaluation.kappa.interaction import use_matrix_products
from tests.evaluation.pairs import PairPotential

CRYSTALS = {
    "rocksalt": (bulk("NaCl", "rocksalt", a=5.0, cubic=True), (4, 4, 4)),
    "coarse": (bulk("NaCl", "rocksalt", a=5.0, cubic=True), (2, 2, 2)),
    "wurtzite": (bulk("SiC", "wurtzite", a=3.1, c=5.0), (5, 5, 4)),
}
"""Crystals and meshes, with points on the zone boundary that have images among other grid points."""


@pytest.mark.parametrize("name", CRYSTALS)
def test_strengths_are_those_of_phono3py(name):
    atoms, mesh = CRYSTALS[name]
    potential, supercell = PairPotential(), 2 * np.eye(3, dtype=int)
    phonons = conductivity.prepare(atoms, supercell, supercell, mesh)
    conductivity.solve_harmonic(phonons, potential)
    phonons.forces = conductivity.supercell_forces(potential, phonons.supercells_with_displacements)
    phonons.produce_fc3()
    phonons.init_phph_interaction(symmetrize_fc3q=False)
    phonons.run_phonon_solver()
    interaction = phonons.phph_interaction
    points = np.unique(phonons.grid.grg2bzg)
    expected = [strengths(interaction, point) for point in points]
    use_matrix_products(phonons)
    largest = max(array.max() for array in expected)
    assert largest > 0
    for point, array in zip(points, expected, strict=True):
        np.testing.assert_allclose(strengths(interaction, point), array, rtol=0, atol=1e-12 * largest)


def strengths(interaction, point):
    interaction.set_grid_point(point)
    interaction.run()
    return interaction.interaction_strength.copy()
