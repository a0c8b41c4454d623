"""Verdicts by planted errors, and what degenerate labels still allow to conclude."""

from dataclasses import replace

import numpy as np
import pytest

from nequix.assess.decide import decide
from nequix.assess.measure import measure
from nequix.assess.thresholds import Thresholds
from nequix.coverage.assess_coverage import assess_coverage
from nequix.data.structure import Structure
from nequix.graphs.results import Results
from nequix.metrics.predictions import Predictions
from tests.calculator.small import SPEC
from tests.coverage import sets

PROTOCOL = Thresholds(samples=200)


class Planted:
    """A potential whose answers are labels with errors of a known size."""

    spec = SPEC

    def __init__(self, structures, force=0.0, energy=0.0, offset=0.0, seed=0):
        rng = np.random.default_rng(seed)
        self.answers = []
        for s in structures:
            n = len(s.numbers)
            error = energy * rng.choice([-1, 1]) + offset
            forces = s.true + force * rng.choice([-1, 1], (n, 3)) * rng.uniform(0.8, 1.2)
            self.answers.append((n * error, forces))

    def evaluate(self, graph):
        some = [self.answers.pop(0) for _ in graph.n_node]
        forces = np.concatenate([forces for _, forces in some])
        energy = np.array([energy for energy, _ in some])
        return Results(energy, np.zeros(len(forces)), forces, np.zeros((len(some), 3, 3)))


class Labelled(Structure):
    """A structure that remembers its forces even if they are not labels."""

    @property
    def true(self):
        return np.sin(self.positions)


def snapshots(n=20, **without):
    structures = []
    for seed, plain in enumerate(sets.structures([sets.crystal("NaCl", 700 + i) for i in range(n)])):
        labels = {"energy": 0.0, "forces": np.sin(plain.positions), "stress": np.zeros((3, 3)), **without}
        structures.append(Labelled(**{**vars(plain), **labels, "name": f"snapshot {seed}"}))
    return structures


def decided(structures, coverage=True, **options):
    errors = {name: options.pop(name) for name in ("force", "energy", "offset") if name in options}
    measured = measure(structures, Planted(structures, **errors), PROTOCOL)
    found = assess_coverage(structures, sets.reference()) if coverage else None
    return decide(measured, PROTOCOL, coverage=found, labelled_coverage=found, **options), measured


def test_small_errors_inside_the_distribution_are_trusted():
    verdict, measured = decided(snapshots(), force=0.03, energy=0.005)
    assert verdict.action == "zero-shot"
    assert measured.forces.value == pytest.approx(30, rel=0.1)
    assert measured.forces.low < measured.forces.value < measured.forces.high
    assert measured.energy_without_offsets.value == pytest.approx(5, rel=0.3)
    assert verdict.doubts == []
    assert verdict.next == []


@pytest.mark.parametrize(("force", "n"), [(0.11, 120), (0.2, 200), (0.3, 200)])
def test_larger_errors_ask_for_a_fine_tuning(force, n):
    verdict, _ = decided(snapshots(), force=force)
    assert (verdict.action, verdict.mode) == ("few-shot", "last-layer")
    assert verdict.n_structures <= n
    assert any("--mode last-layer to-label.extxyz" in command for command in verdict.next)


def test_the_larger_the_error_the_more_structures():
    numbers = [decided(snapshots(), force=force)[0].n_structures for force in (0.105, 0.12, 0.14)]
    assert numbers == sorted(numbers)
    assert numbers[0] < numbers[-1]


def test_hopeless_errors_ask_for_training():
    assert decided(snapshots(), force=0.8)[0].action == "train"


def test_an_interval_across_the_threshold_is_undecided():
    structures = snapshots(8)
    verdict, measured = decided(structures, force=0.1)
    assert measured.forces.low < 100 < measured.forces.high
    assert verdict.action == "undecided"
    assert any("would decide" in reason or "too close" in reason for reason in verdict.reasons)


