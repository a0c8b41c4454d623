"""What was measured is kept in the run's folder, and data that change are noticed."""

import os
import shutil
from dataclasses import replace
from types import SimpleNamespace

import ase.io
import numpy as np
import pytest

from nequix.core.errors import DataError
from nequix.data.opening import open_source
from nequix.data.sources import split
from nequix.train import statistics_cache as module
from nequix.train.config import read_config
from nequix.train.opening import open_run
from nequix.train.statistics_cache import MEASURED, VALID, measured, measured_valid
from nequix.train.streams import open_sources
from tests.train.emt import write_config


@pytest.fixture
def config(tmp_path):
    return read_config(write_config(tmp_path, 24))


def measure(config, folder, begun=False):
    train, _ = split(open_source(config.data.train), config.data.valid_fraction, config.run.seed)
    return measured(train, config, folder, begun=begun)


@pytest.fixture
def count(monkeypatch):
    """Count how often data are measured."""
    calls = []
    compute = module.compute
    monkeypatch.setattr(module, "compute", lambda *a, **k: calls.append(a) or compute(*a, **k))
    return calls


def same(one, other):
    return one[0] == other[0] and all(
        (getattr(one[1], name) == getattr(other[1], name)).all() for name in ("n_nodes", "n_edges", "n_tiles")
    )


def test_measures_are_kept(config, tmp_path, count):
    first = measure(config, tmp_path)
    assert len(count) == 1
    assert same(measure(config, tmp_path, begun=True), first)
    assert len(count) == 1


@pytest.mark.parametrize("content", [b"", b"damaged", "half"])
def test_damaged_measures_are_taken_again(config, tmp_path, count, content):
    first = measure(config, tmp_path)
    path = tmp_path / MEASURED
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content == "half" else content)
    assert same(measure(config, tmp_path, begun=True), first)
    assert len(count) == 2


def test_copied_data_are_accepted(config, tmp_path, count):
    first = measure(config, tmp_path)
    os.utime(tmp_path / "data.extxyz", (1, 1))
    assert same(measure(config, tmp_path, begun=True), first)
    assert len(count) == 2
    measure(config, tmp_path, begun=True)
    assert len(count) == 2  # the new time was noted


def test_rounding_of_another_processor_is_not_a_change(config, tmp_path, monkeypatch):
    first, compute = measure(config, tmp_path), module.compute

    def rounded(*arguments, **options):
        found, sizes = compute(*arguments, **options)
        energies = {number: np.nextafter(x, 0) for number, x in found.atom_energies.items()}
        return replace(found, atom_energies=energies, shift=np.nextafter(found.shift, 1)), sizes

    monkeypatch.setattr(module, "compute", rounded)
    os.utime(tmp_path / "data.extxyz", (1, 1))
    assert same(measure(config, tmp_path, begun=True), first)
    assert same(measure(config, tmp_path, begun=True), first)


@pytest.mark.parametrize("change", ["sign", "label", "structure", "weight"])
def test_changed_data_are_refused_once_steps_were_taken(config, tmp_path, change):
    first = measure(config, tmp_path)
    path = tmp_path / "data.extxyz"
    frames = ase.io.read(path, ":")
    if change == "label":
        for atoms in frames:
            atoms.calc.results["forces"] = atoms.calc.results["forces"] * 2
    elif change == "sign":  # the statistics stay the same
        for atoms in frames:
            atoms.calc.results["forces"] = -atoms.calc.results["forces"]
    elif change == "weight":
        frames[-1].info["forces_weight"] = 0.5
    else:
        frames.append(frames[0])
    ase.io.write(path, frames)
    with pytest.raises(DataError, match=r"data\.extxyz.*changed since the run in .* began \(\d+ structures"):
        measure(config, tmp_path, begun=True)
    with pytest.raises(DataError, match="changed since"):
        measure(config, tmp_path, begun=True)  # the first refusal has not overwritten what was kept
    assert not same(measure(config, tmp_path), first)


def test_another_cutoff_is_measured_again(config, tmp_path, count):
    measure(config, tmp_path)
    text = (tmp_path / "config.yml").read_text()
    (tmp_path / "config.yml").write_text(text.replace("cutoff: 4.0", "cutoff: 3.5"))
    statistics, _ = measure(read_config(tmp_path / "config.yml"), tmp_path)
    assert statistics.cutoff == 3.5
    assert len(count) == 2


