import copy
import dataclasses
import multiprocessing

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.constraints import FixAtoms
from ase.db import connect

from nequix import GraphError, NequixCalculator, WeightsError, load_weights
from nequix.backends import load_model
from nequix.graphs.graph import graph_from_atoms
from nequix.graphs.verlet import VerletNeighborList
from tests.calculator import small
from tests.calculator.small import BACKENDS, BETWEEN_ENGINES, ENGINES, ROUNDING, SPEC, WEIGHTS

DIFFERENCES = 2e-6
"""Central differences with steps of 1e-4 A against exact derivatives, of energies of some ten eV."""

SINGLE = 2e-5
"""Float32 layers against float64 ones, for forces of some eV/A."""


@pytest.mark.parametrize("backend", ENGINES)
def test_a_potential_has_its_own_settings(backend):
    potential = load_model(WEIGHTS, backend, kernel="plain", dtype="float64")
    calc = NequixCalculator(potential, dtype="float64")
    assert calc.backend == calc.parameters["backend"] == backend
    NequixCalculator(potential, device="cpu")
    NequixCalculator(potential, backend)
    if backend == "jax":  # which is the default, and so given with a potential of either
        with pytest.raises(ValueError, match=r"backend = 'torch' cannot be given with a potential"):
            NequixCalculator(potential, "torch")
    for settings in ({"kernel": "native"}, {"threads": 3}, {"device": "gpu"}):
        with pytest.raises(ValueError, match=r"cannot be given with a potential, which runs 'plain'"):
            NequixCalculator(potential, **settings)


def test_results_are_the_engines(calc, salt):
    graph = graph_from_atoms(salt, SPEC, VerletNeighborList(0.0))  # in the calculator's order of edges
    expected = calc.potential.evaluate(graph)
    assert salt.get_potential_energy() == salt.get_potential_energy(force_consistent=True)
    assert salt.get_potential_energy() == expected.energy[0]
    np.testing.assert_array_equal(salt.get_forces(), expected.forces)
    np.testing.assert_array_equal(salt.get_potential_energies(), expected.energies)
    np.testing.assert_array_equal(salt.get_stress(voigt=False), expected.stress[0])
    full = expected.stress[0]
    order = [full[0, 0], full[1, 1], full[2, 2], full[1, 2], full[0, 2], full[0, 1]]
    np.testing.assert_allclose(salt.get_stress(), order, rtol=0, atol=ROUNDING)


def test_forces_and_stress_are_derivatives_of_the_energy(calc):
    atoms = small.triclinic()
    atoms.calc = calc
    forces, stress = atoms.get_forces(), atoms.get_stress()
    assert np.abs(forces).max() > 0.02
    assert np.abs(stress).min() > 1e-4
    np.testing.assert_allclose(calculate_numerical_forces(atoms, eps=1e-4), forces, rtol=0, atol=DIFFERENCES)
    np.testing.assert_allclose(calculate_numerical_stress(atoms, eps=1e-5), stress, rtol=0, atol=DIFFERENCES)


def test_hessian_is_the_derivative_of_the_forces(calc):
    atoms = small.triclinic()
    atoms.calc = calc
    hessian = calc.get_hessian(atoms)
    assert hessian.shape == (6, 6)
    rows = []
    for index in np.ndindex(2, 3):
        forces = []
        for step in (1e-4, -1e-4):
            moved = atoms.copy()
            moved.positions[index] += step
            moved.calc = calc
            forces.append(moved.get_forces().ravel())
        rows.append((forces[1] - forces[0]) / 2e-4)
    np.testing.assert_allclose(hessian, rows, rtol=0, atol=DIFFERENCES)
    np.testing.assert_allclose(hessian, hessian.T, rtol=0, atol=ROUNDING)


def test_hessian_is_of_the_last_structure_unless_one_is_given(calc):
    atoms = small.triclinic()
    calc.calculate(atoms)
    np.testing.assert_array_equal(calc.get_hessian(), calc.get_hessian(atoms))
    calc.reset()
    with pytest.raises(GraphError, match="no structure yet"):
        calc.get_hessian()
    with pytest.raises(GraphError, match="no structure yet"):
        calc.get_property("energy")


@pytest.mark.parametrize("backend", ENGINES)
@pytest.mark.parametrize("kernel", ["plain", "auto"])
def test_weights_that_change_afterwards_change_neither_a_calculator_nor_its_copies(backend, kernel):
    def aligned(values):  # which JAX would read where it lies
        room = np.zeros(values.size + 16, np.float32)
        start = -room.ctypes.data % 64 // 4
        placed = room[start : start + values.size].reshape(values.shape)
        placed[:] = values
        return placed

    parameters = {name: aligned(values) for name, values in WEIGHTS.parameters.items()}
    calc = NequixCalculator(dataclasses.replace(WEIGHTS, parameters=parameters), backend, kernel=kernel)
    expected = calc.get_potential_energy(small.salt())
    for values in parameters.values():
        values *= 2
    for again in (calc, copy.deepcopy(calc)):
        again.reset()
        assert again.get_potential_energy(small.salt()) == expected


