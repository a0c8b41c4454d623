"""Labels under other keys are read; data without those that the loss weighs are refused before any step."""

import csv
import dataclasses

import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from nequix.cli.train import describe_errors
from nequix.core.errors import DataError
from nequix.core.parameters import initialise
from nequix.core.spec import ModelSpec
from nequix.data.opening import open_source
from nequix.data.sources import FEW, Subset, split
from nequix.data.stats import compute
from nequix.finetune.config import FinetuneConfig, ReplayConfig, configure
from nequix.finetune.opening import open_fine_tuning
from nequix.io.weights import Provenance, read_weights, write_weights
from nequix.train.config import TrainConfig, read_config
from nequix.train.opening import open_run
from nequix.train.streams import has_forces, open_sources
from tests.train.emt import write_config, write_data

SPEC = ModelSpec(
    atomic_numbers=(29, 47, 79), avg_n_neighbors=12.0, scale=0.5, shift=0.1, cutoff=4.0,
    hidden_irreps="2x0e", lmax=0, n_layers=1, radial_basis_size=2, radial_mlp_size=2, radial_mlp_layers=1,
)  # fmt: skip
FULL = {"energy": 20, "forces": 20, "stress": 5}
OTHERS = {"energy": "my_energy", "forces": "my_forces", "stress": "my_stress"}


def relabel(path, keep=(), rename=()):
    """Keep only some kinds of labels, and put others under keys that are not usual."""
    frames = ase.io.read(path, ":")
    for atoms in frames:
        results = atoms.calc.results
        for label in set(rename) & set(results):
            (atoms.arrays if label == "forces" else atoms.info)[OTHERS[label]] = np.array(results[label])
        atoms.calc = SinglePointCalculator(atoms, **{k: results[k] for k in keep if k in results})
    ase.io.write(path, frames)


def settings(loss, keys):
    """Write the part of a configuration that these tests are about."""
    named = "".join(f", {label}_key: {key}" for label, key in keys.items())
    weights = ", ".join(f"{label}: {weight}" for label, weight in loss.items())
    return f"data: {{batch_size: 8, valid_fraction: 0.2, workers: 0{named}}}\nloss: {{{weights}}}\n"


@pytest.fixture(params=["train", "finetune"])
def begin(request, tmp_path, monkeypatch):
    """Begin a run, or a fine-tuning."""
    monkeypatch.chdir(tmp_path)
    path = write_config(tmp_path, 24)
    energies = {29: 0.0, 47: 0.0, 79: 0.0}
    write_weights("parent", SPEC, initialise(SPEC, 0, energies), Provenance("little", "none"))

    def train(loss=FULL, **keys):
        named = "".join(f"  {label}_key: {key}\n" for label, key in keys.items())
        text = path.read_text().replace("  valid_fraction", f"{named}  valid_fraction", 1)
        weights = ", ".join(f"{label}: {weight}" for label, weight in loss.items())
        path.write_text(text.replace("energy: 20, forces: 20, stress: 5", weights))
        return open_run(read_config(path), tmp_path / "run")

    def finetune(loss=FULL, replay=None, **keys):
        (tmp_path / "own.yml").write_text(settings(loss, keys) + "refit_atom_energies: false\n")
        parent = read_weights("parent")
        config = configure(parent, "parent", "head", ["data.extxyz"], path="own.yml", replay=replay)
        return open_fine_tuning(config, parent, tmp_path / "run")

    return train if request.param == "train" else finetune


def test_labels_under_named_keys_are_read(begin):
    relabel("data.extxyz", rename=OTHERS)
    run = begin(**OTHERS)
    found = run.statistics.labels
    assert found["forces"] == run.statistics.n_structures
    assert 0 < found["energy"] < found["forces"]
    assert 0 < found["stress"] < found["forces"]
    assert f"{found['energy']} with an energy, {found['forces']} with forces" in run.describe()
    assert run.valid is not None
    assert run.valid.source[0].forces is not None


