"""The models that come with the package."""

import hashlib
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk

import nequix
from nequix.backends import load_model
from nequix.core.errors import WeightsError
from nequix.core.parameters import count
from nequix.graphs.graph import batch, graph_from_atoms
from nequix.io import cache, catalogue
from tests.calculator.small import rattled, slab, water

FOLDER = Path(nequix.__file__).parent / "weights"
HELD_OUT = Path(__file__).parents[2] / "weights" / "nano" / "test.extxyz.gz"


@pytest.fixture(autouse=True)
def _nothing_else(monkeypatch, tmp_path):
    """No cache, no mirror, no network."""

    def refuse(*_):
        raise AssertionError("a bundled model was looked for elsewhere")

    monkeypatch.setenv("NEQUIX_CACHE", str(tmp_path / "none"))
    monkeypatch.delenv("NEQUIX_MIRROR", raising=False)
    monkeypatch.setattr(cache, "obtain", refuse)


@pytest.mark.parametrize("name", catalogue.BUNDLED)
def test_a_bundled_model_is_the_pinned_file(name):
    path = catalogue.resolve(name)
    assert path == FOLDER / f"{name}.safetensors"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest == catalogue.BUNDLED[name] == catalogue.load_weights(name).digest
    assert f"{digest}  {path.name}" in (FOLDER / "SHA256SUMS").read_text().splitlines()
    assert catalogue.load_weights(name).provenance.name == name


def test_every_file_beside_it_is_known():
    names = {path.name.removesuffix(".safetensors") for path in FOLDER.glob("*.safetensors")}
    references = {f"{name}.coverage" for name in catalogue.REFERENCES}
    assert names == {*catalogue.BUNDLED, *references}


def test_another_file_in_its_place_is_refused(monkeypatch):
    monkeypatch.setitem(catalogue.BUNDLED, "nequix-nano", "0" * 64)
    with pytest.raises(WeightsError, match="expected 0000"):
        catalogue.load_weights("nequix-nano")


def test_nequix_nano_is_small_and_knows_many_elements():
    weights = catalogue.load_weights("nequix-nano")
    assert 50_000 <= count(weights.spec) <= 100_000
    assert len(weights.spec.atomic_numbers) == 60
    assert "nequix-mp-1" in weights.provenance.training_data
    assert "Teddy Koker" in weights.provenance.licence


def test_nequix_nano_gives_equal_numbers_in_both_engines():
    crystal = rattled(bulk("MgO", "rocksalt", a=4.2, cubic=True), 3)
    results = []
    for backend in ("jax", "torch"):
        potential = load_model("nequix-nano", backend, dtype="float64")
        graphs = [graph_from_atoms(atoms, potential.spec) for atoms in (crystal, slab(), water())]
        results.append(potential.evaluate(batch(graphs)))
    one, other = results
    np.testing.assert_allclose(one.energies, other.energies, atol=1e-10)
    np.testing.assert_allclose(one.forces, other.forces, atol=1e-10)
    np.testing.assert_allclose(one.stress[:2], other.stress[:2], atol=1e-10)


@pytest.mark.parametrize(
    ("name", "n_structures", "energy_error", "force_error"),
    [("test", 1928, 39.8, 92.1), ("test-packed", 667, 36.0, 253.0)],
)
def test_nequix_nano_has_the_errors_that_its_card_states(name, n_structures, energy_error, force_error):
    """On the held-out structures, mean absolute errors: meV/atom, meV/A of a component."""
    frames = ase.io.read(HELD_OUT.with_name(f"{name}.extxyz.gz"), ":")
    potential = load_model("nequix-nano", "torch")
    energy, forces = [], []
    for start in range(0, len(frames), 50):
        some = frames[start : start + 50]
        results = potential.evaluate(batch([graph_from_atoms(atoms, potential.spec) for atoms in some]))
        labels = [(atoms.calc.results["energy"], len(atoms)) for atoms in some]
        energy += [(e - label) / n for e, (label, n) in zip(results.energy, labels, strict=True)]
        forces.append(results.forces - np.concatenate([atoms.calc.results["forces"] for atoms in some]))
    assert len(frames) == n_structures
    assert 1000 * np.abs(energy).mean() == pytest.approx(energy_error, rel=0.005)
    assert 1000 * np.abs(np.concatenate(forces)).mean() == pytest.approx(force_error, rel=0.005)
