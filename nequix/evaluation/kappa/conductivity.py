"""Lattice thermal conductivity by phono3py: force constants, phonons on a mesh, relaxation times.

The settings are those of Matbench-Discovery's phononDB-PBE task (Pota, Ahlawat, Csanyi, Simoncelli,
arXiv:2408.00755): Wigner transport in the relaxation-time approximation, isotopes, 300 K, and boundaries at a
distance of a metre.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nequix.evaluation.forces import supercell_forces

if TYPE_CHECKING:
    from ase import Atoms
    from jaxtyping import Float
    from phono3py import Phono3py

    from nequix.potential import Potential

DISPLACEMENT = 0.03
"""A."""

TEMPERATURE = 300.0
"""K."""

BOUNDARY = 1e6
"""Mean free path at which a boundary scatters, micrometres."""

SYMPREC = 1e-5
"""A, for phono3py's symmetry search."""

IMAGINARY = -0.01
"""THz; an acoustic frequency at Gamma below it counts as imaginary, elsewhere any below zero does."""


@dataclass(frozen=True)
class Conductivity:
    """The conductivity at 300 K, and its parts by mode.

    Attributes:
        tensor: W/(m K), components xx, yy, zz, yz, xz, xy.
        modes: Contribution of each mode, averaged over directions, W/(m K) times mesh points: their sum over
            all, divided by the sum of the weights, is :attr:`average`.
        weights: Mesh points that each q-point stands for.
        q_points: In reciprocal lattice vectors.
        frequencies: THz.
    """

    tensor: Float[np.ndarray, " 6"]
    modes: Float[np.ndarray, "n_q n_bands"]
    weights: Float[np.ndarray, " n_q"]
    q_points: Float[np.ndarray, "n_q 3"]
    frequencies: Float[np.ndarray, "n_q n_bands"]

    @property
    def average(self) -> float:
        """Mean of the three directions, W/(m K)."""
        return float(self.tensor[:3].mean())


def prepare(atoms: Atoms, fc2_supercell: Any, fc3_supercell: Any, mesh: Any) -> Phono3py:
    """Set up phono3py and its displacements.

    Args:
        atoms: The relaxed unit cell.
        fc2_supercell: Matrix of the supercell for second-order force constants.
        fc3_supercell: The same for those of third order.
        mesh: q-points along each reciprocal lattice vector.
    """
    from phono3py import Phono3py
    from phonopy.structure.atoms import PhonopyAtoms

    cell = PhonopyAtoms(atoms.get_chemical_symbols(), cell=atoms.cell.array, positions=atoms.positions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of primitive_matrix, said whatever one passes
        phonons = Phono3py(
            cell,
            supercell_matrix=fc3_supercell,
            phonon_supercell_matrix=fc2_supercell,
            primitive_matrix="auto",
            symprec=SYMPREC,
        )
    phonons.mesh_numbers = mesh
    phonons.generate_displacements(distance=DISPLACEMENT)
    return phonons


def solve_harmonic(phonons: Phono3py, potential: Potential) -> Float[np.ndarray, "n_grid n_bands"]:
    """Determine second-order force constants; return the frequencies on the whole mesh, THz, Gamma first.

    Args:
        phonons: Set up; it keeps the force constants.
        potential: The model.
    """
    phonons.phonon_forces = supercell_forces(potential, phonons.phonon_supercells_with_displacements)
    phonons.produce_fc2()
    phonons.symmetrize_fc2()
    phonons.init_phph_interaction(symmetrize_fc3q=False)
    phonons.run_phonon_solver()
    return phonons.get_phonon_data()[0]


def is_unstable(frequencies: Float[np.ndarray, "n_grid n_bands"]) -> bool:
    """Return whether there are imaginary modes as Matbench-Discovery counts them.

    Args:
        frequencies: THz, negative where imaginary; the first row is Gamma.
    """
    gamma, others = frequencies[0], frequencies[1:]
    return bool(
        np.isnan(frequencies).all()
        or (gamma[3:] < 0).any()
        or (gamma[:3] < IMAGINARY).any()
        or (others < 0).any()
    )


def solve_conductivity(phonons: Phono3py, potential: Potential) -> Conductivity:
    """Determine third-order force constants, then the conductivity.

    Args:
        phonons: As :func:`solve_harmonic` left it.
        potential: The model.
    """
    from nequix.evaluation.kappa.interaction import use_matrix_products

    phonons.forces = supercell_forces(potential, phonons.supercells_with_displacements)
    phonons.produce_fc3()
    phonons.symmetrize_fc3()
    phonons.init_phph_interaction(symmetrize_fc3q=False)
    use_matrix_products(phonons)
    phonons.run_thermal_conductivity(
        temperatures=[TEMPERATURE],
        is_isotope=True,
        transport_type="SMM19",
        boundary_mfp=BOUNDARY,
        is_full_pp=True,  # the strengths of all triplets first, then their sum
    )
    solved: Any = phonons.thermal_conductivity
    modes = modes_from_pairs(solved.mode_kappa_matrix[0, 0], solved.mode_heat_capacities[0])
    return Conductivity(
        np.array(solved.kappa[0, 0]),
        modes[..., :3].mean(axis=-1),
        np.array(solved.grid_weights, float),
        np.array(solved.qpoints),
        np.array(solved.frequencies),
    )


def modes_from_pairs(
    pairs: Float[np.ndarray, "n_q n_bands n_bands 6"], heat_capacities: Float[np.ndarray, "n_q n_bands"]
) -> Float[np.ndarray, "n_q n_bands 6"]:
    """Divide what pairs of modes carry among the modes, as the benchmark does.

    Mode ``t`` gets the fraction ``2 C_s / (C_s + C_t)`` of each ``kappa[s, t]``: all of it for ``s = t``.

    Args:
        pairs: Conductivity of each pair of modes.
        heat_capacities: Of each mode, any unit.
    """
    first, second = heat_capacities[:, :, None], heat_capacities[:, None, :]
    total = first + second
    share = np.divide(2 * first, total, where=total > 0, out=np.zeros_like(total))
    return np.einsum("qst,qstc->qtc", share, pairs)
