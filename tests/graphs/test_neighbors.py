"""The neighbour list against brute force, wherever a library might go wrong."""

import itertools
import json
import os
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nequix.core.errors import GraphError
from nequix.graphs.neighbors import complete_cell, neighbor_list, reduced_basis
from tests.tolerances import CUTOFF_ROUNDING

MASKS = [np.array(mask) for mask in itertools.product([True, False], repeat=3)]

deterministic = settings(derandomize=True, deadline=None, max_examples=60, database=None)


def name(mask):
    return "".join("FT"[int(periodic)] for periodic in mask)


def brute_force(positions, cell, pbc, cutoff):
    """Return ``{(receiver, sender, s1, s2, s3): length}`` of every edge up to the cutoff, by trying all."""
    vectors = cell[pbc]
    # Coordinates along the periodic vectors, and how far along them the cutoff reaches.
    inverse = np.linalg.pinv(vectors) if len(vectors) else np.zeros((3, 0))
    along = positions @ inverse
    reach = cutoff * np.linalg.norm(inverse, axis=0) + 1e-6
    edges = {}
    for i, j in itertools.product(range(len(positions)), repeat=2):
        apart = along[j] - along[i]
        ranges = [
            range(int(np.ceil(-a - r)), int(np.floor(-a + r)) + 1) for a, r in zip(apart, reach, strict=True)
        ]
        shifts = np.zeros((int(np.prod([len(r) for r in ranges])), 3), int)
        shifts[:, pbc] = np.array(list(itertools.product(*ranges))).reshape(len(shifts), len(ranges))
        lengths = np.linalg.norm(positions[j] - positions[i] + shifts @ cell, axis=1)
        for shift, length in zip(shifts.tolist(), lengths, strict=True):
            if length < cutoff + CUTOFF_ROUNDING and (i != j or any(shift)):
                edges[i, j, *shift] = length
    return edges


def faults(edges, expected, cutoff):
    """List every way in which senders, receivers and shifts differ from the expected edges."""
    senders, receivers, shifts = edges
    found = list(zip(receivers.tolist(), senders.tolist(), *shifts.T.tolist(), strict=True))
    unique = set(found)
    listed = [f"unsorted at {k}" for k in np.flatnonzero(np.diff(receivers) < 0)]
    listed += [f"repeated {edge}" for edge in unique if len(found) > len(unique) and found.count(edge) > 1]
    listed += [f"extra {edge}" for edge in unique - set(expected)]
    listed += [
        f"missing {edge}"
        for edge, length in expected.items()
        if edge not in unique and length < cutoff - CUTOFF_ROUNDING
    ]
    return listed + [f"one way {(i, j, *s)}" for i, j, *s in unique if (j, i, *(-n for n in s)) not in unique]


def check(positions, cell, pbc, cutoff):
    edges = neighbor_list(positions, cell, pbc, cutoff)
    assert [array.dtype for array in edges] == [np.int32] * 3
    assert faults(edges, brute_force(positions, cell, pbc, cutoff), cutoff) == []
    return edges


def random_cell(rng, size=4.0):
    return size * (np.eye(3) + 0.2 * rng.normal(size=(3, 3)))


