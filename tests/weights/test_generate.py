import gzip
import json

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.data import chemical_symbols

from nequix.backends import load_model
from nequix.core.errors import DataError
from nequix.core.parameters import initialise
from nequix.core.spec import ModelSpec
from nequix.data.opening import open_source
from nequix.io.weights import Provenance, Weights
from weights.nano import chemistry, derive, generate, packings, perturb, prototypes
from weights.nano.teacher import Label, equilibrate, teach_with

SMALL = generate.Plan(n_unary=14, n_ionic=(8, 4), n_metallic=(8, 2), n_pairs=20, n_packed=6, seed=3)
GROUPS = (
    prototypes.UNARY,
    prototypes.BINARY,
    prototypes.TERNARY,
    prototypes.INTERMETALLIC,
    prototypes.HEUSLER,
)


@pytest.fixture(scope="module")
def teach():
    numbers = tuple(sorted(chemical_symbols.index(symbol) for symbol in chemistry.ELEMENTS))
    spec = ModelSpec(
        atomic_numbers=numbers,
        avg_n_neighbors=20.0,
        scale=0.1,
        shift=0.0,
        cutoff=3.5,
        hidden_irreps="4x0e + 2x1o",
        lmax=1,
        n_layers=1,
        radial_mlp_size=8,
        radial_mlp_layers=1,
    )
    weights = Weights(spec, initialise(spec, seed=1, atom_energies={8: -2.0}), Provenance("tiny"))
    return teach_with(load_model(weights, "torch", dtype="float64"))