def test_keys_are_those_of_validation_data_too(tmp_path):
    path = write_config(tmp_path, 4)
    write_data(tmp_path / "valid.extxyz", 4)
    for name in ("data.extxyz", "valid.extxyz"):
        relabel(tmp_path / name, rename=OTHERS)
    keys = f"  valid: [{tmp_path / 'valid.extxyz'}]\n  energy_key: my_energy\n"
    path.write_text(path.read_text().replace("  valid_fraction", f"{keys}  valid_fraction"))
    sources = open_sources(read_config(path))
    assert [source[0].energy is None for source in sources if source is not None] == [False, False]


@pytest.mark.parametrize("label", ["energy", "forces"])
def test_a_weighed_kind_of_label_that_is_nowhere_is_an_error(begin, tmp_path, label):
    relabel("data.extxyz", keep=[other for other in FULL if other != label], rename=[label])
    message = (
        rf"none of 19 structures for training has {label}; data\.extxyz:\d has my_{label} beside .*"
        rf"\(data\.{label}_key\), or give the term no weight \(loss\.{label}: 0\)"
    )
    with pytest.raises(DataError, match=message):
        begin()
    assert not (tmp_path / "run").exists()  # though the data were measured before


def test_a_folder_that_was_there_before_is_kept_by_a_refusal(begin, tmp_path):
    (tmp_path / "run").mkdir()
    relabel("data.extxyz", rename=OTHERS)
    with pytest.raises(DataError):
        begin()
    assert (tmp_path / "run").is_dir()


def test_data_without_any_label_are_an_error(begin):
    relabel("data.extxyz", rename=OTHERS)
    with pytest.raises(
        DataError, match=r"energy or forces or stress; .* has my_energy, my_forces, my_stress"
    ):
        begin()


@pytest.mark.parametrize("label", ["energy", "forces"])
def test_one_kind_of_label_is_enough_if_the_others_have_no_weight(begin, label):
    relabel("data.extxyz", keep=[label])
    run = begin({**FULL, **dict.fromkeys({"energy", "forces"} - {label}, 0)})
    assert "0 with a stress" in run.describe()
    assert run.spec.scale > 0


def test_a_named_key_of_the_stress_must_occur(begin):
    with pytest.raises(DataError, match=r"for training has stress; .*data\.stress_key"):
        begin(stress="my_stress")


def test_validation_data_need_one_label(begin, tmp_path, monkeypatch):
    write_data(tmp_path / "train.extxyz", 24)
    relabel("data.extxyz", rename=OTHERS)
    whole = open_source(tmp_path / "train.extxyz")
    monkeypatch.setattr("nequix.train.streams.split", lambda source, *_: (whole, source))
    with pytest.raises(DataError, match="none of 24 structures for validation has energy or forces or"):
        begin()


@pytest.mark.parametrize("begin", ["finetune"], indirect=True)
def test_what_is_missing_may_be_in_replayed_structures(begin):
    write_data("replayed.extxyz", 12)
    relabel("data.extxyz", keep=["forces"])
    replay = ReplayConfig(["replayed.extxyz"])
    assert begin(replay=replay).statistics.labels["energy"] == 0
    relabel("data.extxyz")
    with pytest.raises(DataError, match="energy or forces or stress"):
        begin(replay=replay)


