import json

import numpy as np
import pytest
from ase.eos import EquationOfState
from ase.utils import deltacodesdft
from scipy.integrate import quad

from nequix.core.errors import DataError
from nequix.evaluation.physics import eos, references
from nequix.evaluation.physics.eos import GPA, Eos

ALUMINIUM = Eos(16.5, 77.5, 4.6)
SOFTER = Eos(16.9, 70.0, 4.2)


def test_a_fit_returns_the_equation_it_was_given():
    volumes = 17.0 * eos.RANGE
    found, left = eos.fit(volumes, -3.7 + ALUMINIUM.energy(volumes))
    assert pytest.approx((16.5, 77.5, 4.6), rel=1e-8) == (found.V0, found.B0, found.B1)
    assert left < 1e-12


def test_a_fit_agrees_with_ase():
    volumes = np.linspace(14, 19, 9)
    energies = 0.2 * (volumes / 16 - 1) ** 2 + 0.03 * np.sin(volumes)
    found, _ = eos.fit(volumes, energies)
    theirs = EquationOfState(volumes, energies, eos="birchmurnaghan")
    V0, _, B0 = theirs.fit()
    assert pytest.approx((V0, B0), rel=1e-3) == (found.V0, found.B0 / GPA)


def test_the_curvature_and_its_derivative_are_those_of_the_energy():
    h = 1e-3
    e = ALUMINIUM.energy(ALUMINIUM.V0 + h * np.arange(-2, 3))
    second = (-e[0] + 16 * e[1] - 30 * e[2] + 16 * e[3] - e[4]) / (12 * h * h)
    third = (e[4] - 2 * e[3] + 2 * e[1] - e[0]) / (2 * h**3)
    assert ALUMINIUM.V0 * second * GPA == pytest.approx(77.5, rel=1e-6)
    assert -1 - ALUMINIUM.V0 * third / second == pytest.approx(4.6, rel=1e-3)


@pytest.mark.parametrize(("reference", "moved"), [(16.0, 0), (13.0, 4), (22.0, 5)])
def test_a_minimum_elsewhere_is_followed(reference, moved):
    found, _, times = eos.follow(ALUMINIUM.energy, reference)
    assert pytest.approx(16.5, rel=1e-6) == found.V0
    assert times == pytest.approx(moved, abs=1)


@pytest.mark.parametrize("energies", [lambda v: -v, lambda v: -((v - 16) ** 2), lambda v: v])
def test_a_minimum_nowhere_is_given_up(energies):
    found, _, moved = eos.follow(energies, 16.0)
    assert found is None
    assert moved < eos.ATTEMPTS


def integrals(a, b):
    low, high = 0.94 * (a.V0 + b.V0) / 2, 1.06 * (a.V0 + b.V0) / 2

    def mean(function):
        return quad(function, low, high, epsabs=0, epsrel=1e-12)[0] / (high - low)

    return mean


def test_delta_and_epsilon_are_the_integrals_of_their_definitions():
    mean = integrals(ALUMINIUM, SOFTER)
    squares = mean(lambda v: (ALUMINIUM.energy(v) - SOFTER.energy(v)) ** 2)
    variances = [mean(lambda v, e=e: (e.energy(v) - mean(e.energy)) ** 2) for e in (ALUMINIUM, SOFTER)]
    assert eos.delta(ALUMINIUM, SOFTER) == pytest.approx(np.sqrt(squares), rel=1e-9)
    expected = np.sqrt(squares / np.sqrt(variances[0] * variances[1]))
    assert eos.epsilon(ALUMINIUM, SOFTER) == pytest.approx(expected, rel=1e-9)


def test_delta_is_that_of_ase():
    theirs = deltacodesdft.delta(*(x for e in (ALUMINIUM, SOFTER) for x in (e.V0, e.B0 / GPA, e.B1)))
    assert eos.delta(ALUMINIUM, SOFTER) == pytest.approx(theirs, rel=1e-4)  # of a sum over 100 volumes


