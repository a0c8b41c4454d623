import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics
from sklearn.linear_model import LinearRegression

from nequix.data.structure import Structure
from nequix.evaluation.errors.report import OFFSETS_RAISE, show_summary
from nequix.evaluation.report import Report
from nequix.metrics import errors as metrics
from nequix.metrics.predictions import Predictions


def structure(numbers, energy=0.0, forces=None, stress=None, name="x", weights=(1.0, 1.0, 1.0)):
    n = len(numbers)
    return Structure(
        np.array(numbers),
        np.zeros((n, 3)),
        np.eye(3),
        np.ones(3, bool),
        energy,
        forces,
        stress,
        name,
        weights,
    )


def predictions(*parts):
    return Predictions.join(parts)


def one(numbers, error=0.0, force_error=0.0, stress_error=0.0, name="x", label=1.0):
    n = len(numbers)
    forces, stress = np.full((n, 3), label), np.full((3, 3), label)
    labelled = structure(numbers, -3.0, forces, stress, name)
    return Predictions.of(labelled, -3.0 + error, forces + force_error, stress + stress_error)


def test_statistics_of_known_errors():
    held = metrics.statistics(np.array([[3.0, -1.0], [np.nan, 1.0]]))
    assert held == {"n": 3, "mae": 5 / 3, "median": 1.0, "rmse": np.sqrt(11 / 3), "mean": 1.0, "max_abs": 3.0}
    assert metrics.statistics(np.array([np.nan]))["mae"] is None


def test_the_summary_counts_each_quantity_in_its_unit():
    held = metrics.summarise(predictions(one([6, 6], 0.4, 0.3, -0.1), one([6], -0.1, 0.0, 0.3)))
    assert held["energy"]["mae"] == pytest.approx((0.2 + 0.1) / 2)
    assert held["energy"]["mean"] == pytest.approx((0.2 - 0.1) / 2)
    assert held["forces"]["n"] == 9
    assert held["forces"]["mae"] == pytest.approx(0.3 * 6 / 9)
    assert held["force_vectors"]["mae"] == pytest.approx(0.3 * np.sqrt(3) * 2 / 3)
    assert held["stress"]["mae"] == pytest.approx(0.2)
    assert held["stress"]["rmse"] == pytest.approx(np.sqrt((0.01 + 0.09) / 2))


def test_missing_labels_and_labels_of_no_weight_are_left_out():
    nothing = Predictions.of(structure([6], None), 5.0, np.ones((1, 3)), np.ones((3, 3)))
    weightless = structure([6], 1.0, np.zeros((1, 3)), np.zeros((3, 3)), weights=(1.0, 1.0, 0.0))
    held = metrics.summarise(
        predictions(nothing, Predictions.of(weightless, 1.5, np.ones((1, 3)), np.ones((3, 3))))
    )
    assert held["energy"] == {"n": 1, "mae": 0.5, "median": 0.5, "rmse": 0.5, "mean": 0.5, "max_abs": 0.5}
    assert (held["forces"]["n"], held["stress"]["n"]) == (3, 0)
    assert held["stress_slope"] is None


def test_offsets_explain_a_shift_of_elements():
    offsets = {1: 0.7, 8: -1.1}
    parts = [
        one(numbers, sum(offsets[z] for z in numbers) + noise)
        for numbers, noise in (([1, 1, 8], 0.0), ([1, 8], 0.0), ([8, 8], 0.0), ([1], 0.0))
    ]
    left, found = metrics.without_offsets(predictions(*parts))
    np.testing.assert_allclose(left, 0.0, atol=1e-13)
    assert found == pytest.approx(offsets)
    assert metrics.summarise(predictions(*parts))["energy"]["mae"] > 0.3


def test_offsets_that_cannot_be_distinguished_are_the_smallest():
    left, found = metrics.without_offsets(predictions(one([1, 8], 0.4), one([1, 8], 0.4)))
    np.testing.assert_allclose(left, 0.0, atol=1e-13)
    assert found == pytest.approx({1: 0.2, 8: 0.2})


def test_an_element_without_energies_has_no_offset():
    unlabelled = Predictions.of(structure([8], None), 5.0, np.zeros((1, 3)), np.zeros((3, 3)))
    left, found = metrics.without_offsets(predictions(one([1], 0.4), unlabelled))
    assert found == pytest.approx({1: 0.4})
    assert np.isnan(left[1])


def test_forces_at_half_their_size_have_half_the_slope():
    labels = np.random.default_rng(0).normal(size=(5, 3))
    assert metrics.slope(labels, labels / 2) == pytest.approx(0.5)
    labels[0] = np.nan
    assert metrics.slope(labels, np.nan_to_num(labels) / 2) == pytest.approx(0.5)