@pytest.mark.parametrize("change", [{"n_train": 8}, {"draw": 1}, {"member": 0}, {"seed": 1}])
def test_another_part_of_the_data_is_measured_again(config, tmp_path, count, change):
    measure(config, tmp_path)
    seed = change.pop("seed", config.run.seed)
    other = SimpleNamespace(**vars(replace(config, run=replace(config.run, seed=seed))), **change)
    measure(other, tmp_path)
    assert len(count) == 2


def test_validation_data_are_kept(config, tmp_path, count):
    _, valid = split(open_source(config.data.train), config.data.valid_fraction, config.run.seed)
    statistics, sizes = measured_valid(valid, config, tmp_path)
    assert len(sizes) == len(valid) == statistics.n_structures
    assert (tmp_path / VALID).exists()
    again = measured_valid(valid, config, tmp_path)
    assert same(again, (statistics, sizes))
    assert len(count) == 1
    path = tmp_path / "data.extxyz"
    frames = ase.io.read(path, ":")
    for atoms in frames:
        atoms.calc.results["forces"] = -atoms.calc.results["forces"]
    ase.io.write(path, frames)
    _, valid = split(open_source(config.data.train), config.data.valid_fraction, config.run.seed)
    with pytest.raises(DataError, match="changed since"):
        measured_valid(valid, config, tmp_path, begun=True)


def test_elements_of_the_validation_data_only_are_named_before_any_step(tmp_path):
    path = write_config(tmp_path, 24)
    frames = ase.io.read(tmp_path / "data.extxyz", ":")
    frames[5].numbers[0] = 78
    ase.io.write(tmp_path / "valid.extxyz", frames)
    path.write_text(path.read_text().replace("  valid_", f"  valid: [{tmp_path / 'valid.extxyz'}]\n  valid_"))
    with pytest.raises(DataError, match=r"valid\.extxyz:5: Pt unknown to the model"):
        open_run(read_config(path), tmp_path / "run")


def test_data_without_any_neighbours_are_refused_with_the_cutoff(tmp_path):
    path = write_config(tmp_path, 12)
    path.write_text(path.read_text().replace("cutoff: 4.0", "cutoff: 1.0"))
    with pytest.raises(DataError, match=r"no atom of the 10 structures .* within model.cutoff = 1 A"):
        open_run(read_config(path), tmp_path / "run")


@pytest.mark.parametrize("content", [None, b"damaged"])
@pytest.mark.parametrize(("kept", "role"), [(MEASURED, "training"), (VALID, "validation")])
def test_changed_labels_are_refused_even_if_what_was_measured_is_lost(tmp_path, content, kept, role):
    config = read_config(write_config(tmp_path, 24))
    data = config.data
    for name in ("training", "validation"):
        shutil.copy(tmp_path / "data.extxyz", tmp_path / f"{name}.extxyz")
    data = replace(
        data, train=[str(tmp_path / "training.extxyz")], valid=[str(tmp_path / "validation.extxyz")]
    )
    config = replace(config, data=data)
    open_run(config, tmp_path / "run").checkpoint()
    path = tmp_path / "run" / kept

    def damage():
        path.unlink() if content is None else path.write_bytes(content)

    damage()
    open_run(config, tmp_path / "run")  # the same data are measured again
    frames = ase.io.read(tmp_path / f"{role}.extxyz", ":")
    for atoms in frames:
        atoms.calc.results["forces"] = -atoms.calc.results["forces"]
    ase.io.write(tmp_path / f"{role}.extxyz", frames)
    damage()
    with pytest.raises(DataError, match=f"structures for {role} or their labels have changed"):
        open_run(config, tmp_path / "run")


@pytest.mark.parametrize("again", ["data.extxyz", "./data.extxyz", "link.extxyz"])
def test_data_named_twice_are_not_split(tmp_path, monkeypatch, again):
    monkeypatch.chdir(tmp_path)
    config = read_config(write_config(tmp_path, 12))
    (tmp_path / "link.extxyz").symlink_to(tmp_path / "data.extxyz")
    data = replace(config.data, train=["data.extxyz", again])
    with pytest.raises(DataError, match=r"data\.train names .*data\.valid"):
        open_sources(replace(config, data=data))
    train, valid = open_sources(replace(config, data=replace(data, valid_fraction=0)))
    assert (len(train), valid) == (24, None)  # repeated on purpose, they count twice


def test_elements_that_no_structure_has_are_named(tmp_path):
    path = write_config(tmp_path, 24)
    path.write_text(path.read_text().replace("model:", "model:\n  atomic_numbers: [29, 47, 78, 79]"))
    with pytest.warns(RuntimeWarning, match=r"model\.atomic_numbers: no structure .* has Pt; .* 0 eV"):
        open_run(read_config(path), tmp_path / "run")
