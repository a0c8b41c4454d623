"""A wrong unit of all energies, or order of stress components, is found with and without a model."""

from dataclasses import replace

import pytest

from nequix.data.check import check_source
from nequix.data.check_units import UNITS, name_unit
from nequix.data.label_table import LABELS
from nequix.data.opening import open_source
from tests.data.planted import Listed, in_unit, in_vasp_order
from tests.data.sets import saved, strained_copper
from tests.data.test_check import Reference
from tests.data.test_check_frames import structures_of


def errors(structures, reference=None):
    return {item.rule: item for item in check_source(Listed(structures), reference).errors}


@pytest.fixture
def copper(tmp_path):
    source = open_source(saved(tmp_path / "set.extxyz", strained_copper(40)))
    return [source[index] for index in range(len(source))]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("reference", [None, Reference()])
def test_another_unit_of_all_energies_is_found_and_named(copper, unit, reference):
    found = errors(in_unit(copper, unit), reference)
    assert f"energies in {unit} and forces in eV/A" in found["energy-work"].message
    if reference is not None:
        assert f"in {unit}?" in found["energy-unit-reference"].message
        assert "energy-reference" not in found  # not a fault of single structures


@pytest.mark.parametrize("unit", UNITS)
def test_units_are_named_by_the_slope(unit):
    assert unit in name_unit(1.2 / UNITS[unit])
    assert name_unit(3.0) == "are they in eV?"


@pytest.mark.parametrize(
    ("name", "step", "rules"),
    [
        ("mlearn/Si_train", 2, {"energy-work"}),
        ("pypolymlp_mgo/MgO_train", 25, {"energy-fit"}),
        ("mattersim_benchmarks/alexandria-random-1k", 2, {"energy-spread"}),
    ],
)
def test_another_unit_of_real_energies_is_found_without_a_model(name, step, rules):
    structures = structures_of(f"{name}.extxyz.gz", step)
    for unit in UNITS:
        assert rules & set(errors(in_unit(structures, unit))), unit


@pytest.mark.parametrize("reference", [None, Reference()])
def test_stress_components_in_the_order_of_vasp_are_found(copper, reference):
    found = errors(in_vasp_order(copper), reference)
    assert "xy yz xz (VASP's order)" in found["stress-order"].message
    assert reference is None or "VASP's order" in found["stress-order-reference"].message


def test_the_report_counts_labels_of_every_file(tmp_path):
    frames = strained_copper(12)
    files = [saved(tmp_path / "a.extxyz", frames[:8]), saved(tmp_path / "b.extxyz", frames[8:])]
    parts = check_source(open_source(files)).parts
    assert list(parts) == [str(file) for file in files]
    assert [set(counts.values()) for counts in parts.values()] == [{8}, {4}]
    assert set(parts[str(files[0])]) == {"structures", *LABELS}
    bare = saved(tmp_path / "c.extxyz", [atoms.copy() for atoms in frames[8:]])
    parts = check_source(open_source([files[0], bare])).parts
    assert parts[str(bare)] == {"structures": 4, "energy": 0, "forces": 0, "stress": 0}
    assert check_source(open_source(files[0])).parts == {}


def test_the_report_counts_structures_labels_and_rules(copper):
    copper[3] = replace(copper[3], stress=None)
    report = check_source(Listed(copper))
    assert report.labels == {"energy": 40, "forces": 40, "stress": 39}
    assert report.rules["stress-magnitude"] == 39
    assert report.rules["energy-spread"] == 0
    text = report.summary()
    assert text.startswith("40 structures (40 energies, 40 with forces, 39 stresses) checked by ")
    assert "energy-spread" in text.partition("without anything to judge: ")[2]
    assert report.to_dict()["rules"] == report.rules