def test_offsets_are_not_errors_but_another_scale_is_reported():
    verdict, measured = decided(snapshots(), force=0.03, energy=0.005, offset=3.0)
    assert verdict.action == "zero-shot"
    assert measured.energy.value > 2900
    assert measured.energy_without_offsets.value < 10
    assert any("another functional" in doubt for doubt in verdict.doubts)


def test_energy_errors_warn_of_a_model_as_it_is_and_decide_of_a_tuned_one():
    verdict, _ = decided(snapshots(), force=0.03, energy=0.08)
    assert verdict.action == "zero-shot"
    assert any("not for differences of energies" in doubt for doubt in verdict.doubts)
    assert decided(snapshots(), force=0.03, energy=0.08, tuned=True)[0].action == "few-shot"
    assert decided(snapshots(), force=0.03, energy=0.005, tuned=True)[0].action == "tuned"
    assert decided(snapshots(), force=0.07, energy=0.005, tuned=True)[0].action == "few-shot"


def test_errors_as_large_as_the_forces_are_reported():
    structures = snapshots()
    still = [replace_forces(s, 1e-3 * s.true) for s in structures]
    measured = measure(still, Planted(structures, force=0.05), PROTOCOL)
    verdict = decide(measured, PROTOCOL, coverage=None)
    assert any("labelled forces are only" in doubt for doubt in verdict.doubts)


@pytest.mark.parametrize("size", [0.0, 1e-9])
@pytest.mark.parametrize("tuned", [False, True])
def test_labelled_forces_that_are_all_zero_do_not_decide_that_forces_are_good(tuned, size):
    structures = snapshots()
    still = [replace_forces(s, size * s.true) for s in structures]
    for error, action in ((0.0, "undecided"), (0.3, "few-shot")):
        planted = Planted(structures)
        planted.answers = [(energy, np.full_like(forces, error)) for energy, forces in planted.answers]
        measured = measure(still, planted, PROTOCOL)
        verdict = decide(measured, PROTOCOL, coverage=None, tuned=tuned)
        assert verdict.action == action
        assert any("labelled forces are all zero" in doubt for doubt in verdict.doubts)


def replace_forces(structure, forces):
    return Labelled(**{**vars(structure), "forces": forces})


def test_without_forces_nothing_is_decided_but_energies_are_reported():
    verdict, measured = decided(snapshots(forces=None), energy=0.005)
    assert verdict.action == "undecided"
    assert measured.energy_without_offsets.value < 10
    assert any("no snapshot has labelled forces" in doubt for doubt in verdict.doubts)


def test_without_any_label_coverage_is_reported():
    verdict, measured = decided(snapshots(energy=None, forces=None, stress=None))
    assert verdict.action == "undecided"
    assert measured.energy.value is None
    assert any("training distribution" in reason for reason in verdict.reasons)
    assert len(measured.notes) == 3


def test_one_snapshot_has_no_interval_and_no_energy_error():
    verdict, measured = decided(snapshots(1), force=0.03, offset=5.0)
    assert measured.forces.low is None
    assert measured.energy_without_offsets.value is None
    assert verdict.action == "zero-shot"
    assert any("a single snapshot" in doubt for doubt in verdict.doubts)
    assert any("do not tell errors from offsets" in doubt for doubt in verdict.doubts)


def test_too_few_energies_do_not_decide_of_a_tuned_model():
    verdict, measured = decided(snapshots(2), force=0.03, energy=0.08, tuned=True)
    assert (measured.energy_without_offsets.value, verdict.action) == (None, "undecided")
    assert any("too few to tell errors from offsets" in reason for reason in verdict.reasons)
    assert decided(snapshots(2), force=0.03, energy=0.08)[0].action == "zero-shot"


def test_an_element_that_the_model_lacks_ends_it():
    verdict, _ = decided(snapshots(), force=0.03, lacking={"Ti": 3})
    assert verdict.action == "train"
    assert "Ti (3 structures)" in verdict.reasons[0]
    assert any("considering only the structures without them" in doubt for doubt in verdict.doubts)


