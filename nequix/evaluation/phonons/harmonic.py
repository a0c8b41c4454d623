"""Force constants of a model, by finite displacements and from its Hessian, and what follows from them.

The settings are those of the MDR benchmark (Loew, Sun, Wang, Botti, Marques, arXiv:2412.16551).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nequix.evaluation.forces import supercell_forces
from nequix.graphs.graph import build_graph

if TYPE_CHECKING:
    from ase import Atoms
    from jaxtyping import Float
    from phonopy import Phonopy

    from nequix.potential import Potential

DISPLACEMENT = 0.01
"""A."""

TEMPERATURE = 300.0
"""K."""

MESH = 100.0
"""Density of q-points for thermal properties: phonopy's length, A."""

THZ_TO_K = 47.99243073
"""``h / k_B``: a frequency of 1 THz in K."""


@dataclass(frozen=True)
class Properties:
    """What is compared, per mole of primitive cells.

    Attributes:
        max_frequency: Highest frequency at the supercell's commensurate q-points, K.
        min_frequency: Lowest one there, negative where imaginary, THz.
        entropy: Vibrational entropy at 300 K, J/K/mol.
        free_energy: Vibrational Helmholtz energy at 300 K, kJ/mol.
        heat_capacity: At constant volume and 300 K, J/K/mol.
    """

    max_frequency: float
    min_frequency: float
    entropy: float
    free_energy: float
    heat_capacity: float


def prepare(atoms: Atoms, reference: Phonopy) -> Phonopy:
    """Set up phonons of a relaxed unit cell with the supercell and the primitive cell of a reference.

    Args:
        atoms: The unit cell.
        reference: Has the matrices.
    """
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    cell = PhonopyAtoms(atoms.get_chemical_symbols(), cell=atoms.cell.array, positions=atoms.positions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of primitive_matrix, which is the reference's
        return Phonopy(cell, reference.supercell_matrix, primitive_matrix=reference.primitive_matrix)


def by_displacements(phonons: Phonopy, potential: Potential) -> None:
    """Determine force constants from the forces of displaced supercells.

    Args:
        phonons: Gets the force constants.
        potential: The model.
    """
    phonons.generate_displacements(distance=DISPLACEMENT)
    forces = supercell_forces(potential, phonons.supercells_with_displacements or [])
    phonons.forces = forces - forces.mean(axis=1, keepdims=True)
    phonons.produce_force_constants(show_drift=False)
    phonons.symmetrize_force_constants(show_drift=False)


def by_hessian(phonons: Phonopy, potential: Potential) -> None:
    """Take force constants from the model's exact second derivatives.

    The Hessian of the supercell has its periodic images folded, as force constants of a supercell have. Of
    its columns only those of the primitive cell's atoms are needed: ``3 n_primitive`` products.

    Args:
        phonons: Gets the force constants.
        potential: The model.
    """
    supercell = phonons.supercell
    numbers = np.asarray(supercell.numbers)
    graph = build_graph(numbers, supercell.positions, supercell.cell, True, potential.spec)
    atoms = np.asarray(phonons.primitive.p2s_map)
    constants = np.zeros((len(atoms), len(supercell), 3, 3))
    for row, atom in enumerate(atoms):
        for axis in range(3):
            direction = np.zeros((graph.n_nodes, 3))
            direction[atom, axis] = 1.0
            constants[row, :, axis, :] = potential.hessian_vector_product(graph, direction)
    phonons.force_constants = constants
    phonons.symmetrize_force_constants(show_drift=False)


def properties(phonons: Phonopy) -> Properties:
    """Compute what is compared.

    Args:
        phonons: Has force constants.
    """
    frequencies = commensurate_frequencies(phonons)
    run_mesh(phonons)
    # The acoustic modes at Gamma have the frequency of rounding errors, but logarithms of it in the entropy.
    phonons.run_thermal_properties(temperatures=[TEMPERATURE], exclude_gamma_acoustic=True)
    thermal: Any = phonons.thermal_properties
    values = (float(getattr(thermal, name)[0]) for name in ("entropy", "free_energy", "heat_capacity"))
    return Properties(float(frequencies.max()) * THZ_TO_K, float(frequencies.min()), *values)


def run_mesh(phonons: Phonopy) -> Any:
    """Solve the phonons on phonopy's mesh of the density :data:`MESH`, and return it.

    Args:
        phonons: Has force constants.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of meshes that are adapted to the symmetry
        return phonons.run_mesh(MESH)


def commensurate_frequencies(phonons: Phonopy) -> Float[np.ndarray, "n_q n_bands"]:
    """Return the frequencies at the q-points that the benchmark takes, THz, negative where imaginary.

    They are those commensurate with the supercell's matrix, read in reciprocal vectors of the primitive cell.

    Args:
        phonons: Has force constants.
    """
    from phonopy.harmonic.dynmat_to_fc import get_commensurate_points

    points = get_commensurate_points(phonons.supercell_matrix)
    return np.array(phonons.run_qpoints(points).frequencies)