def test_the_statistics_are_those_of_scikit_learn():
    rng = np.random.default_rng(3)
    labels, numbers = rng.normal(size=(40, 5, 3)), rng.integers(1, 5, size=(40, 5))
    predicted = 0.9 * labels + rng.normal(0.02, 0.1, labels.shape)
    energies = rng.normal(size=(2, 40))
    parts = [
        Predictions.of(
            structure(numbers[i], energies[0, i], labels[i]), energies[1, i], predicted[i], np.zeros((3, 3))
        )
        for i in range(40)
    ]
    held = metrics.summarise(predictions(*parts))
    flat = labels.ravel(), predicted.ravel()
    assert held["forces"]["mae"] == pytest.approx(sklearn_metrics.mean_absolute_error(*flat))
    assert held["forces"]["rmse"] == pytest.approx(sklearn_metrics.root_mean_squared_error(*flat))
    assert held["forces"]["max_abs"] == pytest.approx(sklearn_metrics.max_error(*flat))
    through_origin = LinearRegression(fit_intercept=False).fit(flat[0][:, None], flat[1])
    assert metrics.slope(labels, predicted) == pytest.approx(through_origin.coef_[0])
    counts = np.stack([(numbers == z).sum(1) for z in range(1, 5)], 1) / 5
    errors = (energies[1] - energies[0]) / 5
    assert held["energy"]["mae"] == pytest.approx(np.abs(errors).mean())
    offsets = LinearRegression(fit_intercept=False).fit(counts, errors)
    left, found = metrics.without_offsets(predictions(*parts))
    np.testing.assert_allclose([found[z] for z in range(1, 5)], offsets.coef_, rtol=1e-9)
    np.testing.assert_allclose(left, errors - offsets.predict(counts), atol=1e-12)


def test_elements_are_distinguished():
    p = predictions(one([1, 8], 0.2), one([8, 8, 8], -0.6))
    p.predicted_forces[p.numbers == 8] += 0.5
    hydrogen, oxygen = metrics.by_element(p)
    assert (hydrogen["number"], hydrogen["n_structures"], hydrogen["n_atoms"]) == (1, 1, 1)
    assert (oxygen["number"], oxygen["n_structures"], oxygen["n_atoms"]) == (8, 2, 4)
    assert hydrogen["forces"]["mae"] == 0.0
    assert oxygen["forces"]["mae"] == pytest.approx(0.5)
    assert hydrogen["energy"]["mae"] == pytest.approx(0.1)
    assert oxygen["energy"]["mae"] == pytest.approx((0.1 + 0.2) / 2)


def test_compositions_are_reduced_formulas_the_worst_first():
    p = predictions(one([8, 1, 1], 0.3), one([1, 1, 1, 1, 8, 8], -0.6), one([8, 8], 1.0))
    rows = metrics.by_composition(p)
    assert [(row["formula"], row["n_structures"], row["n_atoms"]) for row in rows] == [
        ("O", 1, 2),
        ("H2O", 2, 9),
    ]
    assert rows[1]["energy"]["mae"] == pytest.approx(0.1)
    assert rows[1]["energy"]["mean"] == pytest.approx(0.0)


def test_the_worst_structures_are_named():
    parts = [one([6, 6], error, name=name) for name, error in (("a", 0.2), ("b", -0.8), ("c", 0.0))]
    p = predictions(*parts)
    p.predicted_forces[5] += (0.0, 3.0, 4.0)
    p.forces[0] = np.nan
    found = metrics.worst(p, 2)
    assert found["energy"] == [
        {"name": "b", "error": pytest.approx(0.4)},
        {"name": "a", "error": pytest.approx(0.1)},
    ]
    assert found["force"][0] == {"name": "c", "error": pytest.approx(5.0)}


def test_nothing_at_all_has_a_summary():
    held = metrics.summarise(Predictions.join([]))
    assert held["n_structures"] == 0
    assert held["energy"]["mae"] is None
    assert metrics.by_element(Predictions.join([])) == metrics.by_composition(Predictions.join([])) == []


def test_each_file_is_summarised_by_itself():
    held = metrics.by_file(
        predictions(one([6], 0.1), one([6], 50.0), one([6], 0.3), one([6], 0.2)), ["a", "b", "a", "a"]
    )
    assert [(row["file"], row["n_structures"]) for row in held] == [("a", 3), ("b", 1)]
    assert held[0]["energy"]["mae"] == pytest.approx(0.2)
    assert held[1]["energy"]["mae"] == pytest.approx(50.0)


def test_parts_of_predictions_keep_atoms_with_their_structures():
    together = predictions(one([6, 6], name="a"), one([8], 0.0, 0.4, name="b"), one([1, 8], name="c"))
    part = together.take(np.array([2, 1]))
    assert part.names == ("c", "b")
    assert part.numbers.tolist() == [1, 8, 8]
    assert (part.predicted_forces - part.forces)[:, 0].tolist() == pytest.approx([0, 0, 0.4])


def test_errors_are_distinguished_by_the_size_of_the_forces():
    quiet, moving = one([6] * 3, 0.0, 0.0005, label=0.0), one([6], 0.0, 0.14, label=0.8)
    rows = metrics.by_force_size(predictions(quiet, quiet, moving))
    assert [(row["from"], row["n_structures"]) for row in rows] == [(0.0, 2), (0.1, 1)]
    assert [row["forces"]["mae"] for row in rows] == pytest.approx([0.0005, 0.14])
    assert (
        metrics.by_force_size(predictions(Predictions.of(structure([6]), 1.0, np.ones((1, 3)), np.eye(3))))
        == []
    )


def test_offsets_that_raise_the_mean_error_are_explained(tmp_path):
    # Of one composition, least squares shifts the many exact energies away from zero for one large error.
    together = predictions(*[one([6], 0.0) for _ in range(9)], one([6], 10.0))
    summary = metrics.summarise(together)
    assert summary["energy_without_offsets"]["mae"] > summary["energy"]["mae"]
    page = Report(tmp_path, "x")
    show_summary(page, summary, 0)
    assert OFFSETS_RAISE in page.markdown()
    page = Report(tmp_path, "x")
    show_summary(page, metrics.summarise(predictions(one([6], 0.1), one([6], 0.3))), 0)
    assert OFFSETS_RAISE not in page.markdown()
