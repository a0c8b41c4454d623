"""Faults planted in real data are found, by their symmetry too; the sets themselves pass. Twelve seconds."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk

from nequix.backends import load_model
from nequix.data.check import check_source
from nequix.data.check_report import Report
from nequix.data.check_stress import ORDERS, compare_order
from nequix.data.check_symmetry import check_symmetry
from nequix.data.opening import open_source
from nequix.data.scan_records import record
from nequix.data.structure import Structure
from tests.data.planted import (
    Listed,
    Remembering,
    examine,
    in_vasp_order,
    with_permuted_atoms,
)
from tests.data.sets import labelled, real, saved

UNITS = tuple(f"energies in {unit}" for unit in ("Hartree", "Rydberg", "kcal/mol", "kJ/mol"))
UNKNOWN = {
    # Without a model nothing compares the energies of relaxed alloys, which are too far apart.
    "hea_monbtaw/train_binaries": set(UNITS),
}


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("snap_nimo_li3n/Ni4Mo_elastic", 8),
        ("acac_molecule/train_300K", 8),
        ("hea_monbtaw/train_binaries", 40),
        ("mattersim_benchmarks/mptrj-random-1k", 5),
    ],
)
def test_planted_faults_are_found_without_a_model(name, step):
    source = open_source(real(f"{name}.extxyz.gz"))
    structures = [source[index] for index in range(0, len(source), step)]
    rows = examine(structures, None, 1)
    assert rows.pop("none") == [(True, [])]
    expected = UNKNOWN.get(name, set())
    missed = {fault for fault, results in rows.items() for found, _ in results if not found}
    assert missed - {"permuted atoms"} == expected
    assert {rule for results in rows.values() for _, others in results for rule in others} == set()


def test_planted_faults_are_found_by_a_published_model(published_folder):
    source = open_source(real("hea_monbtaw/train_binaries.extxyz.gz"))
    structures = [source[index] for index in range(0, len(source), 53)]
    potential = Remembering(load_model(published_folder / "nequix-mp-1.nqx"))
    rows = examine(structures, potential, 1)
    assert {fault for fault, results in rows.items() for found, _ in results if not found} == set()


def distorted(n=8):
    """Crystals with a shear that breaks some symmetry only, and forces with the symmetry that is left."""
    frames = []
    for index in range(n):
        atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
        angle = 0.01 * (index + 1)
        strain = np.eye(3)
        strain[0, 1] = strain[1, 0] = angle
        atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        atoms.positions[atoms.numbers == 11, 2] += 0.02 * (index + 1)
        forces = np.zeros((8, 3))
        forces[:, 2] = np.where(atoms.numbers == 11, -1.0, 1.0) * (index + 1)
        frames.append(labelled(atoms, -27.0 - index, forces, np.array([0, 0, 0, 0, 0, 0.01 * (index + 1)])))
    return frames


@pytest.fixture
def crystals(tmp_path):
    source = open_source(saved(tmp_path / "set.extxyz", distorted()))
    return [source[index] for index in range(len(source))]


def found_in(structures):
    return {finding.rule: finding for finding in check_source(Listed(structures)).errors}


def test_forces_that_break_the_symmetry_are_found(crystals):
    assert "forces-symmetry" not in found_in(crystals)
    which = 4
    changed = with_permuted_atoms(crystals, which, np.random.default_rng(1))
    finding = found_in(changed)["forces-symmetry"]
    assert [name.split(" (")[0] for name in finding.names] == [crystals[which].name]


def test_stresses_that_break_the_symmetry_are_found(crystals):
    assert "stress-order" not in found_in(crystals)
    finding = found_in(in_vasp_order(crystals))["stress-order"]
    assert "VASP's order" in finding.message
    assert "symmetry of 8 crystals" in finding.message


def test_symmetry_is_not_judged_where_the_stress_vanishes(crystals):
    without = [replace(s, stress=np.zeros((3, 3))) for s in crystals]
    report = Report(len(without))
    check_symmetry([record(s, index) for index, s in enumerate(without)], Listed(without), report)
    assert report.rules == {"stress-order": 0, "forces-symmetry": len(without)}


def random_stresses(n, seed):
    values = np.random.default_rng(seed).normal(0, 0.01, (n, 3, 3))
    return list(values + values.transpose(0, 2, 1))


def test_a_reference_finds_the_order_of_components_despite_its_errors():
    exact, errors = random_stresses(40, 0), random_stresses(40, 1)
    inexact = [a + 0.4 * b for a, b in zip(exact, errors, strict=True)]
    names = [f"s{index}" for index in range(40)]
    report = Report(40)
    compare_order(inexact, exact, names, "the model", report)
    assert report.findings == []
    bare = np.zeros((1, 3))
    pbc = np.array([True, True, True])
    structures = [Structure(np.array([29]), bare, np.eye(3), pbc, None, None, s, "s") for s in exact]
    compare_order(inexact, [s.stress for s in in_vasp_order(structures)], names, "the model", report)
    assert ORDERS[(2, 0, 1)] in report.findings[0].message
    unrelated = Report(40)
    compare_order(errors, exact, names, "the model", unrelated)
    assert unrelated.findings == []
