import json
import math

import numpy as np
import phonopy
import pytest
from ase.build import bulk
from phonopy.file_IO import write_FORCE_SETS
from phonopy.structure.atoms import PhonopyAtoms

from nequix import NequixCalculator
from nequix.core.errors import DataError
from nequix.evaluation.item import run_item
from nequix.evaluation.phonons import bands, harmonic
from nequix.evaluation.phonons.data import find_references, read_reference
from nequix.evaluation.phonons.report import summarise, write_report
from nequix.evaluation.phonons.task import Phonons
from nequix.evaluation.run_directory import RunDirectory
from nequix.evaluation.task import Engine, ItemResult
from nequix.execution import Execution
from tests.calculator.small import WEIGHTS, write_small
from tests.data.sets import real
from tests.evaluation.pairs import PairCalculator, PairPotential

TWO_WAYS = 2e-3
"""Relative; differences of 0.01 A have an error of second order, of a potential of atomic stiffness."""


def write_reference(folder, strength=0.3):
    """Write two crystals of a pair potential in both of phonopy's layouts."""
    for name, atoms in {"fcc": bulk("Al", a=3.7, cubic=True), "hcp": bulk("Cu", "hcp", a=2.6)}.items():
        phonons = phonopy.Phonopy(_cell(atoms), [2, 2, 2], primitive_matrix="auto" if name == "hcp" else "F")
        phonons.generate_displacements(distance=0.01)
        cells = phonons.supercells_with_displacements
        phonons.forces = harmonic.supercell_forces(PairPotential(strength), cells)
        (folder / name).mkdir(parents=True)
        phonons.save(folder / name / "phonopy_params.yaml", settings={"force_sets": name == "hcp"})
        if name == "hcp":
            (folder / name / "phonopy_params.yaml").rename(folder / "hcp.yaml")
            (folder / name).rmdir()
        else:
            write_FORCE_SETS(phonons.dataset, folder / name / "FORCE_SETS")


def _cell(atoms):
    return PhonopyAtoms(atoms.get_chemical_symbols(), cell=atoms.cell.array, positions=atoms.positions)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("references")
    write_reference(folder)
    return folder


def test_references_are_found_in_both_layouts(folder):
    (folder / ".left.yaml.lock").touch()
    assert sorted(find_references(folder)) == sorted(Phonons(folder).items()) == ["fcc", "hcp"]
    for path in find_references(folder).values():
        assert read_reference(path).force_constants is not None


def test_both_ways_give_the_same_force_constants_of_a_model():
    """A random model of crystals without inversion at the atoms, so that a wrong fold or transpose shows."""
    calculator = NequixCalculator(WEIGHTS, "torch", dtype="float64")
    atoms = bulk("AlO", "wurtzite", a=3.2, c=5.3)
    reference = phonopy.Phonopy(_cell(atoms), [2, 2, 1], primitive_matrix="P")
    constants = []
    for method in (harmonic.by_displacements, harmonic.by_hessian):
        phonons = harmonic.prepare(atoms, reference)
        method(phonons, calculator.potential)
        held = phonons.force_constants
        rows = phonons.primitive.p2s_map if len(held) == len(phonons.supercell) else slice(None)
        constants.append(held[rows])
    assert np.abs(constants[0] - constants[0].swapaxes(-1, -2)).max() > 1e-3 * np.abs(constants[0]).max()
    np.testing.assert_allclose(*constants, rtol=0, atol=TWO_WAYS * np.abs(constants[1]).max())


def test_the_hessian_is_that_of_the_calculator_folded():
    calculator = NequixCalculator(WEIGHTS, "torch", dtype="float64")
    atoms = bulk("AlO", "wurtzite", a=3.2, c=5.3)
    reference = phonopy.Phonopy(_cell(atoms), [1, 1, 1], primitive_matrix="P")
    phonons = harmonic.prepare(atoms, reference)
    harmonic.by_hessian(phonons, calculator.potential)
    n = len(atoms)
    full = calculator.get_hessian(atoms).reshape(n, 3, n, 3).swapaxes(1, 2)
    np.testing.assert_allclose(phonons.force_constants, full, rtol=0, atol=1e-8 * np.abs(full).max())


