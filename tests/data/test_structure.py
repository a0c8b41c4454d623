"""Labels are read raw, under the usual keys or given ones, with ASE's sign of the stress."""

import numpy as np
import pytest
from ase.constraints import FixAtoms

from nequix.core.errors import DataError
from nequix.data.label_keys import LabelKeys
from nequix.data.structure import from_atoms, refuse_not_finite, to_atoms
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


@pytest.mark.parametrize("key", [*LabelKeys().virial, "PBE_virial"])
def test_virial_that_is_named_is_not_a_stress(atoms, key):
    del atoms.calc.results["stress"]
    atoms.info = {"stress": np.eye(3), key: -2 * np.eye(3) * atoms.get_volume()}
    keys = LabelKeys.of(virial=key)
    np.testing.assert_allclose(from_atoms(atoms, "x", keys).stress, 2 * np.eye(3))
    assert keys.named() == {"stress": key}
    del atoms.info[key]
    assert from_atoms(atoms, "x", keys).stress is None


@pytest.mark.parametrize("key", [*LabelKeys().virial, "PBE_Virial"])
def test_virial_is_refused_as_key_of_the_stress(key):
    with pytest.raises(DataError, match=f"stress_key = '{key}' names a virial .* give --virial-key"):
        LabelKeys.of(stress=key)
    LabelKeys.of(stress="virial_stress")  # a stress all the same


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"virial": "dft_stress"}, "virial_key = 'dft_stress' names a stress"),
        ({"energy": ""}, "energy_key is empty"),
    ],
)
def test_other_keys_that_cannot_be_meant_are_refused(keys, message):
    with pytest.raises(DataError, match=message):
        LabelKeys.of(**keys)


def test_two_different_energies_are_refused(atoms):
    atoms.info["REF_energy"] = atoms.calc.results["energy"] + 1.0
    with pytest.raises(DataError, match=r"energy and REF_energy differ by 0\.25 eV/atom"):
        from_atoms(atoms, "x")


@pytest.mark.parametrize(("difference", "refused"), [(0.7, True), (3e-5, False)])
def test_energies_are_compared_per_atom_and_absolutely(atoms, difference, refused):
    """At all-electron totals, 0.7 eV are less than 1e-6 of the energy."""
    labelled(atoms, -1e6)
    atoms.info["REF_energy"] = -1e6 + difference
    if refused:
        with pytest.raises(DataError, match=r"energy and REF_energy differ by 0\.175 eV/atom"):
            from_atoms(atoms, "x")
    else:
        assert from_atoms(atoms, "x").energy == -1e6


def test_forces_and_stresses_are_compared_absolutely(atoms):
    forces, stress = atoms.calc.results["forces"], atoms.calc.results["stress"]
    labelled(atoms, 0.0, 1e3 * forces, 1e3 * stress)
    atoms.arrays["REF_forces"] = 1e3 * forces + 2e-5
    with pytest.raises(DataError, match="forces and REF_forces differ by 2e-05 eV/A;"):
        from_atoms(atoms, "x")
    del atoms.arrays["REF_forces"]
    atoms.info["REF_stress"] = 1e3 * stress + 2e-5
    with pytest.raises(DataError, match="stress and REF_stress differ by 2e-05 eV/A\\^3;"):
        from_atoms(atoms, "x")


def test_values_of_one_key_in_several_places_must_agree(atoms):
    with pytest.raises(DataError, match=r"two values of energy differ by 0\.25 eV/atom"):
        from_atoms(atoms, "x", extra={"energy": atoms.calc.results["energy"] + 1.0})


def test_stress_and_virial_must_agree(atoms):
    """The virial is 0.01 eV/A^3; the stress is the same in GPa."""
    labelled(atoms, 0.0, None, 1.602 * np.eye(3).ravel())
    atoms.info["virial"] = -0.01 * atoms.get_volume() * np.eye(3)
    message = r"contradict each other: component xx is 1\.602 as stress and 0\.01 eV/A\^3 as virial"
    with pytest.raises(DataError, match=message):
        from_atoms(atoms, "x")
    keys = LabelKeys.of(virial="virial")
    np.testing.assert_allclose(from_atoms(atoms, "x", keys).stress, 0.01 * np.eye(3))
    atoms.info["virial"] = np.round(-1.602 * atoms.get_volume() * np.eye(3), 2)  # as files round it
    np.testing.assert_array_equal(from_atoms(atoms, "x").stress, 1.602 * np.eye(3))
    atoms.info["virial"] *= -1
    with pytest.raises(DataError, match="contradict each other"):
        from_atoms(atoms, "x")


@pytest.mark.parametrize("symbol", ["X", -1, 119])
def test_atoms_without_an_element_are_refused(atoms, symbol):
    numbers = atoms.get_atomic_numbers()
    numbers[2] = 0 if symbol == "X" else symbol
    atoms.numbers = numbers
    with pytest.raises(
        DataError, match=r"x: atom 2 \(counted from 0\) has Z = .* write its element's symbol"
    ):
        from_atoms(atoms, "x")


@pytest.mark.parametrize("what", ["positions", "cell"])
def test_coordinates_that_are_not_finite_are_refused(atoms, what):
    structure = from_atoms(atoms, "x")
    getattr(structure, what)[1, 1] = np.inf
    with pytest.raises(DataError, match=f"x: {what} is not finite"):
        refuse_not_finite(structure)


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
