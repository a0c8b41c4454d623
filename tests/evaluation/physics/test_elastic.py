import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from pymatgen.analysis.elasticity import ElasticTensor

from nequix.core.errors import DataError
from nequix.evaluation.physics import eos
from nequix.evaluation.physics.elastic import GPA, Elasticity, elasticity
from nequix.evaluation.physics.judge import summarise_elastic
from nequix.evaluation.physics.references import read_elastic
from nequix.evaluation.task import ItemResult


def isotropic(K, G):
    C = np.diag([2 * G] * 3 + [G] * 3) + 0.0
    C[:3, :3] += K - 2 * G / 3
    return C


class Hooke(Calculator):
    """Stress linear in the strain from a reference cell."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, constants, cell):
        super().__init__()
        self.constants, self.reference = constants / GPA, cell

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        F = np.linalg.solve(self.reference, self.atoms.cell.array)
        strain = (F + F.T) / 2 - np.eye(3)
        voigt = strain[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] * [1, 1, 1, 2, 2, 2]
        energy = voigt @ self.constants @ voigt / 2 * atoms.get_volume()
        self.results = {
            "energy": energy, "forces": np.zeros((len(atoms), 3)), "stress": self.constants @ voigt
        }  # fmt: skip


def test_constants_of_a_linear_solid_are_found_exactly():
    random = np.random.default_rng(0).normal(size=(6, 6))
    constants = 100 * np.eye(6) + random @ random.T
    atoms = bulk("Cu", cubic=True)
    found = elasticity(atoms, Hooke(constants, atoms.cell.array), relax_cell=False)
    np.testing.assert_allclose(found.constants, constants, rtol=1e-9, atol=1e-9)
    assert found.stable
    assert found.converged


@pytest.mark.parametrize(("K", "G"), [(100.0, 40.0), (50.0, 75.0)])
def test_an_isotropic_solid_has_its_moduli(K, G):
    assert Elasticity(isotropic(K, G), True).moduli() == pytest.approx((K, G))


def test_cubic_averages_lie_between_voigt_and_reuss():
    # Copper: C11, C12, C44 = 170, 122, 76 GPa; the averages by the textbook's formulas for cubic crystals.
    C11, C12, C44 = 170.0, 122.0, 76.0
    C = np.diag([C11 - C12] * 3 + [C44] * 3) + 0.0
    C[:3, :3] += C12
    voigt = (C11 - C12 + 3 * C44) / 5
    reuss = 5 * (C11 - C12) * C44 / (4 * C44 + 3 * (C11 - C12))
    assert Elasticity(C, True).moduli() == pytest.approx(((C11 + 2 * C12) / 3, (voigt + reuss) / 2))


def test_the_averages_are_those_of_pymatgen():
    random = np.random.default_rng(1).normal(size=(6, 6))
    constants = 50 * np.eye(6) + 5 * random @ random.T  # of no symmetry
    theirs = ElasticTensor.from_voigt(constants)
    assert Elasticity(constants, True).moduli() == pytest.approx((theirs.k_vrh, theirs.g_vrh))


def test_a_solid_that_yields_is_unstable():
    assert not Elasticity(isotropic(100.0, -1.0), True).stable


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_copper_has_cubic_constants_and_the_bulk_modulus_of_its_equation_of_state():
    atoms = bulk("Cu", a=3.6)
    found = elasticity(atoms, EMT())
    C = found.constants
    np.testing.assert_allclose(C[[0, 1, 2], [0, 1, 2]], C[0, 0], rtol=1e-3)
    np.testing.assert_allclose(C[[3, 4, 5], [3, 4, 5]], C[3, 3], rtol=1e-3)
    np.testing.assert_allclose(C[:3, 3:], 0.0, atol=0.2)

    def energies(volumes):
        values = []
        for volume in volumes:
            scaled = eos.scaled(atoms, volume)
            scaled.calc = EMT()
            values.append(scaled.get_potential_energy())
        return np.array(values)

    equation, *_ = eos.follow(energies, atoms.get_volume())
    assert found.moduli()[0] == pytest.approx(equation.B0, rel=0.02)


def test_a_silicon_lattice_relaxes_its_atoms():
    # In a diamond lattice atoms move under shear, which lowers C44: a rigid shear must give more.
    from ase.calculators.tersoff import Tersoff, TersoffParameters

    parameters = TersoffParameters.from_list(
        [3.0, 1.0, 1.3258, 4.8381, 2.0417, 0.0, 22.956, 0.33675, 1.3258, 95.373, 3.0, 0.2, 3.2394, 3264.7]
    )
    atoms = bulk("Si", a=5.43)
    found = elasticity(atoms, Tersoff({("Si", "Si", "Si"): parameters}))
    strained = atoms.copy()
    strained.set_cell(
        atoms.cell.array @ (np.eye(3) + 0.0025 * np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0]])), True
    )
    strained.calc = Tersoff({("Si", "Si", "Si"): parameters})
    rigid = strained.get_stress()[3] / 0.005 * GPA
    assert found.constants[3, 3] < 0.97 * rigid


def test_softening_is_what_the_median_ratio_lacks():
    held = [
        {"bulk": 80.0, "shear": 45.0, "stable": True, "converged": True},
        {"bulk": 120.0, "shear": 40.0, "stable": False, "converged": True},
        {"bulk": 70.0, "shear": 35.0, "stable": True, "converged": False},
    ]
    outcomes = {
        str(i): ItemResult({**v, "reference": {"bulk": 100.0, "shear": 50.0}}) for i, v in enumerate(held)
    }
    found = summarise_elastic(outcomes)
    assert (found["n"], found["unstable"], found["not_converged"]) == (3, 1, 1)
    assert found["bulk modulus error"] == pytest.approx(20.0)
    assert found["shear modulus error"] == pytest.approx(20.0)
    assert found["bulk softening"] == pytest.approx(20.0)  # of 0.8 1.2 0.7
    assert found["shear softening"] == pytest.approx(20.0)  # of 0.9 0.8 0.7


def test_a_reference_that_cannot_be_read_is_reported(tmp_path):
    path = tmp_path / "elastic.extxyz"
    path.write_text("2\nLattice=")
    with pytest.raises(DataError, match=r"cannot be read|begins with|ends within|contains no structure"):
        read_elastic(path)
