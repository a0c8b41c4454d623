"""Published models by the library: within its promises in float64, and as good as plain in float32."""

import json
from functools import cache

import numpy as np
import pytest
from ase import Atoms
from ase.build import bcc110, bulk, fcc100, fcc111, hcp0001, molecule
from ase.build import surface as slab

from nequix.graphs.graph import batch, build_graph, graph_from_atoms
from nequix.io.catalogue import ENTRIES, load_published
from tests.native.models import native, plain
from tests.native.tolerances import AS_NEAR, ENERGY, FORCE, STRESS
from tests.parity.test_reference_values import reference_folder  # noqa: F401 - a fixture

NAMES = ("nequix-mp-1", "nequix-oam-1-pft")
MOLECULES = ("C6H6", "CH3CH2OH", "H2O", "CH3CONH2", "SO2", "C2H6SO")
DISTANCES = np.geomspace(0.4, 5.99, 24)


@cache
def published(folder, name):
    return load_published(folder / ENTRIES[name].file)


def alloy(seed):
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", "fcc", 3.7, cubic=True) * (2, 2, 2)
    atoms.numbers = rng.permutation(np.resize([13, 22, 24, 25, 26, 27, 28, 29, 41, 74], len(atoms)))
    atoms.rattle(0.15, rng=rng)
    return atoms


def surfaces():
    """Slabs, most of them with a molecule of CO on top; enough for luck to even out in float32."""
    metals = [(fcc111, "Au"), (fcc111, "Cu"), (fcc100, "Pt"), (fcc100, "Al"), (bcc110, "Fe"), (hcp0001, "Mg")]
    for cut, symbol in metals:
        atoms = cut(symbol, (2, 2, 3), vacuum=6.0)
        yield atoms + Atoms("CO", atoms.positions[-1] + [[0.2, 0.1, 1.9], [0.3, 0.0, 3.05]])
    for formula, lattice, constant in [("MgO", "rocksalt", 4.2), ("GaAs", "zincblende", 5.65)]:
        yield slab(bulk(formula, lattice, constant, cubic=True), (1, 0, 0), 2, vacuum=6.0)


def rattled(structures, deviation, seed=1):
    for atoms in structures:
        atoms.rattle(deviation, seed=seed)
        yield atoms


KINDS = {
    "alloys": lambda: map(alloy, range(6)),
    "surfaces": lambda: rattled(surfaces(), 0.1),
    "molecules": lambda: rattled(map(molecule, MOLECULES), 0.05),
}


def dimers(spec, *numbers):
    return batch(
        [build_graph(numbers, [[0, 0, 0], [0.6 * d, 0, 0.8 * d]], None, False, spec) for d in DISTANCES]
    )


def assert_promised(found, expected, n_atoms):
    assert (np.abs(found.energies - expected.energies) <= ENERGY).all()
    largest = np.maximum(1.0, np.abs(expected.forces).max())
    assert np.abs(found.forces - expected.forces).max() <= FORCE * max(1.0, largest / 100)
    assert np.nanmax(np.abs(found.stress - expected.stress), initial=0.0) <= STRESS
    assert (np.isnan(found.stress) == np.isnan(expected.stress)).all()


def errors(found, expected):
    return [
        float(np.sqrt(np.mean((getattr(found, name) - getattr(expected, name)) ** 2)))
        for name in ("energies", "forces")
    ]


def reference_graphs(folder, spec):
    structures = json.loads((folder / "reference_values.json").read_text())["structures"]
    return [build_graph(s["numbers"], s["positions"], s["cell"], s["pbc"], spec) for s in structures.values()]


@pytest.mark.parametrize("name", NAMES)
def test_reference_structures(name, published_folder, reference_folder):  # noqa: F811
    weights = published(published_folder, name)
    graphs = reference_graphs(reference_folder, weights.spec)
    of_native, of_plain = [], []
    for graph in graphs:
        exact = plain(weights, graph)
        assert_promised(native(weights, graph), exact, graph.n_nodes)
        of_native.append(errors(native(weights, graph, "float32"), exact))
        of_plain.append(errors(plain(weights, graph, "float32"), exact))
    mean = [np.sqrt(np.mean(np.square(each), axis=0)) for each in (of_native, of_plain)]
    assert (mean[0] <= AS_NEAR * mean[1]).all(), mean


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_alloys_surfaces_and_molecules(kind, name, published_folder):
    weights = published(published_folder, name)
    of_native, of_plain = [], []
    for atoms in KINDS[kind]():
        graph = graph_from_atoms(atoms, weights.spec)
        exact = plain(weights, graph)
        assert_promised(native(weights, graph), exact, graph.n_nodes)
        of_native.append(errors(native(weights, graph, "float32"), exact))
        of_plain.append(errors(plain(weights, graph, "float32"), exact))
    mean = [np.sqrt(np.mean(np.square(each), axis=0)) for each in (of_native, of_plain)]
    assert (mean[0] <= AS_NEAR * mean[1]).all(), mean


def test_dimers_from_the_shortest_to_the_cutoff(published_folder):
    weights = published(published_folder, "nequix-mp-1")
    of_native, of_plain = [], []
    for numbers in ((6, 8), (26, 26), (1, 79), (3, 3), (8, 74)):
        graph = dimers(weights.spec, *numbers)
        exact = plain(weights, graph)
        assert_promised(native(weights, graph), exact, graph.n_nodes)
        of_native.append(errors(native(weights, graph, "float32"), exact))
        of_plain.append(errors(plain(weights, graph, "float32"), exact))
    mean = [np.sqrt(np.mean(np.square(each), axis=0)) for each in (of_native, of_plain)]
    assert (mean[0] <= AS_NEAR * mean[1]).all(), mean


def test_a_thousand_atoms(published_folder):
    weights = published(published_folder, "nequix-mp-1")
    atoms = bulk("C", "diamond", 3.57, cubic=True) * (5, 5, 5)
    atoms.rattle(0.1, seed=0)
    atoms.numbers[::7] = 14
    graph = graph_from_atoms(atoms, weights.spec)
    exact = plain(weights, graph)
    assert_promised(native(weights, graph, threads=2), exact, graph.n_nodes)
    found = errors(native(weights, graph, "float32", threads=2), exact)
    assert (found <= AS_NEAR * np.array(errors(plain(weights, graph, "float32"), exact))).all()
