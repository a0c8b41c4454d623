"""Figures have their units, numbers and legends."""

import numpy as np

from nequix.data.structure import Structure
from nequix.metrics.errors import by_element
from nequix.metrics.figures import element_bars, parity
from nequix.metrics.predictions import Predictions
from nequix.train.figures import learning_curves, running_median


def history(n=200):
    rng = np.random.default_rng(0)
    rows = []
    for step in range(1, n + 1):
        row = {
            "step": str(step),
            "loss": str(rng.lognormal()),
            "energy": "0.02",
            "forces": "0.1",
            "stress": "0",
        }
        row |= {f"valid_{name}": "0.2" if step % 50 == 0 else "" for name in ("loss", "energy", "forces")}
        rows.append(row | {"valid_stress": ""})
    return rows


def test_learning_curves_are_smoothed_and_labelled():
    loss, energy, forces, stress = learning_curves(history()).axes
    labels = [text.get_text() for text in loss.get_legend().get_texts()]
    assert labels == ["training, median of 5", "validation"]
    raw, smooth, _ = (np.asarray(line.get_ydata()) for line in loss.lines)
    assert np.log(smooth).std() < 0.7 * np.log(raw).std()
    assert energy.get_ylabel() == "energy MAE (meV/atom)"
    assert "meV/A" in forces.get_ylabel()
    assert not stress.lines
    assert stress.texts[0].get_text() == "no labels"


def test_a_running_median_leaves_out_single_jumps():
    assert running_median(np.array([1.0, 1.0, 9.0, 1.0, 1.0]), 3).tolist() == [1.0] * 5
    assert running_median(np.array([1.0, 2.0]), 1).tolist() == [1.0, 2.0]


def test_parity_plots_have_errors_units_and_densities():
    structure = Structure(
        np.array([14, 8]), np.zeros((2, 3)), np.eye(3), np.ones(3, bool), -4.0, np.ones((2, 3)), None, "x"
    )
    predictions = Predictions.join([Predictions.of(structure, -3.9, np.full((2, 3), 0.9), np.eye(3))])
    figure = parity(predictions)
    energy, forces, stress = figure.axes[:3]
    assert energy.texts[0].get_text() == "MAE 50 meV/atom\nn = 1"
    assert forces.texts[0].get_text() == "MAE 100 meV/A\nn = 6"
    assert forces.get_xlabel() == "labelled force component (eV/A)"
    assert stress.texts[0].get_text() == "no labels"
    assert [axis.get_ylabel() for axis in figure.axes[3:]] == ["points in a hexagon"] * 2
    upper, lower = element_bars(by_element(predictions)).axes
    assert (upper.get_ylabel(), lower.get_xlabel()) == ("MAE, energy (meV/atom)", "element")
