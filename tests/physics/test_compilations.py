"""JAX compiles a handful of times, however often the number of edges changes."""

from dataclasses import replace

import numpy as np
from ase.build import bulk
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE

from nequix.calculator import NequixCalculator
from nequix.graphs.graph import batch
from nequix.io.catalogue import ENTRIES, load_published
from nequix.jax import Potential
from tests.equivariance.models import SPECS, Structure, structure
from tests.systems import random_weights

MOST = 3


class Compilations:
    """Counts what JAX compiles for a potential, in two ways that must agree."""

    def __init__(self, potential):
        self.potential = potential

    def count(self):
        compiled = self.potential._evaluate._cache_size()
        # The kernel runs while JAX traces, once for every layer of every compilation, and never after.
        assert self.potential.kernel.n_calls == compiled * self.potential.spec.n_layers
        return compiled


def test_compilations_are_counted():
    model = "l = 3, norm"
    potential = Potential(random_weights(SPECS[model], 1), kernel="plain")
    compilations = Compilations(potential)
    counts = []
    for n_atoms in (3, 3, 40):
        numbers, positions = np.full(n_atoms, 8), 1.7 * np.arange(n_atoms)[:, None] * np.ones(3)
        at = replace(structure(model, "molecule"), numbers=numbers, positions=positions)
        at.evaluate(potential)
        counts.append(compilations.count())
    assert counts == [1, 1, 2]


def test_breathing_crystal_compiles_rarely():
    model = "l = 3, norm"
    potential = Potential(random_weights(SPECS[model], 1), kernel="plain")
    compilations, rng = Compilations(potential), np.random.default_rng(0)
    grid = 2.1 * np.argwhere(np.ones((3, 3, 3)))
    at = Structure(rng.choice(potential.spec.atomic_numbers, 27), grid, 6.3 * np.eye(3))
    n_edges = set()
    for step in range(200):
        stretch = 1 + 0.08 * np.sin(2 * np.pi * step / 60)
        moved = at.positions + rng.normal(0, 0.1, at.positions.shape)
        graph = replace(at, positions=stretch * moved, cell=stretch * at.cell).graph(potential.spec)
        potential.evaluate(graph)
        n_edges.add(graph.n_edges)
    assert len(n_edges) > 50
    assert max(n_edges) > 1.5 * min(n_edges)
    assert compilations.count() <= MOST


def test_relaxation_with_the_cell_compiles_rarely(published_folder):
    weights = load_published(published_folder / ENTRIES["nequix-mp-1"].file)
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.2, seed=1)
    atoms.set_cell(atoms.cell * 0.93, scale_atoms=True)
    atoms.calc = NequixCalculator(weights, "jax", kernel="plain", guard=None)  # it starts out compressed
    compilations, n_edges, start = Compilations(atoms.calc.potential), set(), atoms.get_volume()
    with FIRE(FrechetCellFilter(atoms), logfile=None) as relaxation:
        for _ in relaxation.irun(fmax=0.0, steps=200):
            n_edges.add(atoms.calc._graph(atoms).n_edges)
    assert len(n_edges) > 5
    assert atoms.get_volume() > 1.1 * start
    assert np.abs(atoms.get_forces()).max() < 0.1
    assert compilations.count() <= MOST


def test_hessians_of_similar_structures_compile_once():
    model = "l = 3, norm"
    potential = Potential(random_weights(SPECS[model], 1), kernel="plain")
    for n_atoms in (4, 5, 6):
        numbers, positions = np.full(n_atoms, 8), 1.7 * np.arange(n_atoms)[:, None] * np.ones(3)
        graph = replace(structure(model, "molecule"), numbers=numbers, positions=positions).graph(
            potential.spec
        )
        hessian = potential.hessian(graph)
        direction = np.ones((n_atoms, 3))
        product = potential.hessian_vector_product(graph, direction)
        np.testing.assert_allclose(product, np.einsum("iajb,jb->ia", hessian, direction), atol=1e-4)
    assert potential._product._cache_size() == 1


def test_a_batch_after_a_larger_structure_fits():
    model = "l = 3, norm"
    potential = Potential(random_weights(SPECS[model], 1), kernel="plain")
    large, small = (
        replace(
            structure(model, "molecule"),
            numbers=np.full(n, 8),
            positions=1.7 * np.eye(3)[np.arange(n) % 3] * np.arange(n)[:, None],
        )
        for n in (7, 2)
    )
    potential.evaluate(large.graph(potential.spec))
    graph = small.graph(potential.spec)
    together, alone = potential.evaluate(batch([graph, graph])), potential.evaluate(graph)
    np.testing.assert_allclose(together.energy, alone.energy[[0, 0]], rtol=1e-6)