def test_small_errors_say_nothing_of_a_target_that_is_elsewhere():
    labelled = snapshots()
    measured = measure(labelled, Planted(labelled, force=0.03), PROTOCOL)
    own = assess_coverage(labelled, sets.reference())
    far = assess_coverage(sets.structures([sets.unseen_pair()] * 3), sets.reference())
    verdict = decide(measured, PROTOCOL, coverage=far, labelled_coverage=own)
    assert verdict.action == "undecided"
    assert any("Au" in doubt and "say nothing of it" in doubt for doubt in verdict.doubts)
    same = decide(measured, PROTOCOL, coverage=far, labelled_coverage=far)
    assert same.action == "zero-shot"
    assert any("their errors count" in doubt for doubt in same.doubts)


def test_labelled_snapshots_that_are_strange_otherwise_do_not_count():
    labelled = snapshots()
    measured = measure(labelled, Planted(labelled, force=0.03), PROTOCOL)
    far = assess_coverage(sets.structures([sets.unseen_pair()] * 3), sets.reference())
    usual = [sets.crystal("NaCl", 1)] * 2
    for own, action in (
        ([*usual, sets.compressed(), sets.short_contact()], "undecided"),
        ([*usual, sets.compressed(), sets.unseen_pair()], "undecided"),  # one in four, but all of the target
        ([*usual, sets.unseen_pair(), sets.unseen_pair()], "zero-shot"),
    ):
        found = assess_coverage(sets.structures(own), sets.reference())
        verdict = decide(measured, PROTOCOL, coverage=far, labelled_coverage=found)
        assert verdict.action == action
    assert any("2 of 4 labelled snapshots have such gaps, too" in doubt for doubt in verdict.doubts)


@pytest.mark.parametrize("n", [40, 120])
def test_a_frame_outside_is_a_doubt_that_names_it(n):
    labelled = snapshots()
    measured = measure(labelled, Planted(labelled, force=0.03), PROTOCOL)
    frames = [*(sets.crystal("Na", seed) for seed in range(n)), sets.short_contact()]
    target = assess_coverage(sets.structures(frames), sets.reference())
    for verdict in ("inside", "edge"):
        outcome = decide(measured, PROTOCOL, coverage=replace(target, verdict=verdict))
        assert any(f"1 of {n + 1} structures are outside, the first is t {n}" in d for d in outcome.doubts)


@pytest.mark.parametrize("tuned", [False, True])
def test_small_errors_of_one_material_do_not_decide_about_another(tuned):
    verdict, _ = decided(snapshots(), force=0.03, energy=0.005, unlike=["Si", "Na-Si"], tuned=tuned)
    assert verdict.action == "undecided"
    assert any("no labelled snapshot has what the target has: Si, Na-Si" in d for d in verdict.doubts)
    assert any("nequix select" in command for command in verdict.next)
    assert decided(snapshots(), force=0.8, unlike=["Si"], tuned=tuned)[0].action != "undecided"


def test_of_a_tuned_model_it_is_reported_that_features_are_left_out():
    verdict, _ = decided(snapshots(), force=0.03, energy=0.005, tuned=True)
    assert verdict.action == "tuned"
    assert any("not the model's features" in doubt for doubt in verdict.doubts)


def test_without_a_reference_coverage_is_a_doubt():
    verdict, _ = decided(snapshots(), coverage=False, force=0.03)
    assert any("no reference" in doubt for doubt in verdict.doubts)


@pytest.mark.parametrize(("spread", "place"), [(20.0, "reasons"), (200.0, "doubts")])
def test_the_spread_of_an_ensemble_is_weighed(spread, place):
    verdict, _ = decided(snapshots(), force=0.03, spread=spread)
    assert any("spread of the ensemble" in line for line in getattr(verdict, place))


def test_structures_that_cannot_be_evaluated_are_listed():
    structures = snapshots(4)
    structures[1] = Labelled(**{**vars(structures[1]), "numbers": np.full(8, 22)})
    measured = measure(structures, Planted([structures[0], *structures[2:]], force=0.03), PROTOCOL)
    assert [name for name, _ in measured.failures] == ["snapshot 1"]
    assert measured.forces.n == 3
    assert measured.with_forces == (0, 2, 3)
    assert replace(measured, failures=[]).to_dict()["n_structures"] == 3


