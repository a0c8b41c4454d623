"""One bad structure is named, and hides no other fault: with a model, and without one."""

from dataclasses import replace

import numpy as np
import pytest

from nequix.backends import load_model
from nequix.data.check import check_source
from nequix.data.check_forces import JUDGED, spread_evenly
from nequix.data.opening import open_source
from nequix.data.pair_fit import PairFit
from nequix.data.stats import compute
from tests.data.planted import Listed
from tests.data.sets import real, relabelled, saved, strained_copper
from tests.data.test_check import Reference

HUGE, MIXED = 11, 23


@pytest.fixture
def frames():
    return strained_copper(40)


@pytest.fixture
def rules(tmp_path):
    def rules(frames, reference=None):
        report = check_source(open_source(saved(tmp_path / "set.extxyz", frames)), reference)
        return {item.rule: item for item in report.findings}

    return rules


def places(finding):
    return [int(name.split()[0].rpartition(":")[2]) for name in finding.names]


def spoil(frames, *, factor=1e4):
    """Make the forces of one structure huge, and put those of another in another order."""
    frames[HUGE] = relabelled(frames[HUGE], forces=factor * frames[HUGE].calc.results["forces"])
    forces = frames[MIXED].calc.results["forces"]
    frames[MIXED] = relabelled(frames[MIXED], forces=np.roll(forces, 3, axis=0))


@pytest.mark.parametrize("reference", [None, Reference()])
def test_huge_forces_hide_neither_themselves_nor_another_structure(rules, frames, reference):
    spoil(frames)
    found = rules(frames, reference)
    suffix = "" if reference is None else "-reference"
    assert places(found["force-outlier"]) == [HUGE]
    assert places(found[f"forces-scale{suffix}"]) == [HUGE]
    assert places(found[f"forces-mismatch{suffix}"]) == [MIXED]
    assert "forces-reference" not in found


def test_one_flipped_and_one_converted_structure_are_found(rules, frames):
    frames[4] = relabelled(frames[4], forces=-frames[4].calc.results["forces"])
    frames[5] = relabelled(frames[5], forces=23.06 * frames[5].calc.results["forces"])
    found = rules(frames)
    assert places(found["forces-opposite"]) == [4]
    assert places(found["forces-scale"]) == [5]


def test_a_huge_stress_does_not_decide_about_the_others(rules, frames):
    frames[HUGE] = relabelled(frames[HUGE], stress=1e5 * frames[HUGE].calc.results["stress"])
    found = rules(frames, Reference())
    assert places(found["stress-unit"]) == [HUGE]
    assert "stress-reference" not in found


def test_statistics_name_the_structure_that_sets_the_scale(tmp_path, frames):
    clean = compute(open_source(saved(tmp_path / "clean.extxyz", frames)), 4.0)[0]
    assert (clean.outliers, clean.doubt()) == ({}, None)
    spoil(frames)
    statistics = compute(open_source(saved(tmp_path / "set.extxyz", frames)), 4.0)[0]
    assert list(statistics.outliers) == [f"set.extxyz:{HUGE}"]
    assert f"set.extxyz:{HUGE}" in (statistics.doubt() or "")


def test_a_pair_fit_is_the_gradient_of_its_energy(frames, tmp_path):
    source = open_source(saved(tmp_path / "set.extxyz", frames[:10]))
    structures = [source[index] for index in range(len(source))]
    fit = PairFit.fit(structures)
    assert fit is not None
    structure, step = structures[3], 1e-4
    moved = [structure.positions.copy() for _ in range(2)]
    moved[0][1, 2] -= step
    moved[1][1, 2] += step
    low, high = (float(fit.evaluate(replace(structure, positions=x)).energy[0]) for x in moved)
    # Pairs cross the cutoff, where the basis has not quite vanished.
    assert fit.evaluate(structure).forces[1, 2] == pytest.approx((low - high) / (2 * step), abs=2e-3)


def test_samples_are_spread_evenly():
    assert spread_evenly(3, JUDGED) == [0, 1, 2]
    assert spread_evenly(10, 4) == [0, 3, 6, 9]
    assert spread_evenly(0, 4) == []


def structures_of(name, step):
    source = open_source(real(name))
    return [source[index] for index in range(0, len(source), step)]


def with_faults(structures, rng):
    """Spoil the forces of two structures that have large ones; return their names."""
    sizes = [0.0 if s.forces is None else float(np.abs(s.forces).mean()) for s in structures]
    first, second = np.argsort(sizes)[-len(sizes) // 4 :][:2]
    changed = list(structures)
    changed[first] = replace(changed[first], forces=1e4 * changed[first].forces)
    order = rng.permutation(len(changed[second].numbers))
    changed[second] = replace(changed[second], forces=changed[second].forces[order])
    return changed, changed[first].name, changed[second].name


@pytest.mark.parametrize(
    ("name", "step"),
    [("mlearn/Si_train", 8), ("mlearn/Mo_train", 5), ("pypolymlp_mgo/MgO_train", 45), ("mlearn/Li_train", 8)],
)
def test_faults_in_real_forces_are_found_without_a_model(name, step):
    structures = structures_of(f"{name}.extxyz.gz", step)
    assert check_source(Listed(structures)).errors == []
    spoiled, huge, mixed = with_faults(structures, np.random.default_rng(0))
    found = {item.rule: item.names for item in check_source(Listed(spoiled)).findings}
    assert [text.split(" (")[0] for text in found["force-outlier"]] == [huge]
    assert [text.split(" (")[0] for text in found["forces-mismatch"]] == [mixed]


def test_faults_in_real_forces_are_found_by_a_published_model(published_folder):
    potential = load_model(published_folder / "nequix-mp-1.nqx", "torch")
    structures = structures_of("mlearn/Si_test.extxyz.gz", 2)
    spoiled, huge, mixed = with_faults(structures, np.random.default_rng(0))
    found = {item.rule: item.names for item in check_source(Listed(spoiled), potential).findings}
    assert [text.split(" (")[0] for text in found["forces-scale-reference"]] == [huge]
    assert [text.split(" (")[0] for text in found["forces-mismatch-reference"]] == [mixed]