@pytest.fixture(scope="module")
def made(teach, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    generate.make_chunks(SMALL, folder, teach, (0, 1), lambda _: None)
    return folder


def _chunks(folder):
    return {path.name: path.read_bytes() for path in sorted((folder / "chunks").glob("*.gz"))}


def _frames(path):
    with gzip.open(path, "rt") as handle:
        return ase.io.read(handle, ":", format="extxyz")


def test_generation_is_the_same_for_the_same_seed_however_the_work_is_shared(made, teach, tmp_path):
    for part in ((1, 2), (0, 2)):
        generate.make_chunks(SMALL, tmp_path, teach, part, lambda _: None)
    assert _chunks(tmp_path) == _chunks(made)


def test_generation_resumes_where_it_was(made, teach, tmp_path):
    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate.make_chunks(SMALL, tmp_path, teach, (0, 1), stop)
    assert list(_chunks(tmp_path)) == ["00000.extxyz.gz"]
    with pytest.raises(DataError, match="chunks are missing"):
        generate.divide(SMALL, tmp_path)
    first = tmp_path / "chunks" / "00000.extxyz.gz"
    before = first.stat().st_mtime_ns
    generate.make_chunks(SMALL, tmp_path, teach, (0, 1), lambda _: None)
    assert first.stat().st_mtime_ns == before
    assert _chunks(tmp_path) == _chunks(made)


def test_another_plan_is_refused(made, teach):
    with pytest.raises(DataError, match="another plan"):
        generate.make_chunks(generate.Plan(seed=4), made, teach, (0, 1), lambda _: None)


def test_the_split_shares_no_family(made, monkeypatch):
    monkeypatch.setattr(derive, "SPLITS", {"valid": 0.15, "test": 0.3})  # of few families, larger parts
    counts = generate.divide(SMALL, made)
    parts = {name: _frames(made / f"{name}.extxyz.gz") for name in counts}
    assert {name: len(frames) for name, frames in parts.items()} == {
        name: sum(kinds.values()) for name, kinds in counts.items()
    }
    assert all(len(frames) > 10 for frames in parts.values())
    # Derived from the atoms: no set of elements is on two sides, no single element twice in a prototype.
    origins = {
        name: {
            (
                frozenset(atoms.get_chemical_symbols()),
                atoms.info["name"].split()[1].split(":")[0] if len(set(atoms.numbers)) == 1 else "",
            )
            for atoms in frames
        }
        for name, frames in parts.items()
    }
    assert not origins["train"] & origins["valid"]
    assert not origins["train"] & origins["test"]
    assert not origins["valid"] & origins["test"]
    converted = open_source(made / "test")
    assert len(converted) == len(parts["test"])
    assert converted[0].name == parts["test"][0].info["name"]


def test_labels_are_the_teachers_and_within_bounds(made, teach):
    frames = [atoms for path in sorted((made / "chunks").glob("*.gz")) for atoms in _frames(path)]
    assert {atoms.info["name"].split()[0] for atoms in frames} == set(derive.KINDS)
    for atoms in frames:
        assert np.linalg.norm(atoms.calc.results["forces"], axis=1).max() < 10.001
        assert perturb.is_sound(atoms)
        assert ("stress" in atoms.calc.results) == bool(atoms.pbc.all())
        most = packings.LARGEST if atoms.info["name"].startswith("packed") else 12
        assert len(atoms) <= most or not atoms.pbc.any()
    some = frames[:: len(frames) // 20]
    for atoms, label in zip(some, teach(some), strict=True):
        assert atoms.calc.results["energy"] == pytest.approx(label.energy, abs=1e-6)
        np.testing.assert_allclose(atoms.calc.results["forces"], label.forces, atol=1e-6)
        assert atoms.calc.results["energies"].sum() == pytest.approx(label.energy, abs=1e-6)


@pytest.mark.parametrize("prototype", [p for group in GROUPS for p in group], ids=lambda p: p.name)
def test_prototypes_have_their_composition_and_touch(prototype):
    elements = ("Mg", "O", "Ti")[: len(prototype.counts)]
    atoms = prototype.build(elements)
    units = len(atoms) / sum(prototype.counts)
    assert units == int(units)
    counts = [atoms.get_chemical_symbols().count(symbol) for symbol in elements]
    assert counts == [round(units * n) for n in prototype.counts]
    assert prototypes.closeness(atoms) == pytest.approx(1)


def test_every_element_is_drawn_and_charges_mostly_balance():
    bases = chemistry.bases(324, (200, 100), (80, 20), seed=0)
    assert len(set(bases)) == len(bases)
    assert {symbol for base in bases for symbol in base.elements} >= set(chemistry.ELEMENTS) - {"Br"}
    ionic = [base for base in bases if base.prototype in (*prototypes.BINARY, *prototypes.TERNARY)]
    balanced = [
        chemistry._balances(base.prototype, base.elements[:-1], base.elements[-1])
        for base in ionic
        if base.elements[-1] in chemistry.ANIONS
    ]
    assert np.mean(balanced) > 0.8


def test_equilibration_finds_the_minimum_of_a_known_energy():
    """A teacher whose energy is (ln V/V0)^2, with V0 4 % above the guess: no forces, stress known."""
    crystal = prototypes.UNARY[0].build(("Cu",))
    best = crystal.get_volume() * 1.04**3

    def teach(structures):
        labels = []
        for atoms in structures:
            x, volume = np.log(atoms.get_volume() / best), atoms.get_volume()
            labels.append(Label(np.array([5 * x**2]), np.zeros((1, 3)), np.eye(3) * 10 * x / volume))
        return labels

    (found,), seen = equilibrate([crystal], teach)
    assert found.get_volume() == pytest.approx(best, rel=0.01)
    assert len(seen) == 5
    assert all(which == 0 and isinstance(atoms, Atoms) for which, atoms, _ in seen)


def test_the_plan_is_kept_beside_the_chunks(made):
    assert json.loads((made / "plan.json").read_text())["n_ionic"] == [8, 4]


def test_a_share_of_the_compounds_has_derived_structures(teach):
    bases = list(enumerate(chemistry.bases(0, (6, 0), (0, 0), 3)))
    made = [generate._crystals(bases, teach, generate.Plan(derived=share)) for share in (0.0, 1.0)]
    kinds = [{atoms.info["name"].split()[0] for atoms in some} for some in made]
    assert kinds[0] == {"crystal"}
    assert {"crystal", "strained", "rattled"} <= kinds[1]
