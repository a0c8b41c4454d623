"""From raw data to a trained file to equal predictions in both engines; and what else a run leaves."""

import ase.io
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms

from nequix import NequixCalculator
from nequix.io.weights import read_weights
from nequix.train.config import read_config
from nequix.train.figures import CURVES, PARITY
from nequix.train.loop import MODEL
from nequix.train.opening import open_run
from tests.tolerances import PARITY_FLOAT64
from tests.train.emt import write_config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    run = open_run(read_config(write_config(folder, 24, epochs=2, ema_decay=0.5)), folder / "run")
    seen = []
    assert run.train(lambda step, n_steps, values: seen.append(values))
    return run, folder, seen


def test_a_trained_file_predicts_the_same_in_both_engines(trained):
    run, folder, seen = trained
    assert len(seen) == run.n_steps
    atoms = ase.io.read(folder / "data.extxyz", 0)
    results = []
    for backend in ("jax", "torch"):
        atoms.calc = NequixCalculator(run.folder / MODEL, backend, dtype="float64", kernel="plain")
        results.append((atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()))
    assert np.abs(results[0][1]).max() > 0.01
    for one, other in zip(*results, strict=True):
        assert one == pytest.approx(other, rel=PARITY_FLOAT64, abs=PARITY_FLOAT64)


def test_a_run_in_float64_needs_no_setting_of_jax(tmp_path):
    assert jnp.zeros(()).dtype == "float32"
    run = open_run(read_config(write_config(tmp_path, 12, epochs=1, dtype="float64")), tmp_path / "run")
    assert run.train()
    assert {x.dtype.name for x in run.state.parameters.values()} == {"float64"}
    assert {x.dtype.name for x in read_weights(tmp_path / "run" / MODEL).parameters.values()} == {"float64"}
    assert jnp.zeros(()).dtype == "float32"


def test_total_energies_of_all_electron_codes_lose_nothing(tmp_path):
    config = write_config(tmp_path, 24, epochs=1)
    totals = {"Cu": -45_100.3, "Ag": -144_500.7, "Au": -535_600.1}  # eV; float32 resolves 0.06 of four Au
    frames = ase.io.read(tmp_path / "data.extxyz", ":")
    for atoms in frames:
        if "energy" in atoms.calc.results:
            atoms.calc.results["energy"] += sum(totals[symbol] for symbol in atoms.symbols)
    ase.io.write(tmp_path / "data.extxyz", frames)
    run = open_run(read_config(config), tmp_path / "run")
    assert run.train()
    calculator, errors = NequixCalculator(run.folder / MODEL, "torch", dtype="float64"), []
    for structure in run.valid.source:
        if structure.energy is not None:
            atoms = Atoms(structure.numbers, structure.positions, cell=structure.cell, pbc=structure.pbc)
            errors.append(abs(calculator.get_potential_energy(atoms) - structure.energy) / len(atoms))
    last = [row for row in run.history.rows() if row["valid_loss"]][-1]
    assert float(last["valid_energy"]) == pytest.approx(np.mean(errors), abs=1e-5)


def test_every_step_reports_its_structures_and_its_time(trained):
    run, _, seen = trained
    per_epoch = run.loader.steps_per_epoch
    assert sum(values["structures"] for values in seen[:per_epoch]) == len(run.loader.source)
    assert all(values["seconds"] > 0 for values in seen)


def test_predictions_side_by_side_have_the_errors_of_the_last_validation(trained):
    run, _, _ = trained
    parameters = {**run.state.average, **run.state.frozen}
    told = run._evaluation.predictions(parameters, run.valid)
    assert sorted(told.names) == sorted(structure.name for structure in run.valid.source)
    last = [row for row in run.history.rows() if row["valid_loss"]][-1]
    energy = np.nanmean(abs(told.energy - told.predicted_energy) / told.n_atoms)
    assert energy == pytest.approx(float(last["valid_energy"]), rel=1e-5)
    forces = np.nanmean(np.linalg.norm(told.forces - told.predicted_forces, axis=1))
    assert forces == pytest.approx(float(last["valid_forces"]), rel=1e-5)
    stress = np.nanmean(abs(told.stress - told.predicted_stress))
    assert stress == pytest.approx(float(last["valid_stress"]), rel=1e-5)
    for structure in run.valid.source:
        index = told.names.index(structure.name)
        assert np.isnan(told.energy[index]) == (structure.energy is None)


def test_figures_are_drawn(trained):
    run, _, _ = trained
    for name in (CURVES, PARITY):
        assert (run.folder / name).read_bytes().startswith(b"\x89PNG")
        assert (run.folder / name).stat().st_size > 10_000
