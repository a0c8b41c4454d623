"""The references that come with the package for published models."""

import shutil

import numpy as np
import pytest
import safetensors
from ase import Atoms
from ase.build import bulk

from nequix.backends import load_model
from nequix.core.errors import WeightsError
from nequix.coverage import sidecar
from nequix.coverage.assess_coverage import assess_coverage
from nequix.coverage.environments import VIEWS
from nequix.coverage.features import last_features
from nequix.coverage.limits import distance_limits
from nequix.coverage.reference import shortest_distances
from nequix.coverage.sidecar import ENDING, find_reference, read_shipped
from nequix.data.batch import graph_of
from nequix.data.opening import open_source
from nequix.io.catalogue import ENTRIES, REFERENCES, load_weights, place_bundled
from nequix.io.files import digest_file
from tests.coverage.sets import structures
from tests.data.sets import real

SAMPLE = "mattersim_benchmarks/mptrj-random-1k.extxyz.gz"
PUBLISHED = [name for name in REFERENCES if name in ENTRIES]


def magnesia(ratio: float) -> Atoms:
    atoms = bulk("MgO", "rocksalt", a=4.24 * ratio ** (1 / 3), cubic=True)
    atoms.rattle(0.02, seed=0)
    return atoms


def test_every_published_model_has_one():
    assert sorted(PUBLISHED) == sorted(ENTRIES)


@pytest.mark.parametrize("name", REFERENCES)
def test_it_is_the_pinned_file(name):
    assert digest_file(place_bundled(name, ENDING)) == REFERENCES[name]
    assert read_shipped(name).model == name


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_is_small_and_holds_statistics_only(name):
    """Counts of structures by kind and bin, one distance for each pair, moments of features: no structure."""
    path = place_bundled(name, ENDING)
    assert path.stat().st_size < 300_000
    with safetensors.safe_open(path, "numpy") as file:
        names = set(file.keys())
    counts = {f"{view}.{part}" for view in VIEWS for part in ("codes", "n_bins", "bins", "counts")}
    assert names == counts | {"pairs.shortest", "features.mean", "features.whitening"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_says_where_it_is_from_and_what_it_lacks(name):
    known = read_shipped(name)
    assert known.n_structures == 1000
    assert "MIT" in known.source
    assert "mattersim/tree/296630372948fd35613939d14d3f97daa27cefda" in known.source
    for data in ("OMat24", "sAlex"):
        assert (data in ENTRIES[name].training_data) == (data in known.caveat)
    assert ("proxy" in known.caveat) == ("OMat24" in ENTRIES[name].training_data)
    assert ("sample" in known.caveat) == ("OMat24" not in ENTRIES[name].training_data)


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_belongs_to_the_published_weights(name):
    weights = load_weights(name)
    known = find_reference(name, weights)
    assert known.digest == weights.digest
    assert known.features.mean.shape == (128,)
    assert set(known.elements) <= set(weights.spec.atomic_numbers)


@pytest.mark.parametrize("name", PUBLISHED)
def test_distances_are_those_of_chemistry(name):
    known = shortest_distances(read_shipped(name))
    for pair, low, high in (
        ((8, 12), 1.7, 2.0),
        ((14, 14), 2.1, 2.4),
        ((1, 8), 0.6, 1.0),
        ((26, 26), 2.2, 2.5),
    ):
        assert low < known[pair] < high


def test_features_of_the_sample_are_usual():
    """Three of its structures: the distances of their atoms are near one, as they are by construction."""
    source, potential = open_source([real(SAMPLE)]), load_model("nequix-mp-1", "torch")
    graphs = [graph_of(source[index], potential.spec) for index in (0, 300, 600)]
    known = read_shipped("nequix-mp-1")
    distances = np.concatenate([known.features.distance(x) for x in last_features(potential, graphs)])
    assert 0.4 < np.median(distances) < 1.5
    for index in (0, 300, 600):
        judged = assess_coverage([source[index]], known)
        assert not judged.gaps


def test_an_ordinary_crystal_is_inside_and_a_compressed_one_outside():
    known = read_shipped("nequix-mp-1")
    assert assess_coverage(structures([magnesia(1.0)]), known).verdict == "inside"
    crushed = assess_coverage(structures([magnesia(0.4)]), known)
    assert crushed.verdict != "inside"
    assert "O-Mg" in {gap.name for gap in crushed.gaps}


def test_limits_of_the_default_model():
    """Pressure turns over at 1.72 A in MgO (docs/coverage.md)."""
    limits = distance_limits(read_shipped("nequix-mp-1"), load_weights("nequix-mp-1").spec.atomic_numbers)
    assert len(limits) == 89 * 90 / 2
    assert 1.65 < limits[8, 12] < 1.75
    assert min(limits.values()) > 0.35


def test_another_file_in_its_place_is_refused(monkeypatch, tmp_path):
    path = tmp_path / f"nequix-mp-1{ENDING}"
    shutil.copy(place_bundled("nequix-mp-1", ENDING), path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    monkeypatch.setattr(sidecar, "place_bundled", lambda *_: path)
    with pytest.raises(WeightsError, match=r"has the digest .* reinstall nequix"):
        read_shipped("nequix-mp-1")
