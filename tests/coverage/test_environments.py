import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from nequix.core.errors import GraphError
from nequix.coverage.environments import CROWD_BINS, Z, environments_of, n_bins, name_of, pair_code
from nequix.data.structure import from_atoms
from tests.calculator.small import rattled, salt, slab, water


def around(atoms, cutoff=4.0):
    return environments_of(from_atoms(atoms, "x"), cutoff)


@pytest.mark.parametrize("atoms", [salt(), slab(), water()], ids=["crystal", "slab", "molecule"])
def test_pairs_and_angles_are_those_that_a_loop_finds(atoms):
    found = around(atoms)
    radii = {1: 0.31, 8: 0.66, 11: 1.66, 17: 1.02, 29: 1.32}
    reach = [range(-2, 3) if periodic else [0] for periodic in atoms.pbc]
    images = [np.array([i, j, k]) @ atoms.cell for i in reach[0] for j in reach[1] for k in reach[2]]
    distances, angles, orders = [], [], {}
    for i, (z, x) in enumerate(zip(atoms.numbers, atoms.positions, strict=True)):
        bonds = []
        for z_other, other in zip(atoms.numbers, atoms.positions, strict=True):
            for image in images:
                r = other + image - x
                d = np.linalg.norm(r)
                if 1e-9 < d < 4.0:
                    distances.append((i, min(z, z_other), max(z, z_other), d))
                    order = np.exp((radii[z] + radii[z_other] - d) / 0.37)
                    orders[i, z, z_other] = orders.get((i, z, z_other), 0) + order
                    if d < 1.25 * (radii[z] + radii[z_other]):
                        bonds.append((z_other, r / d))
        for a in range(len(bonds)):
            for b in range(a):
                cosine = np.clip(bonds[a][1] @ bonds[b][1], -1, 1)
                ends = sorted((bonds[a][0], bonds[b][0]))
                angles.append((i, z, *ends, np.degrees(np.arccos(cosine))))
        assert found.coordination.value[i] == len(bonds)
    pairs = found.pairs
    np.testing.assert_allclose(
        sorted(zip(pairs.atom, pairs.code // Z, pairs.code % Z, pairs.value, strict=True)),
        sorted(distances),
        atol=1e-9,
    )
    codes = found.angles.code
    triples = zip(
        found.angles.atom, codes // Z**2, codes // Z % Z, codes % Z, found.angles.value, strict=True
    )
    assert len(angles) > 0
    np.testing.assert_allclose(sorted(triples), sorted(angles), atol=1e-5)
    sums = found.orders
    keys = zip(sums.atom.tolist(), (sums.code // Z).tolist(), (sums.code % Z).tolist(), strict=True)
    assert dict(zip(keys, sums.value.tolist(), strict=True)) == pytest.approx(orders)
    np.testing.assert_array_equal(found.crowd.value, np.bincount(pairs.atom, minlength=len(atoms)))


def test_every_event_has_a_bin():
    dense = bulk("Cu", "fcc", a=1.9, cubic=True)
    for atoms in (rattled(dense), Atoms("H"), salt()):
        found = around(atoms, 4.05)
        for view in ("pairs", "angles", "coordination", "crowd", "orders"):
            events = getattr(found, view)
            assert ((events.bin >= 0) & (events.bin < n_bins(view, 4.05))).all()
    assert n_bins("pairs", 4.05) == 41
    assert n_bins("crowd", 4.05) == CROWD_BINS


def test_names():
    assert name_of("pairs", int(pair_code(np.array(14), np.array(8)))) == "O-Si"
    assert name_of("angles", 14 * Z**2 + int(pair_code(np.array(8), np.array(8)))) == "O-Si-O"
    assert name_of("crowd", 29) == "Cu"
    assert name_of("orders", 29 * Z + 8) == "Cu to O"


@pytest.mark.parametrize(
    ("atoms", "words"),
    [
        (Atoms(), "no atoms"),
        (Atoms("H2", [[0, 0, 0], [0, 0, np.nan]]), "not finite"),
        (Atoms("H2", [[0, 0, 0], [0, 0, 0]]), "apart"),
        (Atoms("H", cell=[[1, 0, 0], [2, 0, 0], [0, 0, 1]], pbc=True), "linearly dependent"),
    ],
)
def test_what_is_not_a_structure_is_named(atoms, words):
    with pytest.raises(GraphError, match=f"x: .*{words}"):
        around(atoms)
