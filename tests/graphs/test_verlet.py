"""A list that lasts has the edges of a new one, in the same order, and is searched seldom."""

import numpy as np
import pytest
from ase.build import bulk, fcc111, molecule
from hypothesis import given
from hypothesis import strategies as st

from nequix.core.errors import GraphError
from nequix.graphs.verlet import VerletNeighborList
from tests.kernels.engines import spec_with
from tests.systems import CELLS, PERIODICITIES, atoms

CUTOFF = 3.0
SPEC = spec_with("2x0e", lmax=0)
SIZES = st.sampled_from([0.01, 0.05, 0.2, 1.0])


def assert_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@given(
    seed=st.integers(0, 2**32 - 1),
    n_atoms=st.sampled_from([3, 2, 4, 1]),
    pbc=st.sampled_from(PERIODICITIES),
    cell=st.sampled_from(CELLS),
    step=SIZES,
    strain=SIZES,
)
def test_edges_are_those_of_a_new_list(seed, n_atoms, pbc, cell, step, strain):
    rng, pbc = np.random.default_rng(seed), np.array(pbc)
    _, positions, vectors = atoms(SPEC, seed, n_atoms, tuple(pbc), cell)
    lasting = VerletNeighborList(0.5)
    for move in range(8):
        if move % 3 == 2:
            deformation = np.eye(3) + strain / 10 * rng.normal(size=(3, 3))
            positions, vectors = positions @ deformation, vectors @ deformation
        given = (positions, vectors, pbc, CUTOFF)
        try:
            expected = VerletNeighborList(0.0)(*given)
        except GraphError:
            break
        assert_same(lasting(*given), expected)
        positions = positions + step * rng.normal(size=positions.shape) / 5 + rng.normal(size=3)


def test_search_is_repeated_only_after_half_a_skin():
    crystal, rng = bulk("Si", cubic=True), np.random.default_rng(0)
    lasting = VerletNeighborList(0.5)
    positions, cell, pbc = crystal.positions, np.asarray(crystal.cell), crystal.pbc
    for _ in range(5):
        lasting(positions, cell, pbc, CUTOFF)
        lasting(positions + rng.uniform(-0.1, 0.1, positions.shape), cell, pbc, CUTOFF)
        lasting(1.01 * positions, 1.01 * cell, pbc, CUTOFF)
        lasting(positions + 7.0, cell, pbc, CUTOFF)
    assert lasting.searches == 1
    moved = positions.copy()
    moved[0] += [0.4, 0, 0]
    lasting(moved, cell, pbc, CUTOFF)
    assert lasting.searches == 2
    for change in ({"cutoff": 2.5}, {"pbc": np.array([True, True, False])}, {"cell": 0.8 * cell}):
        lasting(**{"positions": positions, "cell": cell, "pbc": pbc, "cutoff": CUTOFF, **change})
    assert lasting.searches == 5


def test_wrapping_an_atom_into_the_cell_rebuilds_the_list():
    crystal = bulk("Si", cubic=True)
    lasting, cell = VerletNeighborList(0.5), np.asarray(crystal.cell)
    lasting(crystal.positions, cell, crystal.pbc, CUTOFF)
    wrapped = crystal.positions.copy()
    wrapped[3] += cell[0]
    assert_same(
        lasting(wrapped, cell, crystal.pbc, CUTOFF), VerletNeighborList(0)(wrapped, cell, crystal.pbc, CUTOFF)
    )


@pytest.mark.parametrize(
    "made", [molecule("CH4"), fcc111("Cu", (1, 1, 3), vacuum=5)], ids=["molecule", "slab"]
)
def test_atoms_that_come_too_close_are_named(made):
    lasting, cell = VerletNeighborList(0.5), np.asarray(made.cell)
    lasting(made.positions, cell, made.pbc, 6.0)
    close = made.positions.copy()
    close[1] = close[0] + 1e-5
    with pytest.raises(GraphError, match=r"atom \d and atom \d are .* apart"):
        lasting(close, cell, made.pbc, 6.0)


def test_an_interrupted_search_is_made_again():
    class Interrupting(np.ndarray):
        def copy(self, *args):
            raise KeyboardInterrupt

    rng, lasting = np.random.default_rng(0), VerletNeighborList(0.5)
    positions, elsewhere = rng.uniform(0, 6, (2, 8, 3))
    rest = (6.0 * np.eye(3), np.ones(3, bool), CUTOFF)
    lasting(positions, *rest)
    with pytest.raises(KeyboardInterrupt):
        lasting(elsewhere.view(Interrupting), *rest)
    assert_same(lasting(positions, *rest), VerletNeighborList(0.0)(positions, *rest))


def test_threads_that_share_a_list_have_their_own_edges(monkeypatch):
    rng, lasting = np.random.default_rng(0), VerletNeighborList(0.5)
    here, there = rng.uniform(0, 6, (2, 8, 3))
    rest = (6.0 * np.eye(3), np.ones(3, bool), CUTOFF)
    expected, search = VerletNeighborList(0.0)(here, *rest), VerletNeighborList._search

    def interleaved(self, *given):
        found = search(self, *given)
        if given[0] is here:
            self(there, *rest)  # by another thread, just now
        return found

    monkeypatch.setattr(VerletNeighborList, "_search", interleaved)
    assert_same(lasting(here, *rest), expected)