def test_energies_of_atoms_are_learned_where_they_are_weighed(tmp_path):
    path = write_config(tmp_path, 24, epochs=40, rate=0.03)
    weights = "energy: 0, forces: 0, stress: 0, energies: 20"
    path.write_text(path.read_text().replace("energy: 20, forces: 20, stress: 5", weights))
    open_run(read_config(path), tmp_path / "run").train()
    with (tmp_path / "run" / "history.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    errors = [float(row["energies"]) for row in rows if row["energies"]]
    assert np.mean(errors[-3:]) < 0.3 * errors[0]
    assert any(row["valid_energies"] for row in rows)


def test_validation_data_need_no_energies_of_atoms(begin, tmp_path, monkeypatch):
    write_data(tmp_path / "train.extxyz", 24)
    relabel("data.extxyz", keep=["energy", "forces", "stress"])
    whole = open_source(tmp_path / "train.extxyz")
    monkeypatch.setattr("nequix.train.streams.split", lambda source, *_: (whole, source))
    assert begin({**FULL, "energies": 20}).statistics.n_atom_energies == 12


def test_validation_data_need_them_where_nothing_else_is_weighed(begin, tmp_path, monkeypatch):
    write_data(tmp_path / "train.extxyz", 24)
    relabel("data.extxyz", keep=["energy", "forces", "stress"])
    whole = open_source(tmp_path / "train.extxyz")
    monkeypatch.setattr("nequix.train.streams.split", lambda source, *_: (whole, source))
    with pytest.raises(DataError, match=r"for validation has energies .*remove loss\.energies"):
        begin({**dict.fromkeys(FULL, 0), "energies": 20})


def test_energies_of_atoms_that_are_weighed_must_occur(begin):
    relabel("data.extxyz", keep=["energy", "forces", "stress"])
    with pytest.raises(DataError, match=r"for training has energies .*remove loss\.energies"):
        begin({**FULL, "energies": 20})


@pytest.mark.parametrize("begin", ["train"], indirect=True)
def test_data_are_measured_again_under_other_keys(begin):
    assert begin().statistics.labels["energy"] > 0
    with pytest.raises(DataError, match="none of 19 structures for training has energy"):
        begin(energy="typo")


def test_named_key_that_validation_data_lack_is_refused(tmp_path, monkeypatch):
    """Both have forces under the named key; only the training data have the energy."""
    monkeypatch.chdir(tmp_path)
    path = write_config(tmp_path, 12)
    write_data(tmp_path / "valid.extxyz", 6)
    relabel(tmp_path / "data.extxyz", rename=("energy", "forces"))
    relabel(tmp_path / "valid.extxyz", rename=("forces",))
    text = path.read_text().replace("energy: 20, forces: 20, stress: 5", "energy: 20, forces: 20, stress: 0")
    keys = "  valid: [valid.extxyz]\n  energy_key: my_energy\n  forces_key: my_forces\n"
    path.write_text(text.replace("  valid_fraction", f"{keys}  valid_fraction", 1))
    with pytest.raises(DataError, match=r"for validation has energy; .*\(data\.energy_key\)"):
        open_run(read_config(path), tmp_path / "run")


def test_errors_without_labels_are_empty_in_the_log(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_config(tmp_path, 12)
    write_data(tmp_path / "valid.extxyz", 6)
    relabel(tmp_path / "valid.extxyz", keep=("forces",))
    text = path.read_text().replace("  valid_fraction", "  valid: [valid.extxyz]\n  valid_fraction", 1)
    path.write_text(text)
    run = open_run(read_config(path), tmp_path / "run")
    assert "6 structures, 0 with an energy, 6 with forces, 0 with a stress; the best epoch" in run.describe()
    assert "smallest loss of forces (20)" in run.describe()
    errors = run.errors(run.valid)
    assert errors.keys() == {"loss", "forces"}
    assert errors["forces"] > 0
    run.history.cut(-1)
    run._trackers = [run.history]
    run._validate(0)
    (row,) = run.history.rows()
    assert (row["valid_energy"], row["valid_stress"]) == ("", "")
    assert float(row["valid_forces"]) == errors["forces"]


def test_steps_without_a_label_leave_its_error_empty_in_the_log(tmp_path, monkeypatch):
    """No structure for training has a stress."""
    monkeypatch.chdir(tmp_path)
    path = write_config(tmp_path, 12, epochs=1)
    relabel(tmp_path / "data.extxyz", keep=("energy", "forces"))
    seen = []
    open_run(read_config(path), tmp_path / "run").train(lambda step, n, values: seen.append(values))
    rows = [row for row in open_run(read_config(path), tmp_path / "run").history.rows() if row["loss"]]
    assert rows
    for row, values in zip(rows, seen, strict=True):
        assert row["stress"] == ""
        assert float(row["forces"]) == values["forces"] > 0
        assert "S " not in describe_errors(values)
        assert f"F {1000 * values['forces']:.3g} meV/A" in describe_errors(values)


def test_labels_are_counted_in_every_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_config(tmp_path, 12)
    write_data(tmp_path / "more.extxyz", 8)
    relabel(tmp_path / "more.extxyz", keep=("forces",))
    files = [str(tmp_path / name) for name in ("data.extxyz", "more.extxyz")]
    parts = compute(open_source(files), 4.0)[0].parts
    assert {path: counts["structures"] for path, counts in parts.items()} == dict(
        zip(files, (12, 8), strict=True)
    )
    assert (parts[files[1]]["energy"], parts[files[1]]["forces"]) == (0, 8)
    assert parts[files[0]]["energy"] > 0
    assert parts == compute(open_source(files), 4.0, n_workers=1)[0].parts
    assert compute(open_source(files[0]), 4.0)[0].parts == {}
    text = path.read_text()
    line = next(line for line in text.splitlines() if line.strip().startswith("train:"))
    path.write_text(text.replace(line, f"  train: {files}"))
    said = open_run(read_config(path), tmp_path / "run").describe()
    assert f"{files[1]}: {tally(said, files[1])} structures, 0 with an energy" in said


def tally(said, file):
    return said.split(f"{file}: ")[1].split()[0]


def test_structures_with_forces_are_held_out_where_few_are(tmp_path, monkeypatch):
    """Of ten cells, eight are perfect crystals; their forces say nothing about an epoch."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(TrainConfig, "forces_first", FinetuneConfig.forces_first)  # of fine-tunings
    path = write_config(tmp_path, 10, valid_fraction=0.1)
    frames = ase.io.read("data.extxyz", ":")
    for index, atoms in enumerate(frames):
        if index not in (2, 6):
            atoms.calc.results["forces"] = np.zeros((len(atoms), 3))
    ase.io.write("data.extxyz", frames)
    for seed in range(4):
        config = read_config(path)
        config = dataclasses.replace(config, run=dataclasses.replace(config.run, seed=seed))
        train, valid = open_sources(config)
        assert (len(train), [s.name for s in valid]) == (8, ["data.extxyz:2", "data.extxyz:6"])
    said = open_run(read_config(path), tmp_path / "run").describe()
    assert "warning: structures for validation: 2, with forces other than zero: 2; the best epoch" in said


def test_a_few_structures_are_held_out_but_no_more_than_a_quarter(tmp_path):
    path = write_config(tmp_path, 48, valid_fraction=0.05)
    write_data(tmp_path / "data.extxyz", 48)
    source = open_source(tmp_path / "data.extxyz")
    for n, plain, least in ((3, 1, 1), (7, 1, 1), (10, 1, 2), (19, 1, 4), (20, 1, 5), (48, 2, 5)):
        part = Subset(source, range(n))
        held = [len(split(part, 0.05, 0, has_forces, k)[1]) for k in (1, FEW)]
        assert held == [plain, least]
    assert len(split(source, 0.0, 0, has_forces, FEW)[1]) == 0
    config = read_config(path)
    assert [len(held) for held in open_sources(config)] == [46, 2]  # from scratch
    fine = dataclasses.replace(config)
    object.__setattr__(fine, "forces_first", True)
    assert [len(held) for held in open_sources(fine)] == [43, 5]


def test_split_is_that_of_the_seed_where_all_have_forces(tmp_path):
    write_data(tmp_path / "data.extxyz", 20)
    source = open_source(tmp_path / "data.extxyz")
    for fraction in (0.1, 0.4):
        plain, preferring = split(source, fraction, 3), split(source, fraction, 3, has_forces)
        assert [part.indices.tolist() for part in plain] == [part.indices.tolist() for part in preferring]
