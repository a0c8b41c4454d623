"""Rotations, reflections, translations, permutations and the choice of the cell change nothing."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nequix.graphs.graph import batch
from tests.equivariance.models import ENGINES, PERIODICITIES, SPECS, potential, structure
from tests.tolerances import SYMMETRY

pytestmark = [
    pytest.mark.parametrize("model", SPECS),
    pytest.mark.parametrize("engine", ENGINES),
]
kinds = pytest.mark.parametrize("kind", PERIODICITIES)


def assert_same(results, *, energies, forces, stress):
    """Compare energies, forces and stress, each relative to its largest number."""
    for name, expected in (("energies", energies), ("forces", forces), ("stress", stress)):
        found = getattr(results, name)
        assert np.array_equal(np.isnan(found), np.isnan(expected)), name
        size = np.nanmax(np.abs(expected), initial=1e-3)
        np.testing.assert_allclose(found, expected, rtol=0, atol=SYMMETRY * size, err_msg=name)


def assert_unchanged(results, before, order=slice(None)):
    assert_same(results, energies=before.energies[order], forces=before.forces[order], stress=before.stress)


@kinds
@pytest.mark.parametrize("determinant", [1, -1])
def test_rotation_turns_forces_and_stress(engine, model, kind, determinant):
    at, evaluator = structure(model, kind), potential(engine, model)
    R = determinant * Rotation.random(random_state=5).as_matrix()
    before = at.evaluate(evaluator)
    turned = replace(at, positions=at.positions @ R.T, cell=at.cell @ R.T)
    assert np.abs(before.forces).max() > 1e-3
    assert_same(
        turned.evaluate(evaluator),
        energies=before.energies,
        forces=before.forces @ R.T,
        stress=R @ before.stress @ R.T,
    )


@pytest.mark.parametrize("determinant", [1, -1])
def test_rotation_turns_the_hessian(engine, model, determinant):
    at, evaluator = structure(model, "crystal"), potential(engine, model)
    R = determinant * Rotation.random(random_state=6).as_matrix()
    turned = replace(at, positions=at.positions @ R.T, cell=at.cell @ R.T)
    v = np.random.default_rng(0).normal(size=at.positions.shape)
    before = evaluator.hessian_vector_product(at.graph(evaluator.spec), v) @ R.T
    after = evaluator.hessian_vector_product(turned.graph(evaluator.spec), v @ R.T)
    np.testing.assert_allclose(after, before, rtol=0, atol=SYMMETRY * np.abs(before).max())


@kinds
def test_translation_changes_nothing(engine, model, kind):
    at, evaluator = structure(model, kind), potential(engine, model)
    moved = replace(at, positions=at.positions + np.array([11.3, -7.1, 0.37]))
    assert_unchanged(moved.evaluate(evaluator), at.evaluate(evaluator))


@kinds
def test_permutation_permutes_atoms(engine, model, kind):
    at, evaluator = structure(model, kind), potential(engine, model)
    order = np.array([2, 0, 3, 1])
    permuted = replace(at, numbers=at.numbers[order], positions=at.positions[order])
    assert_unchanged(permuted.evaluate(evaluator), at.evaluate(evaluator), order)


def test_wrapping_changes_nothing(engine, model):
    at, evaluator = structure(model, "crystal"), potential(engine, model)
    images = np.array([[1, 0, 0], [0, -3, 2], [40, 0, -7], [0, 0, 0]])
    wrapped = replace(at, positions=at.positions + images @ at.cell)
    assert_unchanged(wrapped.evaluate(evaluator), at.evaluate(evaluator))


@pytest.mark.parametrize(
    "basis",
    [
        [[1, 0, 0], [2, 1, 0], [-1, 3, 1]],
        [[0, 1, 0], [1, 0, 0], [0, 0, 1]],  # left-handed
        [[-1, 0, 0], [0, -1, 0], [4, -5, -1]],
    ],
)
def test_unimodular_change_of_lattice_vectors_changes_nothing(engine, model, basis):
    at, evaluator = structure(model, "crystal"), potential(engine, model)
    assert round(abs(np.linalg.det(basis))) == 1
    changed = replace(at, cell=np.array(basis) @ at.cell)
    assert_unchanged(changed.evaluate(evaluator), at.evaluate(evaluator))


@pytest.mark.parametrize("repeats", [(2, 1, 1), (1, 1, 2)])
def test_supercell_repeats_everything(engine, model, repeats):
    at, evaluator = structure(model, "crystal"), potential(engine, model)
    images = np.argwhere(np.ones(repeats)) @ at.cell
    supercell = replace(
        at,
        numbers=np.tile(at.numbers, len(images)),
        positions=np.concatenate([at.positions + image for image in images]),
        cell=at.cell * np.array(repeats)[:, None],
    )
    before, results = at.evaluate(evaluator), supercell.evaluate(evaluator)
    assert_unchanged(results, before, np.tile(np.arange(4), len(images)))
    assert results.energy[0] == pytest.approx(len(images) * before.energy[0], rel=SYMMETRY)


def test_vacuum_is_as_no_cell(engine, model):
    at, evaluator = structure(model, "molecule"), potential(engine, model)
    boxed = replace(at, cell=60.0 * np.eye(3), pbc=(True, True, True))
    before, results = at.evaluate(evaluator), boxed.evaluate(evaluator)
    assert np.isnan(before.stress).all()
    assert_same(results, energies=before.energies, forces=before.forces, stress=results.stress)


def test_batch_changes_nothing(engine, model):
    evaluator = potential(engine, model)
    several = [structure(model, kind, seed=seed) for seed, kind in enumerate(PERIODICITIES, 3)]
    together = evaluator.evaluate(batch([at.graph(evaluator.spec) for at in several]))
    for index, at in enumerate(several):
        alone, own = at.evaluate(evaluator), slice(4 * index, 4 * index + 4)
        assert together.energy[index] == pytest.approx(alone.energy[0], rel=SYMMETRY)
        part = replace(
            together,
            energies=together.energies[own],
            forces=together.forces[own],
            stress=together.stress[index : index + 1],
        )
        assert_unchanged(part, alone)


def test_far_fragments_add_up(engine, model):
    evaluator = potential(engine, model)
    a, b = (structure(model, "molecule", n_atoms=n, seed=seed) for n, seed in ((4, 3), (3, 4)))
    far = np.array([0.0, 0.0, 25.0])
    both = replace(
        a,
        numbers=np.append(a.numbers, b.numbers),
        positions=np.concatenate([a.positions, b.positions + far]),
    )
    parts = [at.evaluate(evaluator) for at in (a, b)]
    assert_same(
        both.evaluate(evaluator),
        energies=np.concatenate([part.energies for part in parts]),
        forces=np.concatenate([part.forces for part in parts]),
        stress=parts[0].stress,
    )