@pytest.mark.parametrize("backend", ENGINES)
@pytest.mark.parametrize("kernel", ["plain", "auto"])
def test_copies_and_what_a_queue_was_sent_give_the_same(backend, kernel):
    atoms = small.salt()
    atoms.calc = NequixCalculator(WEIGHTS, backend, kernel=kernel)
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    queue = multiprocessing.Queue()
    queue.put(atoms)
    for again in (copy.deepcopy(atoms), queue.get(timeout=60)):
        assert again.calc is not atoms.calc
        assert (again.calc.device, again.calc.kernel) == (atoms.calc.device, atoms.calc.kernel)
        assert again.calc.results["energy"] == energy
        again.calc.reset()
        assert again.get_potential_energy() == energy
        np.testing.assert_array_equal(again.get_forces(), forces)


def test_backends_agree():
    atoms = small.salt()
    results = []
    for backend in BACKENDS:
        atoms.calc = NequixCalculator(WEIGHTS, backend, dtype="float64")
        results.append((atoms.get_potential_energies(), atoms.get_forces(), atoms.get_stress()))
    for one, *others in zip(*results, strict=True):
        for other in others:
            np.testing.assert_allclose(one, other, rtol=0, atol=BETWEEN_ENGINES)


@pytest.mark.parametrize(
    "atoms", [small.water(), Atoms("O"), Atoms("OH", [[0, 0, 0], [0, 0, 1]], cell=[3, 3, 0], pbc=[1, 1, 0])]
)
def test_there_is_not_a_stress_without_a_volume(calc, atoms, monkeypatch):
    atoms = atoms.copy()
    atoms.calc = calc
    with pytest.raises(PropertyNotImplementedError, match="no volume"):
        atoms.get_stress()
    # Neither a wrong one, nor another evaluation, nor the loss of what there is.
    monkeypatch.setattr(calc.potential, "evaluate", None)
    with pytest.raises(PropertyNotImplementedError, match="no volume"):
        calc.get_property("stress")
    assert calc.get_property("stress", atoms, allow_calculation=False) is None
    assert "stress" not in calc.results
    assert np.isfinite(atoms.get_forces()).all()
    with pytest.raises(PropertyNotImplementedError):
        calc.get_property("dipole", atoms)


def test_a_slab_with_three_lattice_vectors_has_a_stress(calc):
    atoms = small.slab()
    atoms.calc = calc
    assert np.isfinite(atoms.get_stress()).all()


def _with_bad_position():
    atoms = small.salt()
    atoms.positions[3, 1] = np.nan
    return atoms


BAD = [
    (bulk("Fe"), r"atom 0 is Fe \(Z = 26\)"),
    (_with_bad_position(), "atom 3 lies at"),
    (Atoms(), "no atoms"),
    (Atoms("H2", [[0, 0, 0], [0, 0, 0]]), "atom 0 and atom 1 are 0 A apart"),
    (Atoms("H", pbc=True), "the cell's row is zero"),
]


@pytest.mark.parametrize(("atoms", "says"), BAD)
def test_a_bad_structure_is_refused_before_any_work_and_leaves_no_results(
    calc, salt, atoms, says, monkeypatch
):
    energy = salt.get_potential_energy()
    atoms = atoms.copy()
    atoms.calc = calc
    with monkeypatch.context() as patch:
        patch.setattr(calc.potential, "evaluate", None)
        with pytest.raises(GraphError, match=says):
            atoms.get_potential_energy()
        assert (calc.results, calc.atoms) == ({}, None)
        with pytest.raises(GraphError, match=says):
            calc.calculate(atoms)
    assert (calc.results, calc.atoms) == ({}, None)
    assert salt.get_potential_energy() == pytest.approx(energy, abs=ROUNDING)


def test_a_failure_of_the_engine_leaves_no_results(calc, salt, monkeypatch):
    salt.get_potential_energy()

    def fail(graph):
        raise MemoryError

    monkeypatch.setattr(calc.potential, "evaluate", fail)
    with pytest.raises(MemoryError):
        calc.calculate(small.water())
    assert (calc.results, calc.atoms) == ({}, None)


def test_numbers_that_are_not_finite_are_not_results(calc, salt, monkeypatch):
    results = calc.potential.evaluate(graph_from_atoms(salt, SPEC))
    results.forces[5, 0] = np.inf
    monkeypatch.setattr(calc.potential, "evaluate", lambda graph: results)
    with pytest.raises(GraphError, match="atom 5 has energy"):
        salt.get_forces()
    assert calc.results == {}


def test_forces_are_raw_whatever_is_constrained(calc, salt):
    raw = salt.get_forces()
    salt.set_constraint(FixAtoms([0, 1]))
    assert not salt.get_forces()[:2].any()
    np.testing.assert_array_equal(salt.get_forces(apply_constraint=False), raw)
    np.testing.assert_array_equal(calc.get_forces(salt), raw)


