"""Ensembles: the mean is the members' mean, shared layers change nothing, and the guard sees its limit."""

import copy
import dataclasses

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.md.verlet import VelocityVerlet

from nequix import GraphError, NequixCalculator, NequixEnsembleCalculator, SpreadGuard, WeightsError
from nequix.ensemble import SpreadExceeded
from nequix.graphs.results import EnsembleResults
from nequix.io.ensemble import (
    n_shared_layers,
    own_parameters,
    read_ensemble,
)
from tests.calculator.ensembles import calibration, members, write_two
from tests.calculator.small import WEIGHTS
from tests.tolerances import PARITY_FLOAT64


def structure():
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    atoms.rattle(0.1, seed=1)
    return atoms


@pytest.mark.parametrize(
    "trained", [("readout",), ("readout", "layers.1"), ("readout", "layers.0", "layers.1")]
)
@pytest.mark.parametrize("backend", ["jax", "torch"])
@pytest.mark.parametrize("kernel", ["plain", "auto"])
def test_the_mean_is_that_of_the_members(backend, kernel, trained):
    models = members(3, trained)
    together = NequixEnsembleCalculator(models, backend, kernel=kernel, dtype="float64")
    alone = [NequixCalculator(model, "torch", kernel="plain", dtype="float64") for model in models]
    atoms = structure()
    for calculator in (together, *alone):
        calculator.calculate(atoms)
    for name in ("energy", "energies", "forces", "stress"):
        each = np.stack([calculator.results[name] for calculator in alone])
        size = np.abs(each).max()
        np.testing.assert_allclose(together.results[name], each.mean(0), rtol=0, atol=PARITY_FLOAT64 * size)
    forces = np.stack([calculator.results["forces"] for calculator in alone])
    spread = np.sqrt(((forces - forces.mean(0)) ** 2).sum((0, 2)) / 2 / 3)
    assert spread.min() > 1e-4
    np.testing.assert_allclose(together.spreads["forces_spread"], spread, rtol=1e-7)
    energy = [calculator.results["energy"] for calculator in alone]
    assert together.spreads["energy_spread"] == pytest.approx(np.std(energy, ddof=1), rel=1e-7)


@pytest.mark.parametrize("backend", ["jax", "torch"])
@pytest.mark.parametrize("kernel", ["plain", "auto"])
def test_copies_give_the_same(backend, kernel):
    atoms = structure()
    atoms.calc = NequixEnsembleCalculator(members(2, ("readout",)), backend, kernel=kernel)
    forces, spread = atoms.get_forces(), atoms.calc.spreads["forces_spread"]
    again = copy.deepcopy(atoms)
    again.calc.reset()
    np.testing.assert_array_equal(again.get_forces(), forces)
    np.testing.assert_array_equal(again.calc.spreads["forces_spread"], spread)
    assert again.calc.potential.kernel is again.calc.potential.potentials[0].kernel
    assert (again.calc.device, again.calc.kernel) == (atoms.calc.device, atoms.calc.kernel)


def test_members_say_nothing_of_an_older_structure():
    atoms = structure()
    atoms.calc = calc = NequixEnsembleCalculator(members(2, ("readout",)), "torch")
    atoms.get_forces()
    assert calc.members is not None
    atoms.positions[0] = np.nan
    with pytest.raises(GraphError, match="atom 0 lies at"):
        atoms.get_forces()
    assert (calc.results, calc.members) == ({}, None)


def test_the_mean_hessian_is_that_of_the_members():
    models, atoms = members(2, ("readout",)), structure()
    together = NequixEnsembleCalculator(models, "torch", dtype="float64")
    alone = [NequixCalculator(model, "torch", dtype="float64") for model in models]
    hessian = np.mean([calculator.get_hessian(atoms) for calculator in alone], axis=0)
    assert np.abs(hessian).max() > 0.1
    np.testing.assert_array_equal(together.get_hessian(atoms), hessian)


def test_shared_layers_are_found_and_computed_once(monkeypatch):
    models = members(3, ("readout", "layers.1"))
    assert n_shared_layers(models) == 1
    assert all(name.startswith(("readout", "layers.1")) for name in own_parameters(models))
    assert n_shared_layers(members(2, ("readout",))) == 2
    assert n_shared_layers(members(2, ("layers.0",))) == 0
    calculator = NequixEnsembleCalculator(models, "torch", kernel="plain")
    from nequix.torch.layers import Interaction

    calls = []
    forward = Interaction.forward
    monkeypatch.setattr(Interaction, "forward", lambda self, *a: calls.append(self.plan) or forward(self, *a))
    calculator.get_potential_energy(structure())
    assert len(calls) == 1 + 3


