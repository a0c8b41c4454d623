from pathlib import Path

import pytest

import nequix
from nequix import DataError
from nequix.workflows import fine_tuning
from tests.train.emt import write_data
from tests.train.test_finetune import CONFIG, write_parent

pytest.importorskip("optax", reason="fine-tuning needs the extra train")


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_data(Path("data.extxyz"))
    Path("config.yml").write_text(CONFIG)
    write_parent("float32")


def test_a_fine_tuned_model_is_returned_and_a_second_call_finds_it_complete():
    steps = []
    options = {"mode": "head", "config": "config.yml", "epochs": 1}
    tuned = nequix.fine_tune(
        "data.extxyz", "run", "parent.safetensors", on_step=lambda *step: steps.append(step[:2]), **options
    )
    assert tuned.complete
    assert tuned.path == Path("run/model.safetensors")
    assert steps[-1][0] == steps[-1][1] == len(steps)
    before, after = nequix.read_weights("parent.safetensors"), nequix.read_weights(tuned.path)
    assert after.provenance.extra["parent"] == before.provenance.name
    again = nequix.fine_tune(["data.extxyz"], Path("run"), "parent.safetensors", **options)
    assert again == tuned
    assert nequix.read_weights(again.path).digest == after.digest


def test_an_ensemble_stops_at_the_first_member_that_is_not_complete():
    setup, opened = fine_tuning.prepare("data.extxyz", "run", "parent.safetensors", mode="head"), []
    tuned = fine_tuning.train_ensemble(setup, 3, lambda open_run: opened.append(open_run) or False)
    assert (len(opened), tuned) == (1, fine_tuning.FineTuned(Path("run"), complete=False))
    assert not Path("run/ensemble.json").exists()


def test_data_are_asked_for():
    with pytest.raises(DataError, match="no data: name labelled structures"):
        nequix.fine_tune([], "run", "parent.safetensors")
