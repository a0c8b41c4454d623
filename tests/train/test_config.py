"""Configurations: the shipped ones are read, and a mistake is named with its line."""

from pathlib import Path

import pytest

from nequix.core.errors import DataError
from nequix.core.parameters import count
from nequix.train.config import read_config

CONFIGS = Path(__file__).parents[2] / "configs"
OF_TRAINING = sorted(path for path in CONFIGS.glob("*.yml") if path.stem != "finetune")


@pytest.mark.parametrize("path", OF_TRAINING, ids=lambda path: path.stem)
def test_shipped_configurations_are_read(path):
    assert read_config(path).run.epochs > 0


def test_the_paper_s_configuration_has_the_published_size():
    numbers = (*range(1, 84), *range(89, 95))
    assert count(read_config(CONFIGS / "nequix-mp-1.yml").model.spec(numbers, 57.4, 0.8, 0.2)) == 707_569


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  cutoff: 5.0", "  cutof: 5.0", r"line 4: unknown key 'cutof'; did you mean 'cutoff'"),
        ("  cutoff: 5.0", "  cutoff: five", r"line 4: cutoff = 'five', expected float"),
        ("  epochs: 50", "  epochs: 5.5", r"epochs = 5.5, expected int"),
        ("  epochs: 50\n", "", r"the keys \['epochs'\] are missing"),
        ("  epochs: 50", "  epochs: 50\n  epochs: 60", "the key 'epochs' stands twice"),
        (
            "  name: muon",
            "  name: adam",
            r"line \d+: name = 'adam', expected one of muon, adamw; did you mean 'adamw'",
        ),
        ("  dtype: float32", "  dtype: float23", r"dtype = 'float23', .*; did you mean 'float32'"),
        ("  epochs: 50", "  epochs: 0", r"epochs = 0, expected int from 1 on"),
        ("  learning_rate: 0.01", "  learning_rate: .nan", r"learning_rate = nan, expected float above 0"),
        (
            "  valid_fraction: 0.1",
            "  valid_fraction: 1",
            r"valid_fraction = 1, expected float from 0 on and below 1",
        ),
        ("model:", "model: 3\nmodle:", "expected keys and values|unknown key"),
        ("model:", "model: [", "cannot be read as YAML"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path, old, new, message):
    text = (CONFIGS / "quickstart.yml").read_text()
    assert old in text
    path = tmp_path / "wrong.yml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        read_config(path)
