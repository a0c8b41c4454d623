"""Values that are not finite numbers, or of the wrong shape, pass no reader. Three seconds."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from nequix.cli.data import _read_energies
from nequix.core.errors import DataError
from nequix.data.label_keys import LabelKeys
from nequix.data.structure import check_atoms, from_atoms, refuse_not_finite
from nequix.evaluation.discovery.reference import read_elements
from nequix.evaluation.discovery.reference import read_reference as read_summary
from nequix.evaluation.discovery.structures import Structures
from nequix.evaluation.kappa import data as kappa
from nequix.evaluation.physics.references import read_dimers, read_elastic, read_eos

NUMBERS = {"true": "true", "text": '"1"', "infinite": "1e999", "list": "[1]", "NaN": "NaN", "null": "null"}


def read_labels(atoms):
    """Read a structure as all commands that need labels do."""
    structure = from_atoms(atoms, "frame")
    refuse_not_finite(structure)
    return structure


LABELS = {
    "energy as true": {"energy": True},
    "energy as text": {"energy": "-1.5"},
    "energy infinite": {"energy": np.inf},
    "energy of two numbers": {"energy": [1.0, 2.0]},
    "energy complex": {"energy": 1 + 1j},
    "forces as truths": {"forces": np.ones((2, 3), bool)},
    "forces as text": {"forces": np.full((2, 3), "1")},
    "forces of one atom": {"forces": np.ones((1, 3))},
    "forces partly NaN": {"forces": np.array([[np.nan, 0, 0], [0, 0, 0]])},
    "stress of five": {"stress": np.ones(5)},
    "stress as truths": {"stress": np.ones(6, bool)},
    "stress infinite": {"stress": np.full(6, np.inf)},
    "virial as text": {"virial": np.full(6, "1")},
    "weight as true": {"energy_weight": True},
    "weight as text": {"forces_weight": "1"},
    "weight negative": {"stress_weight": -1.0},
    "weight NaN": {"stress_weight": np.nan},
}


@pytest.mark.parametrize("case", LABELS)
def test_labels(case):
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    read_labels(atoms)
    for key, value in LABELS[case].items():
        (atoms.arrays if key == "forces" and len(value) == len(atoms) else atoms.info)[key] = value
    with pytest.raises(DataError, match=r"^frame: "):
        read_labels(atoms)


@pytest.mark.parametrize("number", [-1, 0, 119])
@pytest.mark.parametrize("read", [read_labels, lambda atoms: check_atoms(atoms, "frame")])
def test_atoms_without_an_element(number, read):
    atoms = bulk("Cu")
    atoms.numbers[0] = number
    with pytest.raises(DataError, match="frame: atom 0"):
        read(atoms)


@pytest.mark.parametrize("place", ["positions", "cell"])
@pytest.mark.parametrize("read", [read_labels, lambda atoms: check_atoms(atoms, "frame")])
def test_coordinates_that_are_not_finite(place, read):
    atoms = bulk("Cu")
    getattr(atoms, place)[0, 0] = np.inf
    with pytest.raises(DataError, match=f"frame: {place} is not finite"):
        read(atoms)


def test_structures_without_atoms():
    with pytest.raises(DataError, match="has no atom"):
        check_atoms(Atoms(), "frame")


def dimers(value="1.0"):
    return f'{{"PBE": {{"H-H": {{"distances": [0.5, {value}], "energies": [2.0, {value}]}}}}}}'


def eos(value="1.0"):
    return f'{{"Si": {{"natoms": 2, "ae": [40.0, {value}, 4.0]}}}}'


def eos_atoms(value="2"):
    return f'{{"Si": {{"natoms": {value}, "ae": [40.0, 90.0, 4.0]}}}}'


def published_eos(value="0.5"):
    fit = f'{{"min_volume": 40.0, "bulk_modulus_ev_ang3": {value}, "bulk_deriv": 4.0}}'
    return f'{{"BM_fit_data": {{"Si": {fit}}}, "num_atoms_in_sim_cell": {{"Si": 2}}}}'


def element(value="-5.0"):
    return f'{{"Si": {value}}}'


def entry(value="-10.0"):
    return f'{{"Si": {{"energy": {value}, "correction": 0.0, "composition": {{"Si": 2}}}}}}'


def composition(value="2"):
    return f'{{"Si": {{"energy": -10.0, "composition": {{"Si": {value}}}}}}}'


def adjusted(value="0.1"):
    adjustments = f'[{{"value": {value}}}]'
    return f'{{"Si": {{"energy": -10.0, "energy_adjustments": {adjustments}, "composition": {{"Si": 2}}}}}}'


JSON = {
    "dimers": (read_dimers, dimers, ["-1.0"]),
    "equation of state": (read_eos, eos, ["-1.0"]),
    "atoms of an equation of state": (read_eos, eos_atoms, ["0", "1.5", "-1"]),
    "published equation of state": (read_eos, published_eos, ["-0.5"]),
    "energies of elements": (read_elements, element, []),
    "entries of elements": (read_elements, entry, []),
    "compositions of elements": (read_elements, composition, ["-2", "0"]),
    "adjustments of elements": (read_elements, adjusted, []),
    "atom energies": (_read_energies, element, []),
}


@pytest.mark.parametrize("name", JSON)
def test_numbers_in_json(tmp_path, name):
    read, text, others = JSON[name]
    (tmp_path / "good.json").write_text(text())
    assert read(tmp_path / "good.json")
    for case, value in [*NUMBERS.items(), *zip(others, others, strict=True)]:
        path = tmp_path / f"{case}.json"
        path.write_text(text(value))
        with pytest.raises(DataError, match="json: "):
            assert read(path) is None, case


@pytest.mark.parametrize("read", [read_elements, _read_energies])
def test_names_that_are_not_elements(tmp_path, read):
    for number, symbol in enumerate(("X", "14", "si", "")):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps({symbol: -5.0}))
        with pytest.raises(DataError, match="not the symbol of an element"):
            read(path)


@pytest.mark.parametrize("read", [read_dimers, read_eos, read_elements, _read_energies])
def test_names_that_occur_twice(tmp_path, read):
    path = tmp_path / "twice.json"
    path.write_text('{"Si": -5.0, "Si": -6.0}')
    with pytest.raises(DataError, match="twice"):
        read(path)


SUMMARY = "material_id,e_form_per_atom_mp2020_corrected,n_sites\nwbm-1,{},{}\n"


@pytest.mark.parametrize(
    ("energy", "sites"), [("inf", 2), ("-inf", 2), ("x", 2), (0.1, "inf"), (0.1, 0), (0.1, -1), (0.1, 1.5)]
)
def test_summaries(tmp_path, energy, sites):
    path = tmp_path / "wbm-summary.csv"
    path.write_text(SUMMARY.format("", 2))  # what is missing is not a fault
    assert np.isnan(read_summary(path).formation[0])
    path.write_text(SUMMARY.format(energy, sites))
    with pytest.raises(DataError, match="wbm-1 is "):
        read_summary(path)


def test_materials_that_occur_twice(tmp_path):
    path = tmp_path / "wbm-summary.csv"
    path.write_text(SUMMARY.format(0.1, 2) + "wbm-1,0.2,2\n")
    with pytest.raises(DataError, match="wbm-1 occurs twice"):
        read_summary(path)
    atoms = bulk("Cu")
    atoms.info["material_id"] = "wbm-1"
    write(tmp_path / "twice.extxyz", [atoms, atoms])
    with pytest.raises(DataError, match="two structures are called wbm-1"):
        list(Structures(tmp_path / "twice.extxyz").by_name())


SITE = {"species": [{"element": "Cu", "occu": 1}], "abc": [0.0, 0.0, 0.0]}
MATRIX = np.diag([2.5, 2.5, 2.5]).tolist()


@pytest.mark.parametrize(
    ("site", "matrix", "name"),
    [
        ({**SITE, "species": [{"element": "Cu", "occu": 0.5}]}, MATRIX, "m"),
        ({**SITE, "species": [{"element": "X", "occu": 1}]}, MATRIX, "m"),
        ({**SITE, "abc": [0.0, 0.0, 1e400]}, MATRIX, "m"),
        ({**SITE, "abc": [0.0, 0.0]}, MATRIX, "m"),
        (SITE, [[1e400, 0, 0], [0, 1, 0], [0, 0, 1]], "m"),
        (SITE, MATRIX, True),
        (SITE, MATRIX, None),
        (SITE, MATRIX, " "),
    ],
)
def test_structures_of_the_benchmark(tmp_path, site, matrix, name):
    def saved(site, matrix, name):
        structure = {"lattice": {"matrix": matrix}, "sites": [site]}
        text = json.dumps([{"material_id": name, "structure": structure}])
        (tmp_path / "s.json").write_text(text.replace("Infinity", "1e999"))
        return list(Structures(tmp_path / "s.json").by_name())

    assert saved(SITE, MATRIX, "m")[0][0] == "m"
    with pytest.raises(DataError, match="record 0"):
        saved(site, matrix, name)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("q_mesh", [0, 1, 1]),
        ("q_mesh", [1, 1]),
        ("q_mesh", [1.5, 1.0, 1.0]),
        ("fc2_supercell", [True, True, True]),
        ("fc3_supercell", [-1, 1, 1]),
        ("fc3_supercell", "text"),
    ],
)
def test_structures_with_conductivities(tmp_path, key, value):
    path = tmp_path / "phononDB-PBE-structures.extxyz"
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    atoms.info.update(mp_id="mp-1", q_mesh=[2, 2, 2], fc2_supercell=[2, 2, 2], fc3_supercell=[1, 1, 1])
    write(path, atoms)
    assert kappa.read_structures.__wrapped__(tmp_path).keys() == {"mp-1"}
    write(path, [atoms, atoms])
    with pytest.raises(DataError, match="two structures are called mp-1"):
        kappa.read_structures.__wrapped__(tmp_path)
    atoms.info[key] = value
    write(path, atoms)
    with pytest.raises(DataError, match=f"frame 0: {key} = "):
        kappa.read_structures.__wrapped__(tmp_path)


COLUMNS = {
    "kappa_tot_avg": 1.0,
    "mode_kappa_tot_avg": [[[0.5], [0.5]]],
    "q_points": [[0.0, 0.0, 0.0], [0.5, 0.0, 0.0]],
    "mode_weights": [1, 1],
    "phonon_freqs": [[1.0], [2.0]],
}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("kappa_tot_avg", "1"),
        ("kappa_tot_avg", True),
        ("kappa_tot_avg", -1.0),
        ("kappa_tot_avg", 1e400),
        ("mode_kappa_tot_avg", [[[0.5]]]),
        ("q_points", [[0.0, 0.0], [0.5, 0.0]]),
        ("mode_weights", [1, 0]),
        ("mode_weights", [1]),
        ("phonon_freqs", [[1.0], [None]]),
    ],
)
def test_conductivities(tmp_path, column, value):
    path = tmp_path / "kappas-phononDB-PBE-noNAC.json"

    def read(**changes):
        table = {name: {"0": content} for name, content in {**COLUMNS, **changes}.items()}
        text = json.dumps({"mp_id": {"0": "mp-1"}, **table})
        path.write_text(text.replace("Infinity", "1e999"))
        return kappa.read_reference.__wrapped__(tmp_path)

    assert read().keys() == {"mp-1"}
    with pytest.raises(DataError, match="cannot be read"):
        read(**{column: value})


@pytest.mark.parametrize("value", [np.inf, True, "soft", [1.0, 2.0], '_JSON {"a": 1}'])
def test_moduli(tmp_path, value):
    atoms = bulk("Cu")
    atoms.info.update(mp_id="mp-1", bulk_modulus_vrh=140.0, shear_modulus_vrh=50.0)
    write(tmp_path / "good.extxyz", atoms)
    assert read_elastic(tmp_path / "good.extxyz").keys() == {"mp-1"}
    atoms.info["shear_modulus_vrh"] = value
    write(tmp_path / "bad.extxyz", atoms)
    with pytest.raises(DataError, match="frame 0: shear_modulus_vrh = "):
        read_elastic(tmp_path / "bad.extxyz")


def test_usual_labels_pass():
    atoms = bulk("NaCl", "rocksalt", a=5.6)
    labels = {"energy": -7, "forces": np.zeros((2, 3), np.float32), "stress": np.zeros(6)}
    atoms.calc = SinglePointCalculator(atoms, **labels)
    atoms.info["forces_weight"] = np.int64(2)
    structure = read_labels(atoms)
    assert (structure.energy, structure.weights) == (-7.0, (1.0, 2.0, 1.0))
    assert from_atoms(atoms, "frame", LabelKeys.of(energy="none")).energy is None