@pytest.mark.parametrize("backend", ENGINES)
def test_what_was_chosen_can_be_read(backend, tmp_path):
    calc = NequixCalculator(small.write_small(tmp_path), backend, kernel="plain", device="cpu")
    assert (calc.backend, calc.dtype, calc.kernel, calc.name) == (backend, "float32", "plain", "nequix")
    assert calc.spec == SPEC
    assert "cpu" in calc.device.lower()
    assert calc.parameters["backend"] == backend
    assert calc.parameters["model"].endswith("model.safetensors")
    with pytest.raises(ValueError, match="make a new NequixCalculator"):
        calc.set(dtype="float64")


def test_a_file_and_weights_give_the_same(tmp_path):
    path, atoms = small.write_small(tmp_path), small.salt()
    forces = []
    for model in (str(path), path, load_weights(path), WEIGHTS):
        atoms.calc = NequixCalculator(model, "torch")
        forces.append(atoms.get_forces())
    for other in forces[1:]:
        np.testing.assert_array_equal(forces[0], other)


def test_single_precision_is_near_double_and_results_are_double(calc, salt):
    exact = salt.get_forces()
    salt.calc = NequixCalculator(WEIGHTS, calc.backend)
    assert salt.get_forces().dtype == np.float64
    np.testing.assert_allclose(salt.get_forces(), exact, rtol=0, atol=SINGLE)


@pytest.mark.parametrize("backend", BACKENDS)
def test_bad_arguments_are_refused(backend):
    with pytest.raises(WeightsError, match="did you mean 'nequix-mp-1'"):
        NequixCalculator("nequix-mp1", backend)
    with pytest.raises(ValueError, match="'float32' and 'float64'"):
        NequixCalculator(WEIGHTS, backend, dtype="float16")
    with pytest.raises(TypeError, match="kernal"):
        NequixCalculator(WEIGHTS, backend, kernal="auto")


def test_structures_with_results_can_be_stored(calc, salt, tmp_path):
    salt.get_forces()
    with connect(tmp_path / "store.json") as store:
        store.write(salt)
    row = connect(tmp_path / "store.json").get(1)
    assert (row.calculator, row.energy) == ("nequix", salt.get_potential_energy())
    assert row.calculator_parameters["dtype"] == "float64"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_skin_changes_no_digit(dtype):
    calculators = [NequixCalculator(WEIGHTS, "torch", dtype=dtype, skin=skin) for skin in (0.0, 0.5)]
    atoms, rng = small.salt(), np.random.default_rng(0)
    for step in range(12):
        atoms.positions += rng.normal(0, 0.03, atoms.positions.shape)
        if step == 6:
            atoms.set_cell(1.02 * atoms.cell, scale_atoms=True)
        for name in ("energy", "energies", "forces", "stress"):
            one, other = (calculator.get_property(name, atoms) for calculator in calculators)
            np.testing.assert_array_equal(other, one, err_msg=name)
    assert calculators[0]._neighbors.searches == 12
    assert calculators[1]._neighbors.searches < 6
    with pytest.raises(ValueError, match="skin = -1"):
        NequixCalculator(WEIGHTS, "torch", skin=-1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_published_file_runs(published_folder, backend):
    atoms = small.salt()
    atoms.calc = NequixCalculator(published_folder / "nequix-mp-1.nqx", backend)
    assert -4.0 < atoms.get_potential_energy() / len(atoms) < -3.0
    assert np.abs(atoms.get_forces().sum(axis=0)).max() < 1e-4


@pytest.mark.parametrize("backend", ["jax", "torch"])
@pytest.mark.parametrize("direction", [np.ones(3), np.ones((1, 3)), np.ones((9, 3)), np.full((2, 3), np.nan)])
def test_hessian_products_refuse_a_wrong_direction(backend, direction):
    calc = NequixCalculator(WEIGHTS, backend)
    graph = graph_from_atoms(Atoms("O2", [[0, 0, 0], [0, 0, 1.2]]), calc.spec)
    with pytest.raises(GraphError, match=r"expected \(2, 3\), finite"):
        calc.potential.hessian_vector_product(graph, direction)


def test_torch_works_inside_inference_mode():
    import torch

    atoms = Atoms("O2", [[0, 0, 0], [0, 0, 1.2]])
    atoms.calc = NequixCalculator(WEIGHTS, "torch")
    expected = atoms.get_forces()
    with torch.inference_mode():
        again = NequixCalculator(WEIGHTS, "torch")
        np.testing.assert_array_equal(again.get_forces(atoms), expected)
        assert again.get_hessian(atoms).shape == (6, 6)


def test_torch_works_inside_autocast():
    import torch

    atoms = small.triclinic()
    calc = NequixCalculator(WEIGHTS, "torch", kernel="plain")
    graph = graph_from_atoms(atoms, SPEC)
    expected = calc.get_forces(atoms), calc.get_hessian(atoms), calc.potential.features(graph)
    calc.reset()
    with torch.autocast("cpu"):
        found = calc.get_forces(atoms), calc.get_hessian(atoms), calc.potential.features(graph)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