def test_thermal_properties_are_those_of_the_oscillators(folder):
    reference = read_reference(find_references(folder)["hcp"])
    properties = harmonic.properties(reference)
    mesh = harmonic.run_mesh(reference)
    quantum = mesh.frequencies * harmonic.THZ_TO_K / harmonic.TEMPERATURE
    x = np.where(quantum > 1e-3, quantum, np.inf)
    gas = 8.31446261815324
    weights = mesh.weights[:, None] / mesh.weights.sum()
    with np.errstate(invalid="ignore"):
        heat = np.where(np.isinf(x), 0, (x / 2 / np.sinh(np.minimum(x, 300) / 2)) ** 2)
        free = np.where(np.isinf(x), 0, x / 2 + np.log1p(-np.exp(-x)))
        energy = np.where(np.isinf(x), 0, x / 2 / np.tanh(x / 2))
    assert properties.heat_capacity == pytest.approx(gas * (heat * weights).sum(), rel=1e-4)
    assert properties.free_energy == pytest.approx(gas * 0.3 * (free * weights).sum(), rel=1e-4)
    assert properties.entropy == pytest.approx(gas * ((energy - free) * weights).sum(), rel=1e-4)
    assert properties.max_frequency > 0.9 * mesh.frequencies.max() * harmonic.THZ_TO_K


def test_a_frequency_in_kelvin():
    planck, boltzmann = 6.62607015e-34, 1.380649e-23
    assert pytest.approx(1e12 * planck / boltzmann) == harmonic.THZ_TO_K


def test_the_reference_model_has_no_error(folder):
    values = Phonons(folder, fixed_cell=("fcc",)).evaluate("fcc", PairCalculator()).values
    for method in ("displacements", "hessian"):
        for name, value in values["dft"].items():
            assert values[method][name] == pytest.approx(value, rel=1e-3, abs=1e-3)
    assert values["volume_ratio"] == pytest.approx(1.0)


def test_the_hessian_can_be_left_out(folder, monkeypatch):
    monkeypatch.delattr(PairPotential, "hessian_vector_product")
    task = Phonons(folder, fixed_cell=("fcc",), with_hessian=False)
    assert task.settings()["methods"] == ["displacements"]
    assert "methods" not in Phonons(folder).settings()
    outcome = task.evaluate("fcc", PairCalculator())
    assert "hessian" not in outcome.values
    assert not any("hessian" in name for name in outcome.arrays)
    summary = summarise({"fcc": outcome})
    assert list(summary["mae"]) == ["displacements"]
    assert summary["disagreement_THz"] is None
    assert bands.plot("fcc", outcome.values["path"], dict(outcome.arrays)).axes


def test_a_stiffer_model_has_the_frequencies_of_its_stiffness(folder):
    outcome = Phonons(folder, fixed_cell=("fcc",)).evaluate("fcc", PairCalculator(strength=0.6))
    values = outcome.values
    ratio = values["hessian"]["max_frequency"] / values["dft"]["max_frequency"]
    assert ratio == pytest.approx(math.sqrt(2), rel=1e-3)
    assert values["disagreement_THz"] < 0.01
    ones = outcome.arrays["bands_hessian"][outcome.arrays["bands_dft"] > 0.1]
    others = outcome.arrays["bands_dft"][outcome.arrays["bands_dft"] > 0.1]
    np.testing.assert_allclose(ones / others, math.sqrt(2), rtol=1e-3)
    width = np.diff(outcome.arrays["dos_frequencies"]).mean()
    assert outcome.arrays["dos_dft"].sum() * width == pytest.approx(
        3, rel=0.01
    )  # modes of the primitive cell


