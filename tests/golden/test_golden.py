"""Files of every version open, older ones with the values that they meant; newer ones are rejected."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from nequix.assess import thresholds
from nequix.core import spec as core_spec
from nequix.core.errors import DataError, NequixError, SpecError, WeightsError
from nequix.core.migrations import Change, Format
from nequix.core.spec import ModelSpec
from nequix.coverage import sidecar
from nequix.data import convert
from nequix.evaluation import run_directory
from nequix.evaluation.run_directory import RunDirectory
from nequix.io import ensemble, weight_checks
from nequix.io.weights import read_weights, write_weights
from nequix.train import checkpoint, config
from nequix.train.opening import open_run
from tests.cli.conftest import run  # noqa: F401  the fixture that runs the command line
from tests.golden import make

ROOT = Path(__file__).parent


def versions(name):
    """List the folders of all versions in which a format's golden file stands."""
    return [pytest.param(path, id=path.name) for path in sorted(ROOT.glob("v*")) if (path / name).exists()]


def take(folder, tmp_path, monkeypatch):
    """Work in a copy, which may be written to."""
    shutil.copytree(folder, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")


@pytest.fixture
def first(tmp_path, monkeypatch):
    take(ROOT / "v1", tmp_path, monkeypatch)


@pytest.mark.parametrize("folder", versions("model.safetensors"))
def test_weights_open(folder):
    weights = read_weights(folder / "model.safetensors")
    assert weights.spec == make.SPEC
    assert weights.parameters["atom_energies"].tolist() == [-3.5, -2.5, -3.0]
    assert weights.provenance.extra == {"note": "kept"}


@pytest.mark.parametrize("folder", versions("model.coverage.safetensors"))
def test_coverage_references_open_and_belong_to_their_model(folder):
    weights = read_weights(folder / "model.safetensors")
    reference = sidecar.find_reference(folder / "model.safetensors", weights)
    assert (reference.n_structures, reference.elements, reference.cutoff) == (12, [29, 47, 79], 3.5)
    assert reference.features is not None
    assert reference.calibration.n_structures > 0
    assert 2.0 < reference.shortest[29, 29] < 3.5


@pytest.mark.parametrize("folder", versions("ensemble"))
def test_ensembles_open(folder):
    members, calibration = ensemble.read_ensemble(folder / "ensemble")
    assert len(members) == 2
    assert calibration == make.CALIBRATION


@pytest.mark.parametrize("folder", versions("run"))
def test_runs_resume_from_their_checkpoint(folder, tmp_path, monkeypatch):
    take(folder, tmp_path, monkeypatch)
    resumed = open_run(config.read_config("train.yml"), Path("run"))
    assert resumed.loader.position == make.STOP_AT
    assert 0 < resumed.best < 1e6
    assert not resumed.complete
    assert [row["step"] for row in resumed.history.rows()] == ["1", "2", "3", "3", "4"]
    assert config.same_run(Path("run/config.json").read_text(), resumed.config)


@pytest.mark.parametrize("folder", versions("evaluation"))
def test_evaluations_are_complete(folder, tmp_path, monkeypatch, run):  # noqa: F811
    take(folder, tmp_path, monkeypatch)
    monkeypatch.setattr("nequix.evaluation.item.evaluate_item", None)  # nothing is evaluated again
    code, out, _ = run("evaluate", "errors", "data.extxyz", "-o", "evaluation", *make.EVALUATION)
    assert code == 0
    assert "evaluation/report.md: 12 structures" in out


def edit(path, change):
    """Change a JSON file."""
    record = json.loads(Path(path).read_text())
    change(record)
    Path(path).write_text(json.dumps(record))


def add_version(monkeypatch, module, name, change):
    """Register a fake next version of a format."""
    now = getattr(module, name)
    monkeypatch.setattr(module, name, Format(now.name, (*now.changes, change)))


def test_a_specification_without_a_newer_field_has_that_fields_default(monkeypatch, tmp_path):
    known, path = read_weights(ROOT / "v1" / "model.safetensors"), tmp_path / "model.safetensors"
    with monkeypatch.context() as later:
        add_version(later, core_spec, "SPECIFICATION", Change({"layer_norm": True}))
        write_weights(path, known.spec, known.parameters, known.provenance)
        assert json.loads(known.spec.to_json())["version"] == 1
        assert "layer_norm" not in json.loads(known.spec.to_json())
        assert read_weights(path).spec == known.spec
        assert json.loads(replace(known.spec, layer_norm=False).to_json())["version"] == 2
        newer = replace(known.spec, layer_norm=False).to_json()
    with pytest.raises(SpecError, match="specification version 2 was written by a newer nequix"):
        ModelSpec.from_json(newer)


def test_weights_without_newer_metadata_have_its_default_and_newer_ones_are_rejected(monkeypatch, tmp_path):
    known, path = read_weights(ROOT / "v1" / "model.safetensors"), tmp_path / "model.safetensors"
    with monkeypatch.context() as later:
        add_version(later, weight_checks, "WEIGHT_FILE", Change({"doi": "unknown"}))
        assert read_weights(ROOT / "v1" / "model.safetensors").provenance.extra["doi"] == "unknown"
        write_weights(path, known.spec, known.parameters, known.provenance)
    with pytest.raises(WeightsError, match=r"weight file version 2 .* install a newer nequix"):
        read_weights(path)


def test_a_coverage_reference_without_a_newer_field_has_its_default(monkeypatch, tmp_path):
    path = tmp_path / "reference"
    raw = (ROOT / "v2" / "model.coverage.safetensors").read_bytes()
    known = sidecar.read_reference(ROOT / "v2" / "model.coverage.safetensors")
    with monkeypatch.context() as later:
        add_version(later, sidecar, "FORMAT", Change({"calibration.n_structures": 7}))
        field = f', \\"n_structures\\": {known.calibration.n_structures}'.encode()
        assert field in raw
        start = b'"__metadata__"'  # blanks before it keep the length of the header
        path.write_bytes(raw.replace(field, b"").replace(start, b" " * len(field) + start))
        assert sidecar.read_reference(path).calibration.n_structures == 7
        sidecar.write_reference(path, known)
    with pytest.raises(WeightsError, match=r"coverage reference version 3 .* install a newer nequix"):
        sidecar.read_reference(path)


def test_an_ensemble_without_a_newer_field_has_its_default(first, monkeypatch):
    with monkeypatch.context() as later:
        add_version(later, ensemble, "FORMAT", Change({"calibration.energy_limit": 0.5}))
        edit("ensemble/ensemble.json", lambda record: record["calibration"].pop("energy_limit"))
        assert ensemble.read_ensemble("ensemble")[1].energy_limit == 0.5
        edit("ensemble/ensemble.json", lambda record: record.update(version=2))
    with pytest.raises(WeightsError, match=r"ensemble version 2 .* install a newer nequix"):
        ensemble.read_ensemble("ensemble")


def test_a_checkpoint_without_a_newer_value_has_its_default(first, monkeypatch):
    path, state = Path("step-000000001.safetensors"), {"a": np.ones(2)}
    with monkeypatch.context() as later:
        checkpoint.save_checkpoint(path, state, {"best": 1.0})
        add_version(later, checkpoint, "FORMAT", Change({"rest.waited": 3}))
        assert checkpoint.load_checkpoint(path, state)[1] == {"best": 1.0, "waited": 3}
        checkpoint.save_checkpoint(path, state, {"best": 1.0})
    # Not taken for damage: an older checkpoint must not replace a newer one.
    with pytest.raises(DataError, match=r"checkpoint version 3 .* install a newer nequix") as caught:
        checkpoint.load_newest([path], state)
    assert not isinstance(caught.value, checkpoint.DamagedCheckpoint)


def test_a_checkpoint_with_an_array_that_moved_opens(first, monkeypatch):
    path = Path("step-000000001.safetensors")
    checkpoint.save_checkpoint(path, {"old": np.ones(2)}, {})

    def rename(record):
        return {**record, "arrays": {"['new']": record["arrays"]["['old']"]}}

    add_version(monkeypatch, checkpoint, "FORMAT", Change(rewrite=rename))
    assert checkpoint.load_checkpoint(path, {"new": np.zeros(2)})[0]["new"].tolist() == [1, 1]


def test_an_evaluation_without_a_newer_setting_has_its_default(first, monkeypatch, run):  # noqa: F811
    command = ("evaluate", "errors", "data.extxyz", "-o", "evaluation", *make.EVALUATION)
    monkeypatch.setattr("nequix.evaluation.item.evaluate_item", None)
    with monkeypatch.context() as later:
        add_version(later, run_directory, "RUN_FORMAT", Change({"settings.block": 64}))
        edit("evaluation/run.json", lambda record: record["settings"].pop("block"))
        assert run(*command)[0] == 0
        edit("evaluation/run.json", lambda record: record.update(version=2))
    code, _, err = run(*command)
    assert code == 1
    assert "evaluation run version 2" in err
    assert "install a newer nequix" in err


def test_an_item_without_a_newer_field_has_its_default(first, monkeypatch):
    store, item = RunDirectory(Path("evaluation")), "structures-00000000"
    path = store.path(item)
    with monkeypatch.context() as later:
        add_version(later, run_directory, "ITEM_FORMAT", Change({"error": None}))
        edit(path, lambda record: record.pop("error"))
        assert store.read(item).error is None
        edit(path, lambda record: record.update(version=2))
    with pytest.raises(DataError, match=r"evaluated item version 2 .* install a newer nequix"):
        store.read(item)


def test_a_configuration_without_a_newer_key_has_its_default(first, monkeypatch):
    text = Path("train.yml").read_text()
    known = config.read_config("train.yml")
    older = text.replace("  validate_every: 1\n", "").replace("  seed: 0\n", "  sed: 0\n")

    def rename(record):
        course = record["run"]
        return {**record, "run": {**{k: v for k, v in course.items() if k != "sed"}, "seed": course["sed"]}}

    with monkeypatch.context() as later:
        add_version(later, config, "FORMAT", Change({"run.validate_every": 1}, rename))
        Path("train.yml").write_text(older)
        assert config.read_config("train.yml") == known
        recorded = json.loads(config.to_json(known))
        recorded["run"]["sed"] = recorded["run"].pop("seed")
        del recorded["run"]["validate_every"]
        assert config.same_run(json.dumps({**recorded, "version": 1}), known)
        newer = config.to_json(known)
        Path("train.yml").write_text(older.replace("n_layers: 1", "n_layers: many"))
        with pytest.raises(DataError, match=r"train.yml, line 6: n_layers"):  # lines stay what they are
            config.read_config("train.yml")
    Path("train.yml").write_text(text.replace("version: 1", "version: 2"))
    with pytest.raises(DataError, match=r"line 1: training configuration version 2 .* newer nequix"):
        config.read_config("train.yml")
    assert "install a newer nequix" in config.changes(newer, known)[0]


def test_protocols_and_conversions_of_newer_versions_are_rejected(first, run):  # noqa: F811
    thresholds.Thresholds().record(Path("page"))
    thresholds.Thresholds().record(Path("page"))
    edit("page/protocol.json", lambda record: record.update(version=9))
    with pytest.raises(DataError, match=r"protocol version 9 .* install a newer nequix"):
        thresholds.Thresholds().record(Path("page"))
    convert.convert(["data.extxyz"], "shards")
    edit(Path("shards") / convert.MANIFEST, lambda record: record.update(version=9))
    with pytest.raises(NequixError, match=r"conversion version 9 .* install a newer nequix"):
        convert.convert(["data.extxyz"], "shards")


def test_the_header_of_a_weight_file_is_as_documented():
    with safetensors.safe_open(ROOT / "v1" / "model.safetensors", "numpy") as handle:
        metadata = handle.metadata()
    assert metadata["format"] == "nequix"
    assert metadata["format_version"] == "1"