def test_models_that_do_not_form_an_ensemble_are_refused():
    with pytest.raises(WeightsError, match="a single model has no spread"):
        NequixEnsembleCalculator(members(1, ("readout",)), "torch")
    other = dataclasses.replace(WEIGHTS, spec=dataclasses.replace(WEIGHTS.spec, scale=2.0))
    with pytest.raises(WeightsError, match=r"member 1 .* different specifications"):
        NequixEnsembleCalculator([WEIGHTS, other], "torch")


def test_a_folder_gives_members_and_calibration_back(tmp_path):
    write_two(tmp_path, calibration())
    models, read = read_ensemble(tmp_path)
    assert read == calibration()
    raw = NequixEnsembleCalculator(models, "torch", dtype="float64")
    scaled = NequixEnsembleCalculator(tmp_path, "torch", dtype="float64")
    for calculator in (raw, scaled):
        calculator.calculate(structure())
    np.testing.assert_allclose(scaled.spreads["forces_spread"], 2 * raw.spreads["forces_spread"])
    assert scaled.spreads["energy_spread"] == pytest.approx(3 * raw.spreads["energy_spread"])

    named = NequixEnsembleCalculator([str(tmp_path / "0.safetensors"), models[1]], "torch", dtype="float64")
    named.calculate(structure())
    np.testing.assert_array_equal(named.spreads["forces_spread"], raw.spreads["forces_spread"])
    with pytest.raises(WeightsError, match="neither a file nor a known model"):
        NequixEnsembleCalculator(["a", "b"], "torch")

    (tmp_path / "1.safetensors").write_bytes((tmp_path / "0.safetensors").read_bytes())
    with pytest.raises(WeightsError, match="digest"):
        read_ensemble(tmp_path)
    (tmp_path / "ensemble.json").write_text("{}")
    with pytest.raises(WeightsError, match="not an ensemble, or damaged"):
        read_ensemble(tmp_path)


def test_spreads_are_standard_deviations_over_members():
    from nequix.graphs.results import Results

    told = [Results(*(x * np.ones(s) for s in ((1,), (2,), (2, 3), (1, 3, 3)))) for x in (1.0, 2.0, 6.0)]
    together = EnsembleResults(tuple(told))
    assert together.energy_spread == pytest.approx(np.sqrt(7.0))
    assert together.forces_spread == pytest.approx(np.sqrt(7.0))
    assert together.mean.energy == pytest.approx(3.0)


def test_dynamics_warns_or_stops_where_members_disagree():
    atoms = structure()
    atoms.calc = NequixEnsembleCalculator(members(2, ("readout",)), "torch")
    with pytest.raises(ValueError, match="not calibrated"):
        SpreadGuard(atoms)
    for wrong in ({"limit": -1}, {"limit": 0.0}, {"energy_limit": float("nan")}):
        with pytest.raises(ValueError, match=r"limit = .*, expected a positive number"):
            SpreadGuard(atoms, **wrong)
    largest = atoms.calc.get_property("forces_spread", atoms).max()
    within = SpreadGuard(atoms, limit=1.5 * largest)
    dynamics = VelocityVerlet(atoms, 1 * units.fs)
    dynamics.attach(within)
    dynamics.run(2)
    assert within.exceeded == 0

    guard = SpreadGuard(atoms, limit=0.5 * largest)
    with pytest.warns(RuntimeWarning, match=r"differ by .* eV/A, more than .* given as the limit: "):
        guard()
    guard()  # warnings are errors here: it gives one only
    assert guard.exceeded == 2
    dynamics.attach(SpreadGuard(atoms, limit=0.5 * largest, action="stop"))
    with pytest.raises(SpreadExceeded, match="atom"):
        dynamics.run(5)
    assert dynamics.nsteps < 8

    energy = atoms.calc.get_property("energy_spread", atoms) / len(atoms)
    SpreadGuard(atoms, energy_limit=1.01 * energy)()
    with pytest.raises(SpreadExceeded, match=r"energies differ by .* eV/atom, more than"):
        SpreadGuard(atoms, energy_limit=0.99 * energy, action="stop")()

    calculator = atoms.calc
    guard = SpreadGuard(atoms, limit=1.0, action="stop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calculator, "get_property", lambda name, _: np.full(len(atoms), np.nan))
        with pytest.raises(SpreadExceeded, match="nan"):
            guard()

    atoms.calc.calibration = calibration()
    calibrated = SpreadGuard(atoms)
    assert (calibrated.limit, calibrated.energy_limit) == pytest.approx((1.0, 0.3))
    calibrated.limit = 0.5 * largest
    with pytest.warns(RuntimeWarning, match="that were given as the limit"):
        calibrated()
    atoms.calc = NequixCalculator(WEIGHTS, "torch")
    with pytest.raises(ValueError, match="expected NequixEnsembleCalculator"):
        SpreadGuard(atoms, limit=1.0)