def test_the_cell_is_relaxed_unless_it_is_fixed(folder):
    assert Phonons(folder).evaluate("hcp", PairCalculator()).values["volume_ratio"] < 0.99


def test_errors_are_averaged_by_hand():
    def outcome(model, dft, disagreement):
        names = ("max_frequency", "entropy", "free_energy", "heat_capacity")
        held = {name: dict.fromkeys(names, value) for name, value in (("displacements", model), ("dft", dft))}
        return ItemResult({**held, "hessian": held["dft"], "disagreement_THz": disagreement})

    summary = summarise({"a": outcome(3.0, 1.0, 0.1), "b": outcome(1.0, 5.0, 0.3)})
    assert set(summary["mae"]["displacements"].values()) == {3.0}
    assert set(summary["mae"]["hessian"].values()) == {0.0}
    assert (summary["disagreement_THz"], summary["disagreement_in"]) == (0.3, "b")


def test_the_report_has_bands_and_failures(folder, tmp_path):
    task, store = Phonons(folder), RunDirectory(tmp_path / "run")
    engine = Engine(str(write_small(tmp_path)), Execution("torch"))
    identity = {
        "task": task.name,
        "settings": task.settings(),
        "engine": engine.describe(),
    }
    with store.begin(identity):
        run_item(task, PairCalculator(), store, "fcc")
        store.write("hcp", ItemResult(error="RuntimeError: lost"), 0.0)
    summary = write_report(store, task.items(), identity)
    assert (summary["n"], summary["n_failed"], summary["n_materials"]) == (1, 1, 2)
    text = (store.folder / "report.md").read_text()
    assert "![fcc: DFT and the model.](bands-fcc.png)" in text
    assert "RuntimeError: lost" in text
    assert (store.folder / "bands-fcc.png").stat().st_size > 1000
    held = json.loads((store.folder / "results.json").read_bytes())["results"]
    assert held["materials"]["fcc"]["dft"] == store.read("fcc").values["dft"]


def test_labels_of_a_path_that_jumps():
    assert bands._joints([["GAMMA", "X"], ["X", "U"], ["K", "GAMMA"]]) == ["GAMMA", "X", "U|K", "GAMMA"]


def test_a_folder_without_references_is_reported(tmp_path):
    with pytest.raises(DataError, match="no folder with FORCE_SETS"):
        Phonons(tmp_path).items()
    (tmp_path / "bad.yaml").write_text("nothing: 1")
    with pytest.raises(DataError, match="not a phonopy YAML file"):
        read_reference(tmp_path / "bad.yaml")


@pytest.mark.parametrize("calculator", ["qe", "abinit", "siesta", "cp2k", "aims", None])
def test_other_units_than_ours_are_refused(tmp_path, calculator):
    phonons = phonopy.Phonopy(
        _cell(bulk("Al", a=3.7)), [2, 2, 2], primitive_matrix="P", calculator=calculator
    )
    phonons.force_constants = np.eye(8)[:, :, None, None] * np.eye(3)
    phonons.save(tmp_path / "Al.yaml", settings={"force_constants": True})
    if calculator in ("aims", None):
        assert read_reference(tmp_path / "Al.yaml").force_constants is not None
        return
    with pytest.raises(DataError, match=rf"Al\.yaml: in the units of {calculator} .*, expected .*; convert"):
        read_reference(tmp_path / "Al.yaml")


def test_the_real_silicon_has_its_phonons():
    path = real("phonons/phonopy_examples/Si-gruneisen-orig/FORCE_SETS").parent
    properties = harmonic.properties(read_reference(path))
    assert properties.max_frequency / harmonic.THZ_TO_K == pytest.approx(15.1, abs=0.1)  # Gamma, PBE
    assert properties.min_frequency == pytest.approx(0.0, abs=1e-3)