@st.composite
def structures(draw):
    """Any cell, any periodicity, atoms anywhere: what a user might pass."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pbc = draw(st.sampled_from(MASKS))
    cell = np.diag(draw(st.tuples(*[st.sampled_from([2.0, 2.5, 4.0, 9.0, 30.0])] * 3)))
    cell = (cell + rng.normal(0, 0.2, (3, 3))) @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    if draw(st.booleans()):
        cell[2] += draw(st.integers(-6, 6)) * cell[0] + draw(st.integers(-6, 6)) * cell[1]
    if draw(st.booleans()):
        cell = cell[[1, 0, 2]]
    scaled = rng.random((draw(st.integers(1, 8)), 3))
    if draw(st.booleans()):
        scaled += rng.integers(-3000, 3000, scaled.shape) * pbc
    positions = scaled @ cell
    if draw(st.booleans()):
        cell = np.where(pbc[:, None], cell, 0.0)
    return positions, cell, pbc


@given(structures())
@deterministic
def test_neighbor_list_equals_brute_force(structure):
    positions, cell, pbc = structure
    expected = brute_force(positions, cell, pbc, 4.0)
    assume(min(expected.values(), default=1.0) > 0.01)
    assert faults(neighbor_list(*structure, 4.0), expected, 4.0) == []


def test_faults_are_caught():
    positions, cell, pbc = np.random.default_rng(0).random((4, 3)) * 5, 5 * np.eye(3), MASKS[0]
    expected = brute_force(positions, cell, pbc, 4.0)
    senders, receivers, shifts = good = neighbor_list(positions, cell, pbc, 4.0)
    assert faults(good, expected, 4.0) == []
    crossing = int(np.flatnonzero(shifts.any(axis=1))[0])
    dropped = shifts.copy()
    dropped[crossing] = 0
    assert any("missing" in fault for fault in faults((senders, receivers, dropped), expected, 4.0))
    one_way = [np.delete(array, crossing, axis=0) for array in good]
    assert {fault.split()[0] for fault in faults(one_way, expected, 4.0)} == {"missing", "one"}
    assert any("one way" in fault for fault in faults(one_way, dict.fromkeys(expected, 4.0), 4.0))
    twice = [
        np.repeat(array, [1] * crossing + [2] + [1] * (len(array) - crossing - 1), axis=0) for array in good
    ]
    assert [fault.split()[0] for fault in faults(twice, expected, 4.0)] == ["repeated"]
    assert any("extra" in fault for fault in faults((senders, receivers, -9 - shifts), expected, 4.0))
    assert any("unsorted" in fault for fault in faults([a[::-1] for a in good], expected, 4.0))


@given(structures(), st.integers(0, 2**32 - 1))
@deterministic
def test_neighbor_list_follows_wrapping(structure, seed):
    positions, cell, pbc = structure
    assume(min(brute_force(positions, cell, pbc, 4.0).values(), default=1.0) > 0.01)
    wraps = np.random.default_rng(seed).integers(-2, 3, positions.shape) * pbc
    senders, receivers, shifts = neighbor_list(positions, cell, pbc, 4.0)
    expected = brute_force(positions + wraps @ cell, cell, pbc, 4.0)
    assert faults((senders, receivers, shifts + wraps[receivers] - wraps[senders]), expected, 4.0) == []


@given(structures(), st.randoms(use_true_random=False))
@deterministic
def test_neighbor_list_follows_permutation(structure, random):
    positions, cell, pbc = structure
    assume(min(brute_force(positions, cell, pbc, 4.0).values(), default=1.0) > 0.01)
    order = np.array(random.sample(range(len(positions)), len(positions)))
    senders, receivers, shifts = neighbor_list(positions[order], cell, pbc, 4.0)
    edges = sorted(zip(order[receivers].tolist(), order[senders].tolist(), shifts.tolist(), strict=True))
    senders, receivers, shifts = neighbor_list(positions, cell, pbc, 4.0)
    assert edges == sorted(zip(receivers.tolist(), senders.tolist(), shifts.tolist(), strict=True))


@pytest.mark.parametrize("pbc", MASKS[:-1], ids=name)
def test_neighbor_list_of_supercell_keeps_degrees(pbc):
    rng = np.random.default_rng(1)
    cell, repeats = random_cell(rng), np.where(pbc, (2, 3, 2), 1)
    positions = rng.random((3, 3)) @ cell
    images = np.array(list(itertools.product(*map(range, repeats))))
    many = (positions[None] + (images @ cell)[:, None]).reshape(-1, 3)
    degrees = np.bincount(neighbor_list(positions, cell, pbc, 5.0)[1], minlength=3)
    repeated = np.bincount(neighbor_list(many, cell * repeats[:, None], pbc, 5.0)[1], minlength=len(many))
    assert repeated.tolist() == np.tile(degrees, len(images)).tolist()


@pytest.mark.parametrize("vanishing", [False, True], ids=["with_vector", "without_vector"])
@pytest.mark.parametrize("pbc", MASKS, ids=name)
def test_neighbor_list_with_partial_periodicity(pbc, vanishing):
    rng = np.random.default_rng(2)
    cell = random_cell(rng)
    positions = rng.random((6, 3)) @ cell
    given_cell = np.where(pbc[:, None], cell, 0.0) if vanishing else cell
    shifts = check(positions, given_cell, pbc, 5.0)[2]
    assert not shifts[:, ~pbc].any()
    assert shifts[:, pbc].any(axis=0).all()


@pytest.mark.parametrize("pbc", MASKS[1:-1], ids=name)
def test_neighbor_list_of_tilted_slabs_and_wires(pbc):
    # Long periodic vectors that lean away from the axes of their index: vesin 0.5 loses edges here.
    rng = np.random.default_rng(3)
    for _ in range(4):
        cell = np.diag(rng.uniform(15, 30, 3)) @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
        assert len(check(rng.random((40, 3)) @ cell, cell, pbc, 5.0)[0])


@pytest.mark.parametrize("cutoff", [1.0, 3.0, 9.0])
@pytest.mark.parametrize("n_nodes", [1, 2])
@pytest.mark.parametrize("pbc", MASKS, ids=name)
def test_neighbor_list_of_few_atoms_in_small_cells(pbc, n_nodes, cutoff):
    cell = np.array([[1.9, 0.1, 0.0], [0.3, 1.7, -0.2], [-0.4, 0.2, 2.1]])
    check(np.array([[0.1, 0.2, 0.3], [1.0, 1.1, 0.9]])[:n_nodes], cell, pbc, cutoff)


def test_neighbor_list_counts_shells_of_a_one_atom_cell():
    cell = 2.0 * (1 - np.eye(3))  # fcc, cubic cell of 4 A: shells of 12, 6 and 24 atoms
    for cutoff, degree in ((2.8, 0), (2.9, 12), (4.1, 18), (5.0, 42)):
        assert len(check(np.zeros((1, 3)), cell, MASKS[0], cutoff)[0]) == degree


def test_neighbor_list_with_edges_at_the_cutoff():
    scaled = np.array(list(itertools.product((0, 0.5), repeat=3)))
    for size, cutoff in ((6.0, 6.0), (4.2, 2.1), (0.3, 0.3), (3.1, 3.1 * np.sqrt(2))):
        check(scaled * size, size * np.eye(3), MASKS[0], cutoff)


@pytest.mark.parametrize("pbc", MASKS, ids=name)
def test_neighbor_list_of_atoms_out_of_reach(pbc):
    senders, receivers, shifts = check(np.array([[0, 0, 0], [9.0, 9, 9]]), 20 * np.eye(3), pbc, 6.0)
    assert (len(senders), len(receivers), shifts.shape) == (0, 0, (0, 3))


@pytest.mark.parametrize("skew", [5, 100, 10_000])
def test_neighbor_list_of_very_skewed_cells(skew):
    rng = np.random.default_rng(4)
    short = random_cell(rng, 3.0)
    positions = rng.random((3, 3)) @ short
    mixing = np.array([[1, 0, 0], [skew, 1, 0], [-skew, skew + 1, 1]])
    cell = mixing @ short
    edges = neighbor_list(positions, cell, MASKS[0], 4.0)
    in_short_basis = (edges[0], edges[1], edges[2] @ mixing)
    assert faults(in_short_basis, brute_force(positions, short, MASKS[0], 4.0), 4.0) == []


@pytest.mark.parametrize("pbc", MASKS, ids=name)
def test_reduced_basis_is_the_same_lattice(pbc):
    rng = np.random.default_rng(5)
    for _ in range(10):
        box = complete_cell(random_cell(rng) + rng.integers(-40, 40) * random_cell(rng), pbc)
        basis = reduced_basis(box, pbc)
        assert abs(round(np.linalg.det(basis))) == 1
        assert (basis[~pbc] == np.eye(3)[~pbc]).all()
        assert not basis[pbc][:, ~pbc].any()
        lengths = np.linalg.norm(basis @ box, axis=1)
        assert (lengths <= np.linalg.norm(box, axis=1).max() + 1e-9).all()
        assert lengths.prod() < 4 * abs(np.linalg.det(box))


@pytest.mark.parametrize("pbc", MASKS, ids=name)
@pytest.mark.parametrize("extent", [(5e5, 1, 1), (3e3, 1, 3e3), (1, 700, 700), (9e5, 9e5, 9e5)])
def test_neighbor_list_of_wide_empty_structures(pbc, extent):
    # vesin by itself divides by zero, which ends the process, or searches for minutes.
    cluster = np.array([[0, 0, 0], [1.5, 0, 0], [0, 1.3, 1.1]])
    positions = np.concatenate([cluster, cluster + extent])
    check(positions, 5.0 * np.eye(3) + 0.1, pbc, 4.0)


@pytest.mark.parametrize("sizes", [(3e3, 3e3, 5), (5, 3e3, 3e3), (9e5, 5, 5)])
def test_neighbor_list_of_flat_and_long_cells(sizes):
    positions = np.array([[0.0, 0, 0], [1, 1, 1], [1, 1, 3.5]])
    check(positions, np.diag(np.array(sizes, float)), MASKS[0], 6.0)


def test_neighbor_list_is_reproducible():
    rng = np.random.default_rng(6)
    arguments = (rng.random((500, 3)) * 20, 20 * np.eye(3), MASKS[1], 5.0)
    first, second = neighbor_list(*arguments), neighbor_list(*arguments)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_neighbor_list_of_100_000_atoms_is_linear_in_time_and_memory():
    def build(repeats):
        atoms = bulk("Po", "sc", a=3.0) * (repeats, repeats, repeats)
        start = time.perf_counter()
        receivers = neighbor_list(atoms.positions, atoms.cell[:], MASKS[0], 4.5)[1]
        seconds = time.perf_counter() - start
        assert (np.bincount(receivers) == 18).all()
        return seconds

    small = min(build(23) for _ in range(3))
    tracemalloc.start()
    large = build(47)  # 103,823 atoms, 8.5 times as many
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert large < 5 * 8.5 * small
    assert peak < 200 * 18 * 47**3


def test_neighbor_list_refuses_coincident_atoms():
    positions = np.array([[0, 0, 0], [1, 1, 1], [1, 1, 1.0005]])
    with pytest.raises(GraphError, match=r"atom 1 and atom 2 are 0\.0005 A apart .* remove the duplicate"):
        neighbor_list(positions, np.zeros((3, 3)), MASKS[-1], 5.0)
    through = np.array([[0, 0, 0], [4.0, 8, -4]])
    with pytest.raises(GraphError, match=r"atom 0 and atom 1 are 0 A apart \(shift \[-1, -2, 1\]\)"):
        neighbor_list(through, 4 * np.eye(3), MASKS[0], 5.0)
    neighbor_list(np.array([[0, 0, 0], [0, 0, 0.002]]), np.zeros((3, 3)), MASKS[-1], 5.0)


def test_neighbor_list_refuses_crowds_before_searching():
    point = np.zeros((1, 3))
    cases = [
        (point, 0.01 * np.eye(3), MASKS[0]),
        (point, np.diag([1e-4, 100.0, 100.0]), MASKS[0]),
        (point, np.diag([1e-3, 1.0, 1.0]), np.array([True, False, False])),
        (point, np.diag([0.01, 0.01, 50.0]), np.array([True, True, False])),
        (np.random.default_rng(7).random((3000, 3)), np.eye(3), MASKS[0]),
        (point, np.array([[50.0, 0, 0], [50, 1e-3, 0], [0, 0, 50]]), MASKS[0]),
        (np.zeros((200_000, 3)), np.zeros((3, 3)), MASKS[-1]),
        (np.repeat([[0.0, 0, 0], [5e4, 0, 0]], 100_000, axis=0), np.zeros((3, 3)), MASKS[-1]),
    ]
    for positions, cell, pbc in cases:
        with pytest.raises(GraphError, match="an atom would have about"):
            neighbor_list(positions, cell, pbc, 6.0)


def test_neighbor_list_refuses_atoms_too_many_cells_away():
    cell = np.array([[1.0, 0, 0], [1e4, 1, 0], [0, 0, 1]])
    with pytest.raises(GraphError, match=r"atom 1 at .* cells away.*wrap the atoms"):
        neighbor_list(np.array([[0, 0, 0], [0, 9e5, 0]]), cell, MASKS[0], 2.0)


def test_neighbor_list_imports_no_framework():
    program = (
        "import sys, numpy as np; from nequix.graphs.neighbors import neighbor_list as search;"
        "assert len(search(np.zeros((1, 3)), np.eye(3), np.ones(3, bool), 1.1)[0]) == 6;"
        "print({'torch', 'cupy', 'jax', 'ase'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "set()"


def test_neighbor_list_of_the_reference_structures():
    path = Path(os.environ.get("NEQUIX_REFERENCE", "")) / "reference_values.json"
    if not os.environ.get("NEQUIX_REFERENCE") or not path.is_file():
        reason = "NEQUIX_REFERENCE names no folder with reference_values.json"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    for structure in json.loads(path.read_text())["structures"].values():
        positions, cell, pbc = (np.array(structure[key]) for key in ("positions", "cell", "pbc"))
        check(positions, cell, pbc, 6.0)
