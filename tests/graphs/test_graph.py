"""Graphs: what is refused, what is kept as given, and that batching changes nothing."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule

from nequix.core.errors import GraphError
from nequix.core.spec import ModelSpec
from nequix.graphs.graph import Graph, batch, build_graph, graph_from_atoms
from nequix.graphs.neighbors import neighbor_list

SPEC = ModelSpec(atomic_numbers=(1, 6, 7, 8, 13, 29), avg_n_neighbors=30.0, scale=1.0, shift=0.0, cutoff=5.0)
CUBE = 4.0 * np.eye(3)
TYPES = {
    "positions": np.float64,
    "species": np.int32,
    "cell": np.float64,
    "senders": np.int32,
    "receivers": np.int32,
    "shifts": np.int32,
    "n_node": np.int32,
    "n_edge": np.int32,
    "node_graph": np.int32,
    "edge_graph": np.int32,
    "vectors": np.float64,
    "volume": np.float64,
}


def examples():
    slab = fcc111("Al", (2, 2, 3), vacuum=6.0)
    slab.pbc = (True, True, False)
    structures = [
        bulk("Cu", cubic=True),
        molecule("CH3CH2OH"),
        slab,
        Atoms("O", [[0.1, 0.2, 0.3]]),
        bulk("Cu"),
    ]
    for index, atoms in enumerate(structures):
        atoms.rattle(0.05, seed=index)
    return [graph_from_atoms(atoms, SPEC) for atoms in structures]


def assert_consistent(graph: Graph):
    sizes = {"nodes": graph.n_nodes, "edges": graph.n_edges, "graphs": graph.n_graphs}
    shapes = {
        **dict.fromkeys(("positions",), (sizes["nodes"], 3)),
        **dict.fromkeys(("species", "node_graph"), (sizes["nodes"],)),
        **dict.fromkeys(("shifts", "vectors"), (sizes["edges"], 3)),
        **dict.fromkeys(("senders", "receivers", "edge_graph"), (sizes["edges"],)),
        **dict.fromkeys(("n_node", "n_edge", "volume"), (sizes["graphs"],)),
        "cell": (sizes["graphs"], 3, 3),
    }
    for name, dtype in TYPES.items():
        assert (getattr(graph, name).dtype, getattr(graph, name).shape) == (dtype, shapes[name]), name
    assert (graph.n_node.sum(), graph.n_edge.sum()) == (graph.n_nodes, graph.n_edges)
    assert (np.diff(graph.receivers) >= 0).all()
    assert (graph.node_graph[graph.receivers] == graph.edge_graph).all()
    assert (graph.node_graph[graph.senders] == graph.edge_graph).all()


def test_build_graph_keeps_the_structure_as_given():
    positions = np.array([[0.1, 0, 0], [41.0, -7.5, 2.0]])
    graph = build_graph([8, 6], positions, CUBE, [True, True, False], SPEC)
    assert_consistent(graph)
    assert (graph.positions == positions).all()
    assert (graph.cell[0] == CUBE).all()
    assert graph.species.tolist() == [3, 1]
    assert graph.cutoff == SPEC.cutoff
    assert not graph.shifts[:, 2].any()
    senders, receivers, shifts = neighbor_list(positions, CUBE, np.array([True, True, False]), SPEC.cutoff)
    assert (graph.senders == senders).all()
    assert (graph.receivers == receivers).all()
    assert (graph.shifts == shifts).all()
    positions[:] = 0.0
    assert graph.positions[1, 0] == 41.0


def test_graph_vectors_follow_the_convention():
    for graph in examples():
        offsets = np.einsum("ek,kc->ec", graph.shifts, graph.cell[0])
        expected = graph.positions[graph.senders] - graph.positions[graph.receivers] + offsets
        np.testing.assert_allclose(graph.vectors, expected, rtol=0, atol=1e-13)
        assert (np.linalg.norm(graph.vectors, axis=1) < SPEC.cutoff).all()


def test_build_graph_accepts_plain_values():
    one = build_graph([1], [[0, 0, 0]], None, False, SPEC)
    assert (one.n_edges, one.volume.tolist()) == (0, [0.0])
    assert build_graph((1,), [(0, 0, 0)], CUBE.tolist(), 1, SPEC).n_edges == 6
    assert build_graph(np.array([1], np.uint8), np.zeros((1, 3), np.float32), CUBE, True, SPEC).n_edges == 6


def test_graph_from_atoms_needs_four_attributes():
    atoms = bulk("Cu")
    plain = SimpleNamespace(
        numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell[:], pbc=atoms.pbc
    )
    assert (graph_from_atoms(atoms, SPEC).shifts == graph_from_atoms(plain, SPEC).shifts).all()
    with pytest.raises(GraphError, match=r"list has no numbers, positions, cell, pbc; give an ase\.Atoms"):
        graph_from_atoms([atoms], SPEC)


REFUSED = {
    "no_atoms": ({"numbers": [], "positions": np.zeros((0, 3))}, "no atoms; give at least one"),
    "unknown_element": ({"numbers": [1, 79]}, r"atom 1 is Au \(Z = 79\), expected H, C-O, Al, Cu, .* choose"),
    "no_element": ({"numbers": [-1, 1]}, r"atom 0 is not an element \(Z = -1\)"),
    "dummy_element": ({"numbers": [0, 1]}, r"atom 0 is X \(Z = 0\)"),
    "fractional_number": ({"numbers": [1.5, 1.0]}, "type float64, expected one integer per atom"),
    "boolean_number": ({"numbers": [True, True]}, "type bool, expected one integer"),
    "symbols": ({"numbers": ["H", "H"]}, "expected one integer per atom"),
    "nested_numbers": ({"numbers": [[1, 1]]}, r"shape \(1, 2\)"),
    "too_few_positions": ({"positions": [[0, 0, 0]]}, r"positions have shape \(1, 3\), expected \(2, 3\)"),
    "flat_positions": ({"positions": [0, 0, 0, 1, 1, 1]}, r"positions have shape \(6,\), expected \(2, 3\)"),
    "ragged_positions": ({"positions": [[0, 0, 0], [1, 1]]}, "positions are not numbers"),
    "text_positions": ({"positions": [["a", "b", "c"]] * 2}, "positions are not numbers"),
    "nan_position": ({"positions": [[0, 0, 0], [1, np.nan, 1]]}, r"atom 1 lies at \[1\.0, nan, 1\.0\]"),
    "infinite_position": (
        {"positions": [[-np.inf, 0, 0], [1, 1, 1]]},
        r"atom 0 lies at \[-inf, 0\.0, 0\.0\]",
    ),
    "huge_position": ({"positions": [[0, 0, 0], [1, 1, 2e6]]}, r"atom 1 lies .* within 1e\+06 A"),
    "coincident_atoms": ({"positions": np.ones((2, 3))}, "atom 0 and atom 1 are 0 A apart"),
    "coincident_images": ({"positions": [[1, 1, 1], [1, 1, 5]]}, "atom 0 and atom 1 are 0 A apart"),
    "cell_lengths": ({"cell": [4, 4, 4]}, r"cell have shape \(3,\), expected \(3, 3\)"),
    "nan_cell": ({"cell": CUBE * [1, 1, np.nan]}, "cell row 0 is"),
    "no_cell": ({"cell": None}, "pbc is true along direction 0, where the cell's row is zero"),
    "zero_row": ({"cell": np.diag([4.0, 0, 4])}, "along direction 1, .* give a lattice vector there, or set"),
    "dependent_rows": ({"cell": [[4, 0, 0], [0, 4, 0], [4, 4, 0]]}, "linearly dependent"),
    "nearly_dependent_rows": ({"cell": [[4, 0, 0], [0, 4, 0], [4, 4, 1e-10]]}, "linearly dependent"),
    "dependent_plane": (
        {"cell": [[4, 0, 0], [0, 0, 9], [-8, 0, 0]], "pbc": [True, False, True]},
        r"\(rows \[0, 2\] of the cell\) are linearly dependent",
    ),
    "tiny_cell": ({"cell": 0.05 * np.eye(3)}, "an atom would have about .* the cell is too small"),
    "two_pbc": ({"pbc": [True, False]}, r"pbc = \[True, False\], expected true or false, or three"),
    "text_pbc": ({"pbc": "TTF"}, "pbc = 'TTF', expected true or false"),
    "number_pbc": ({"pbc": [1, 2, 0]}, "expected true or false"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_build_graph_refuses(name):
    changes, message = REFUSED[name]
    values = {"numbers": [1, 1], "positions": [[0, 0, 0], [1, 1, 1]], "cell": CUBE, "pbc": True, **changes}
    with pytest.raises(GraphError, match=message):
        build_graph(**values, spec=SPEC)


def test_build_graph_takes_zero_rows_where_nothing_is_periodic():
    values = ([1, 1], [[0, 0, 0], [1, 1, 1]])
    for pbc in ([True, False, False], [True, True, False], [False, True, True]):
        graph = build_graph(*values, np.where(np.array(pbc)[:, None], CUBE, 0.0), pbc, SPEC)
        assert (graph.n_edges, graph.volume.tolist()) == (
            build_graph(*values, CUBE, pbc, SPEC).n_edges,
            [0.0],
        )


def test_graph_volume_is_of_the_cell_as_given():
    def volume(cell):
        return build_graph([1], [[0, 0, 0]], cell, False, SPEC).volume[0]

    assert volume([[0, 3.0, 0], [2.0, 0, 0], [0, 0, 4.0]]) == pytest.approx(24.0, rel=1e-14)
    assert volume(np.diag([1.0, 1.0, 9e5])) == pytest.approx(9e5, rel=1e-12)
    rows = np.array([[0.1, 0.2, 0.3], [0.7, 0.1, 0.9]])
    assert np.linalg.det([*rows, 3 * rows[0] - rows[1]]) != 0.0  # only rounding
    for cell in (None, np.diag([4.0, 4.0, 0.0]), np.zeros((3, 3)), [*rows, 3 * rows[0] - rows[1]]):
        assert volume(cell) == 0.0


def test_batch_puts_graphs_side_by_side():
    graphs = examples()
    together = batch(graphs)
    assert_consistent(together)
    assert together.n_node.tolist() == [graph.n_nodes for graph in graphs]
    assert together.n_edge.tolist() == [graph.n_edges for graph in graphs]
    for name in ("positions", "species", "cell", "shifts", "vectors", "volume"):
        expected = np.concatenate([getattr(graph, name) for graph in graphs])
        np.testing.assert_array_equal(getattr(together, name), expected)
    again = batch([batch(graphs[:2]), batch(graphs[2:])])
    for name in TYPES:
        np.testing.assert_array_equal(getattr(again, name), getattr(together, name))


def test_batch_refuses_nothing_and_mixed_cutoffs():
    with pytest.raises(GraphError, match="cannot batch no graphs; give at least one"):
        batch([])
    short = ModelSpec(atomic_numbers=(1,), avg_n_neighbors=1.0, scale=1.0, shift=0.0, cutoff=4.0)
    graphs = [build_graph([1], [[0, 0, 0]], None, False, spec) for spec in (SPEC, short)]
    with pytest.raises(GraphError, match=r"different cutoffs \[4\.0, 5\.0\] A"):
        batch(graphs)
    other = replace(SPEC, atomic_numbers=(1, 2))
    assert other.atomic_numbers != SPEC.atomic_numbers
    graphs = [build_graph([1], [[0, 0, 0]], None, False, spec) for spec in (SPEC, other)]
    with pytest.raises(GraphError, match="models of different elements"):
        batch(graphs)
    untold = replace(graphs[0], atomic_numbers=())
    assert batch([untold, graphs[0]]).atomic_numbers == SPEC.atomic_numbers


def test_a_vanishing_height_of_a_slab_is_not_a_volume():
    flat = build_graph([1], [[0, 0, 0]], np.diag([3.0, 3.0, 1e-9]), (True, True, False), SPEC)
    assert flat.volume.tolist() == [0.0]
    high = build_graph([1], [[0, 0, 0]], np.diag([3.0, 3.0, 10.0]), (True, True, False), SPEC)
    np.testing.assert_allclose(high.volume, [90.0])


def test_complex_positions_are_refused():
    with pytest.raises(GraphError, match="positions are not numbers"):
        build_graph([1], [[1j, 0, 0]], None, False, SPEC)