def test_delta_of_a_harmonic_pair_is_known():
    # E = B0 dV^2 / (2 V0) near V0: for equal V0 the mean of dV^4 over +-6 % is (0.06 V0)^4 / 5.
    a, b = Eos(16.0, 80.0, 4.0), Eos(16.0, 79.0, 4.0)
    harmonic = 1.0 / GPA / (2 * 16.0) * (0.06 * 16.0) ** 2 / np.sqrt(5)
    assert eos.delta(a, b) == pytest.approx(harmonic, rel=2e-2)
    assert eos.epsilon(a, b) == pytest.approx(np.sqrt(1 / 80 / 79 * 1 / 5 / (1 / 5 - 1 / 9)), rel=2e-2)


def test_equal_equations_do_not_differ():
    assert eos.delta(ALUMINIUM, ALUMINIUM) == eos.epsilon(ALUMINIUM, ALUMINIUM) == 0.0
    assert eos.nu(ALUMINIUM, ALUMINIUM) == 0.0


def test_nu_weighs_the_relative_differences():
    assert eos.nu(Eos(101.0, 80.0, 4.0), Eos(99.0, 80.0, 4.0)) == pytest.approx(2.0)
    assert eos.nu(Eos(100.0, 110.0, 4.0), Eos(100.0, 90.0, 4.0)) == pytest.approx(1.0)
    assert eos.nu(Eos(100.0, 80.0, 6.0), Eos(100.0, 80.0, 2.0)) == pytest.approx(0.25)
    assert eos.nu(Eos(101.0, 110.0, 4.0), Eos(99.0, 90.0, 4.0)) == pytest.approx(np.sqrt(5))


@pytest.mark.parametrize(
    ("name", "n", "nearest"), [("FCC", 1, 12), ("BCC", 1, 8), ("SC", 1, 6), ("Diamond", 2, 4)]
)
def test_crystals_have_their_volume_and_neighbours(name, n, nearest):
    atoms = eos.build(f"Cu-X/{name}", 12.5 * n)
    assert (len(atoms), atoms.get_volume()) == (n, pytest.approx(12.5 * n))
    many = atoms.repeat(4)
    distances = np.sort(many.get_distances(0, range(1, len(many)), mic=True))
    assert np.sum(distances < 1.05 * distances[0]) == nearest


def test_an_unknown_crystal_is_refused():
    with pytest.raises(DataError, match="ELEMENT-X/LATTICE"):
        eos.build("Cu-X/HCP", 12.0)


def test_both_shapes_of_the_reference_are_read(tmp_path):
    published = {
        "BM_fit_data": {
            "Al-X/FCC": {"min_volume": 16.5, "bulk_modulus_ev_ang3": 0.5, "bulk_deriv": 4.6},
            "He-X/SC": None,
        },
        "num_atoms_in_sim_cell": {"Al-X/FCC": 1, "He-X/SC": 1},
    }
    table = {"Al-X/FCC": {"natoms": 1, "ae": [16.5, 80.0, 4.6], "vasp": [16.4, 81.0, 4.5]}}
    (tmp_path / "published.json").write_text(json.dumps(published))
    (tmp_path / "table.json").write_text(json.dumps(table))
    one = references.read_eos(tmp_path / "published.json")
    assert set(one) == {"Al-X/FCC"}
    assert pytest.approx(80.1088, rel=1e-5) == one["Al-X/FCC"].eos.B0
    two = references.read_eos(tmp_path / "table.json")["Al-X/FCC"]
    assert (two.eos, two.other, two.n_atoms) == (Eos(16.5, 80.0, 4.6), Eos(16.4, 81.0, 4.5), 1)
    (tmp_path / "other.json").write_text('{"a": 3}')
    with pytest.raises(DataError, match="ACWF"):
        references.read_eos(tmp_path / "other.json")
