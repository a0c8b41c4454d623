import gzip
import json

import numpy as np
import pytest

from nequix.core.errors import DataError
from nequix.evaluation.physics import references
from nequix.evaluation.physics.dimers import Curve, compare, describe, wall_radius
from nequix.evaluation.physics.judge import judge_dimer, judge_dimers
from nequix.evaluation.physics.task import Physics
from nequix.evaluation.physics.verdicts import Verdict
from nequix.evaluation.task import ItemResult

R = np.geomspace(0.6, 6.0, 400)


def morse(r, depth=3.0, minimum=2.0, a=2.0):
    return depth * ((1 - np.exp(-a * (r - minimum))) ** 2 - 1)


def bump(r, center, height, width=0.12):
    return height * np.exp(-((r - center) ** 2) / (2 * width**2))


GOOD = Curve.of(R, morse(R))


def test_a_morse_curve_has_its_well_and_nothing_else():
    found = describe(GOOD)
    assert found["minimum"] == pytest.approx(2.0, abs=0.01)
    assert found["depth"] == pytest.approx(3.0, abs=0.01)
    assert found["wall"] == pytest.approx(morse(0.6), rel=1e-3)
    assert (found["wall_distance"], found["hole"], found["collapses"]) == (pytest.approx(0.6), 0.0, False)
    assert (found["wall_deficit"], found["spurious_minima"]) == (0.0, [])
    assert judge_dimer(found) == (Verdict.passed, "")


def test_order_and_offset_of_a_curve_do_not_matter():
    shuffled = np.random.default_rng(0).permutation(len(R))
    other = Curve.of(R[shuffled], morse(R[shuffled]) + 17.0)
    np.testing.assert_allclose(other.energy, GOOD.energy, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(other.distance, GOOD.distance)


def test_a_hole_behind_a_low_wall_is_found():
    energy = np.where(R > 1.65, morse(R), 0)
    top = morse(1.65)
    energy = np.where(R <= 1.65, top - 9 * (1.65 - R), energy)
    found = describe(Curve.of(R, energy))
    assert found["wall"] == pytest.approx(top, abs=0.2)
    assert found["wall_distance"] == pytest.approx(1.65, abs=0.02)
    assert found["hole"] == pytest.approx(9 * 1.05, abs=0.3)
    assert found["collapses"]
    assert found["wall_deficit"] == pytest.approx(10 - found["wall"])
    verdict, told = judge_dimer(found)
    assert verdict == Verdict.failed
    assert "collapses" in told
    verdict, told = judge_dimer({**found, "collapses": False, "wall_deficit": 5.0})
    assert verdict == Verdict.warned
    assert "hole" in told


def test_a_wall_that_ends_low_is_found_without_a_hole():
    found = describe(Curve.of(R, morse(R, depth=0.5, a=1.0)))
    assert found["hole"] == 0.0
    assert not found["collapses"]
    assert found["wall_deficit"] == pytest.approx(10 - morse(0.6, 0.5, a=1.0), abs=0.1)
    verdict, told = judge_dimer(found)
    assert verdict == Verdict.warned
    assert "ends" in told


def test_what_lies_behind_a_high_wall_does_not_count():
    energy = morse(R, depth=5.0)
    inner = wall_radius(Curve.of(R, energy), 10.0) - 0.15
    found = describe(Curve.of(R, np.where(inner > R, morse(inner, 5.0) - 200 * (inner - R), energy)))
    assert found["minimum"] == pytest.approx(2.0, abs=0.01)
    assert (found["wall_deficit"], found["spurious_minima"]) == (0.0, [])
    assert found["hole"] > 50
    assert found["collapses"]
    assert judge_dimer(found)[0] == Verdict.passed


def test_a_second_minimum_is_found_and_a_ripple_is_not():
    found = describe(Curve.of(R, morse(R) - bump(R, 3.6, 0.6)))
    assert found["spurious_minima"] == [pytest.approx(3.6, abs=0.05)]
    assert judge_dimer(found)[0] == Verdict.warned
    assert describe(Curve.of(R, morse(R) - bump(R, 4.5, 0.02)))["spurious_minima"] == []
    two = describe(Curve.of(R, morse(R) - bump(R, 3.3, 0.8) - bump(R, 4.4, 0.6)))
    assert len(two["spurious_minima"]) == 2
    assert judge_dimer(two)[0] == Verdict.failed


def test_a_repulsive_curve_has_no_well():
    found = describe(Curve.of(R, 20 * np.exp(-R)))
    assert (found["minimum"], found["depth"], found["spurious_minima"]) == (None, None, [])


def test_the_radius_of_a_wall_is_where_it_reaches_the_level():
    curve = Curve.of(R, 10 / R)
    assert wall_radius(curve, 5.0) == pytest.approx(10 / (5 + 10 / 6), abs=1e-3)
    assert wall_radius(curve, 100.0) is None
    assert wall_radius(GOOD, 1.0) == pytest.approx(2 - np.log(1 + np.sqrt(4 / 3)) / 2, abs=1e-3)


def test_a_moved_curve_is_off_by_its_shift():
    moved = Curve.of(R, morse(R, minimum=2.2))
    found = compare(moved, GOOD)
    assert found["wall_radius_error"] == pytest.approx(0.2, abs=2e-3)
    assert found["minimum_error"] == pytest.approx(0.2, abs=0.02)
    assert found["depth_error"] == pytest.approx(0.0, abs=0.01)
    assert compare(GOOD, GOOD)["mae"] == 0.0
    assert judge_dimer({**describe(moved), "comparison": found})[0] == Verdict.warned


def test_the_mean_error_leaves_the_shortest_distances_out():
    shifted = Curve.of(R, morse(R) + np.where(1.12 * R[0] > R, 1000.0, np.where(R[-1] > R, 0.5, 0.0)))
    assert compare(shifted, GOOD)["mae"] == pytest.approx(0.5, rel=0.01)


def test_the_part_of_the_elements_that_fail_is_judged():
    good, bad = describe(GOOD), {**describe(GOOD), "wall_deficit": 9.5}
    outcomes = {f"x{i}": ItemResult(bad if i < 3 else good) for i in range(30)}
    (row,) = judge_dimers(outcomes)
    assert (row.value, row.verdict) == (pytest.approx(10.0), Verdict.warned)
    assert row.note == "27 elements pass, 0 warn, 3 fail"


def test_reference_curves_are_read(tmp_path):
    held = {"PBE": {"O-O": {"distances": [3.0, 1.0], "energies": [-9.0, -10.5], "forces": []}}}
    with gzip.open(tmp_path / "diatomics-dft.json.gz", "wt") as handle:
        json.dump(held, handle)
    path = references.find(tmp_path, "dimers")
    curve = references.read_dimers(path)["O"]
    assert curve.distance.tolist() == [1.0, 3.0]
    assert curve.energy.tolist() == [-1.5, 0.0]
    assert references.find(tmp_path, "eos") is None
    with pytest.raises(DataError, match="no such folder"):
        references.find(tmp_path / "nowhere", "eos")


def test_a_damaged_reference_is_refused_before_curves_are_calculated(tmp_path):
    (tmp_path / "diatomics-dft.json").write_text('{"PBE": {"O-O": {"distances": [1.0]')
    with pytest.raises(DataError, match=r"diatomics-dft\.json: cannot be read as JSON"):
        Physics(("dimers",), ("O",), tmp_path).items()