def test_of_labels_that_cannot_be_evaluated_nothing_is_measured():
    structures = [replace_numbers(s, np.full(8, 22)) for s in snapshots(3)]
    verdict, measured = decided(structures, coverage=False)
    assert (measured.forces.value, measured.stress.value, len(measured.failures)) == (None, None, 3)
    assert verdict.action == "undecided"
    assert measured.notes == ["no labelled snapshot could be evaluated: nothing is measured"]


def replace_numbers(structure, numbers):
    return Labelled(**{**vars(structure), "numbers": numbers})


def only_energies(n, elements, size, seed):
    """Snapshots with energy errors of a normal distribution, in eV/atom, and mixed compositions."""
    rng = np.random.default_rng(seed)
    numbers = rng.choice(elements, (n, 32))
    nothing, errors = np.zeros((n * 32, 3)), 32 * rng.normal(0, size, n)
    stress, names = np.full((n, 3, 3), np.nan), tuple(map(str, range(n)))
    labels = (np.zeros(n), nothing, stress)
    return Predictions(
        names, np.full(n, 32), numbers.ravel(), labels[0], *labels[1:], errors, nothing, np.zeros((n, 3, 3))
    )


@pytest.mark.parametrize(("n_elements", "n"), [(1, 5), (3, 9), (5, 15), (5, 20)])
def test_energy_errors_and_their_intervals_are_right_on_average(monkeypatch, n_elements, n):
    found = []
    for seed in range(60):
        predictions = only_energies(n, SPEC.atomic_numbers[:n_elements], 0.04, seed)
        monkeypatch.setattr(
            "nequix.assess.measure._predict", lambda *_, p=predictions: (p, [], list(range(len(p.names))))
        )
        found.append(measure([], Planted([]), PROTOCOL).energy_without_offsets)
    true = 40 * np.sqrt(2 / np.pi)
    assert np.mean([e.value for e in found]) == pytest.approx(true, rel=0.08)
    assert all(e.low <= e.value <= e.high for e in found)
    assert np.mean([e.low for e in found]) < true < np.mean([e.high for e in found])
    assert np.mean([e.low <= true <= e.high for e in found]) > 0.6  # of 60; 0.8 of 1,000


@pytest.mark.parametrize(("n_elements", "n"), [(1, 2), (3, 8), (5, 14)])
def test_too_few_energies_for_the_offsets_are_not_known(monkeypatch, n_elements, n):
    predictions = only_energies(n, SPEC.atomic_numbers[:n_elements], 0.04, 0)
    monkeypatch.setattr("nequix.assess.measure._predict", lambda *_: (predictions, [], list(range(n))))
    measured = measure([], Planted([]), PROTOCOL)
    assert measured.energy_without_offsets.value is None
    assert f"{n_elements} fitted, which takes {3 * n_elements}" in measured.notes[0]


def test_the_only_snapshot_with_an_element_says_nothing_of_energies(monkeypatch):
    predictions = only_energies(n := 20, SPEC.atomic_numbers[:1], 0.04, 0)
    predictions.numbers[:32:2] = SPEC.atomic_numbers[1]
    monkeypatch.setattr("nequix.assess.measure._predict", lambda *_: (predictions, [], list(range(n))))
    assert measure([], Planted([]), PROTOCOL).energy_without_offsets.n == 19


def test_the_interval_covers_the_true_error_about_as_often_as_it_says():
    hits = 0
    rng = np.random.default_rng(3)
    for trial in range(40):
        structures = snapshots(16)
        potential = Planted(structures, force=0.0)
        sizes = rng.exponential(0.06, len(structures))
        potential.answers = [
            (energy, forces + size * rng.choice([-1, 1], forces.shape))
            for (energy, forces), size in zip(potential.answers, sizes, strict=True)
        ]
        found = measure(structures, potential, Thresholds(samples=200, seed=trial)).forces
        hits += found.low <= 60 <= found.high
    assert 31 <= hits <= 40  # of 40: 95 % less what a bootstrap of 16 values misses
