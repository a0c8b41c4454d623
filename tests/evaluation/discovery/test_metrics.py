import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from nequix.evaluation.discovery import metrics

NAN = np.nan


def test_a_hand_made_case_has_the_known_metrics():
    #                     TP    TP    FN   FP    TN   TN   missing and stable, missing and unstable
    reference = np.array([-0.1, 0.0, -0.2, 0.1, 0.3, 0.2, -0.3, 0.4])
    predicted = np.array([-0.2, 0.0, 0.1, -0.1, 0.1, 0.2, NAN, NAN])
    held = metrics.discovery_metrics(reference, predicted)
    assert [held[name] for name in ("TP", "FN", "FP", "TN")] == [2, 2, 1, 3]
    assert held["Precision"] == pytest.approx(2 / 3)
    assert held["Recall"] == held["TPR"] == 0.5
    assert held["F1"] == pytest.approx(4 / 7)
    assert held["DAF"] == pytest.approx((2 / 3) / (4 / 8))
    assert held["Accuracy"] == 5 / 8
    assert (held["FPR"], held["TNR"], held["FNR"]) == (0.25, 0.75, 0.5)
    assert held["MAE"] == pytest.approx((0.1 + 0.0 + 0.3 + 0.2 + 0.2 + 0.0) / 6)
    assert held["RMSE"] == pytest.approx(np.sqrt((0.01 + 0.09 + 0.04 + 0.04) / 6))
    assert (held["n"], held["missing_preds"]) == (8, 2)


def test_the_metrics_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    reference = rng.normal(0.05, 0.1, 500)
    predicted = reference + rng.normal(0.01, 0.05, 500)
    held = metrics.discovery_metrics(reference, predicted)
    stable, called = reference <= 0, predicted <= 0
    assert held["F1"] == pytest.approx(sklearn_metrics.f1_score(stable, called))
    assert held["Precision"] == pytest.approx(sklearn_metrics.precision_score(stable, called))
    assert held["Recall"] == pytest.approx(sklearn_metrics.recall_score(stable, called))
    assert held["Accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(stable, called))
    assert held["R2"] == pytest.approx(sklearn_metrics.r2_score(reference, predicted))
    assert held["MAE"] == pytest.approx(sklearn_metrics.mean_absolute_error(reference, predicted))
    assert held["RMSE"] == pytest.approx(sklearn_metrics.mean_squared_error(reference, predicted) ** 0.5)
    assert held["DAF"] == pytest.approx(held["Precision"] / stable.mean())


def test_a_material_without_reference_counts_nowhere():
    held = metrics.discovery_metrics(np.array([-0.1, NAN, 0.2]), np.array([-0.1, -0.3, 0.1]))
    assert [held[name] for name in ("TP", "FN", "FP", "TN", "n")] == [1, 0, 0, 1, 2]
    assert held["MAE"] == pytest.approx(0.05)


def test_what_does_not_exist_is_none():
    held = metrics.discovery_metrics(np.array([-0.1, 0.2]), np.array([NAN, NAN]))
    assert [held[name] for name in ("F1", "DAF", "Precision", "MAE", "RMSE", "R2")] == [None] * 6
    assert held["Recall"] == 0.0
    held = metrics.discovery_metrics(np.array([-0.1, 0.2]), np.array([0.3, -0.1]))
    assert (held["Precision"], held["Recall"], held["F1"]) == (0.0, 0.0, None)
    assert metrics.discovery_metrics(np.array([]), np.array([]))["Accuracy"] is None


def test_the_hull_is_the_reference():
    formation = np.array([-1.15, NAN, 3.1, 2.9])  # the third is off by more than 5 eV
    reference = np.array([-1.0, -2.0, -2.0, -2.0])
    predicted = metrics.above_hull(np.array([0.1, -0.2, 0.0, 0.0]), reference, formation)
    np.testing.assert_allclose(predicted, [-0.05, NAN, NAN, 4.9])


def test_subsets_are_of_unique_prototypes(monkeypatch):
    monkeypatch.setattr(metrics, "MOST_STABLE", 2)
    reference = np.array([-0.1, 0.1, -0.2, 0.3, -0.4])
    predicted = np.array([-0.3, -0.2, 0.1, NAN, -0.9])
    unique = np.array([True, True, True, True, False])
    held = metrics.subset_metrics(reference, predicted, unique)
    assert [held[name]["n"] for name in held] == [5, 4, 2]
    assert held["full_test_set"]["Precision"] == pytest.approx(2 / 3)
    assert held["unique_prototypes"]["missing_preds"] == 1
    assert held["most_stable_10k"]["Precision"] == 0.5
    assert held["unique_prototypes"]["DAF"] == pytest.approx(0.5 / 0.5)
    assert held["most_stable_10k"]["DAF"] == pytest.approx(0.5 / 0.5)  # not over 1/2 of its own two
    reference[1] = -0.1
    held = metrics.subset_metrics(reference, predicted, unique)
    assert held["most_stable_10k"]["DAF"] == pytest.approx(1.0 / 0.75)


def test_the_combined_score_weighs_its_parts():
    assert metrics.combined_score(1.0, 0.0, 0.0) == pytest.approx(1.0)
    assert metrics.combined_score(0.0, 0.15, 2.0) == 0.0
    assert metrics.combined_score(0.0, 0.9, 2.0) == 0.0
    assert metrics.combined_score(0.8, 0.075, 0.5) == pytest.approx(0.5 * 0.8 + 0.1 * 0.5 + 0.4 * 0.75)
