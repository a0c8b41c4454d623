"""Labels are read raw, under the usual keys or given ones, with ASE's sign of the stress."""

import numpy as np
import pytest
from ase.constraints import FixAtoms

from nequix.core.errors import DataError
from nequix.data.structure import LabelKeys, from_atoms, refuse_not_finite, to_atoms
from tests.data.sets import labelled, strained_copper


@pytest.fixture
def atoms():
    return strained_copper(1)[0]


def test_forces_of_constrained_atoms_are_raw(atoms):
    raw = atoms.calc.results["forces"].copy()
    atoms.set_constraint(FixAtoms([0, 1]))
    assert not atoms.get_forces()[0].any()  # what must not become a label
    np.testing.assert_array_equal(from_atoms(atoms, "x").forces, raw)


def test_labels_are_found_under_usual_spellings(atoms):
    results = atoms.calc.results
    atoms.calc = None
    atoms.info.update(REF_energy=results["energy"], virial=-np.eye(3) * atoms.get_volume())
    atoms.arrays["force"] = results["forces"]
    structure = from_atoms(atoms, "x")
    assert structure.energy == results["energy"]
    np.testing.assert_array_equal(structure.forces, results["forces"])
    np.testing.assert_allclose(structure.stress, np.eye(3), rtol=1e-12)


def test_six_components_are_in_voigts_order(atoms):
    labelled(atoms, 0.0, None, np.arange(1.0, 7.0))
    expected = [[1, 6, 5], [6, 2, 4], [5, 4, 3]]
    np.testing.assert_array_equal(from_atoms(atoms, "x").stress, expected)


def test_given_keys_replace_the_usual_ones(atoms):
    atoms.info["pbe"] = -1.0
    assert from_atoms(atoms, "x", LabelKeys.of(energy="pbe")).energy == -1.0
    assert from_atoms(atoms, "x", LabelKeys.of(forces="none")).forces is None
    atoms.info["virial"] = np.eye(3)
    assert from_atoms(atoms, "x", LabelKeys.of(stress="none")).stress is None


@pytest.mark.parametrize("key", LabelKeys().virial)
def test_virial_that_is_named_is_no_stress(atoms, key):
    del atoms.calc.results["stress"]
    atoms.info = {"stress": np.eye(3), key: -2 * np.eye(3) * atoms.get_volume()}
    keys = LabelKeys.of(stress=key)
    np.testing.assert_allclose(from_atoms(atoms, "x", keys).stress, 2 * np.eye(3))
    assert keys.named() == {"stress": key}
    del atoms.info[key]
    assert from_atoms(atoms, "x", keys).stress is None


def test_two_different_energies_are_refused(atoms):
    atoms.info["REF_energy"] = atoms.calc.results["energy"] + 1.0
    with pytest.raises(DataError, match="energy and REF_energy differ"):
        from_atoms(atoms, "x")


def test_six_and_nine_components_may_be_the_same_stress(atoms):
    labelled(atoms, 0.0, None, np.arange(1.0, 7.0))
    atoms.info["REF_stress"] = np.array([1.0, 6, 5, 6, 2, 4, 5, 4, 3])
    np.testing.assert_array_equal(from_atoms(atoms, "x").stress, [[1, 6, 5], [6, 2, 4], [5, 4, 3]])
    atoms.info["REF_stress"][1] = 7.0
    with pytest.raises(DataError, match="stress and REF_stress differ"):
        from_atoms(atoms, "x")


@pytest.mark.parametrize(
    ("label", "value"), [("forces", np.zeros((2, 3))), ("stress", np.zeros(5)), ("energy", "low")]
)
def test_malformed_labels_are_refused_by_name(atoms, label, value):
    atoms.calc = None
    atoms.info[label] = value
    with pytest.raises(DataError, match=f"frame 7: {label}"):
        from_atoms(atoms, "frame 7")


def test_labels_that_are_nan_throughout_are_missing(atoms):
    labelled(atoms, float("nan"), None, np.full(6, np.nan))
    structure = from_atoms(atoms, "x")
    assert structure.energy is None
    assert structure.stress is None


def test_labels_that_are_partly_nan_are_refused(atoms):
    forces = atoms.calc.results["forces"].copy()
    forces[1, 2] = np.nan
    labelled(atoms, 0.0, forces)
    with pytest.raises(DataError, match="x: forces is not finite"):
        refuse_not_finite(from_atoms(atoms, "x"))


def test_atoms_and_back_keep_everything(atoms):
    atoms.info.update(stress_weight=0.0, name="first")
    atoms.calc.results["energies"] = np.linspace(-3, -2, len(atoms))
    one = from_atoms(atoms, "x")
    other = from_atoms(to_atoms(one), "y")
    assert (other.name, other.weights) == ("first", (1.0, 1.0, 0.0))
    for field in ("numbers", "positions", "cell", "pbc", "energy", "forces", "stress", "energies"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
    assert one.energies is not None


def test_energies_of_atoms_must_be_one_of_each(atoms):
    atoms.calc.results["energies"] = np.zeros(len(atoms) + 1)
    with pytest.raises(DataError, match=r"energies has shape \(5,\), expected \(4,\)"):
        from_atoms(atoms, "x")


def test_labels_of_weight_zero_are_not_trusted(atoms):
    one = from_atoms(atoms, "x")
    assert one.trusted() is one
    atoms.info.update(energy_weight=0.0, stress_weight=0.0, forces_weight=0.5)
    other = from_atoms(atoms, "x").trusted()
    assert (other.energy, other.stress, other.weights) == (None, None, (0.0, 0.5, 0.0))
    np.testing.assert_array_equal(other.forces, one.forces)


def test_weights_must_not_be_negative(atoms):
    atoms.info["energy_weight"] = -1
    with pytest.raises(DataError, match="finite and not negative"):
        from_atoms(atoms, "x")
