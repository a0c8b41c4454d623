import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from ase import Atoms
from ase.neighborlist import neighbor_list
from hypothesis import given
from hypothesis import strategies as st

from nequix.core.errors import DataError, WeightsError
from nequix.coverage.build import build_reference, tally
from nequix.coverage.environments import VIEWS
from nequix.coverage.features import FeatureSums
from nequix.coverage.histograms import added
from nequix.coverage.reference import shortest_distances
from nequix.coverage.sidecar import find_reference, read_reference, read_shipped, write_reference
from nequix.io.catalogue import BUNDLED, ENTRIES, load_weights
from nequix.io.weights import Provenance, read_weights, write_weights
from tests.calculator.small import SPEC, WEIGHTS, write_small
from tests.coverage import sets


def test_counts_are_numbers_of_structures():
    histograms = tally(sets.training(), SPEC.cutoff).histograms()
    crowd = histograms["crowd"]
    gold = [s for s in sets.training() if 79 in s.numbers]
    assert crowd.row(79).max() <= len(gold)
    assert crowd.row(79).sum() >= len(gold)
    assert crowd.row(8).sum() == 0
    assert histograms["pairs"].row(11 * 128 + 79).sum() == 0


def test_parts_add_up_to_the_whole():
    cutoff = SPEC.cutoff
    whole = tally(sets.training(), cutoff).histograms()
    parts = added(*(tally(sets.training()[part::2], cutoff).histograms() for part in (0, 1)))
    for view in VIEWS:
        np.testing.assert_array_equal(parts[view].codes, whole[view].codes)
        np.testing.assert_array_equal(parts[view].counts, whole[view].counts)


def test_the_held_out_are_part_of_the_reference():
    whole = tally(sets.training(), SPEC.cutoff).histograms()
    built = sets.reference()
    assert built.n_structures == len(sets.training())
    assert 0 < built.calibration.n_structures < len(sets.training()) / 2
    for view in VIEWS:
        np.testing.assert_array_equal(built.histograms[view].counts, whole[view].counts)


def test_features_are_whitened():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6)) + 3
    sums = FeatureSums()
    for part in np.split(features, 5):
        sums.add(part)
    known = sums.reference()
    white = known.whitened(features)
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(6), atol=1e-9)
    inverse = np.linalg.inv(np.cov(features.T, bias=True))
    difference = features - features.mean(axis=0)
    mahalanobis = np.sqrt(np.einsum("ni,ij,nj->n", difference, inverse, difference))
    np.testing.assert_allclose(known.distance(features), mahalanobis / np.sqrt(6))


def test_a_reference_comes_back_from_its_file(tmp_path):
    path = tmp_path / "x.coverage.safetensors"
    write_reference(path, sets.reference())
    assert path.stat().st_size < 100_000
    first = path.read_bytes()
    read = read_reference(path)
    for name in ("model", "checksum", "digest", "cutoff", "data", "n_structures", "n_atoms", "calibration"):
        assert getattr(read, name) == getattr(sets.reference(), name)
    for view in VIEWS:
        counts = sets.reference().histograms[view].counts
        np.testing.assert_allclose(read.histograms[view].counts, counts, rtol=0.05)
        one = counts == 1
        np.testing.assert_array_equal(read.histograms[view].counts[one], 1)
        np.testing.assert_array_equal(read.histograms[view].counts == 0, counts == 0)
    np.testing.assert_allclose(read.features.whitening, sets.reference().features.whitening, rtol=1e-6)
    assert shortest_distances(read) == shortest_distances(sets.reference())
    write_reference(path, sets.reference())
    assert path.read_bytes() == first


def test_shortest_distances_are_those_of_the_structures():
    """Compared with ASE's distances under the minimum image convention."""
    expected = {}
    for structure in sets.training():
        atoms = Atoms(structure.numbers, structure.positions, cell=structure.cell, pbc=structure.pbc)
        i, j, lengths = neighbor_list("ijd", atoms, 3.5)
        for a, b, length in zip(*np.sort([atoms.numbers[i], atoms.numbers[j]], axis=0), lengths, strict=True):
            expected[a, b] = min(length, expected.get((a, b), length))
    known = shortest_distances(sets.reference())
    assert (11, 79) not in known
    for pair, length in expected.items():
        assert length - 0.001 <= known[pair] <= length + 1e-12, pair


def test_structures_that_are_added_shorten_the_distances():
    more = tally(sets.structures([sets.short_contact()]), SPEC.cutoff)
    before = shortest_distances(sets.reference())
    after = shortest_distances(sets.reference().with_also(more))
    assert set(after) >= set(before)
    changed = {pair for pair in before if after[pair] != before[pair]}
    assert changed == {(11, 11)}
    assert after[11, 11] == more.shortest[11, 11] < before[11, 11]


def test_source_and_caveat_come_back(tmp_path):
    path = tmp_path / "x.coverage.safetensors"
    write_reference(path, dataclasses.replace(sets.reference(), source="A, MIT", caveat="only a sample"))
    assert read_reference(path).source == "A, MIT"
    assert read_reference(path).caveat == "only a sample"


def test_a_reference_of_version_1_is_read():
    """That of nequix-nano: distances are the lower edges of bins, 0.1 A wide."""
    known = find_reference("nequix-nano", load_weights("nequix-nano"))
    assert (known.source, known.caveat) == ("", "")
    pairs = shortest_distances(known)
    assert len(pairs) == len(known.histograms["pairs"].codes)
    for (a, b), length in pairs.items():
        counts = known.histograms["pairs"].row(a * 128 + b)
        assert counts[: round(length / 0.1)].sum() == 0 < counts[round(length / 0.1)]


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("pairs.shortest", [np.nan], "not a number"),
        ("pairs.shortest", [-1.0], "negative"),
        ("pairs.n_bins", [200], "do not fit"),
        ("orders.bins", [255], "beyond 80"),
        ("angles.codes", [-5], "beyond"),
    ],
)
def test_values_that_cannot_be_are_refused(tmp_path, name, values, message):
    """With a checksum that fits: other programs write files, too."""
    path = tmp_path / "x.coverage.safetensors"
    write_reference(path, sets.reference())
    with safetensors.safe_open(path, "numpy") as file:
        metadata, arrays = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    arrays[name][: len(values)] = values
    raw = safetensors.numpy.save(arrays, metadata)
    start = 8 + int.from_bytes(raw[:8], "little")
    metadata["checksum"] = hashlib.sha256(raw[start:]).hexdigest()
    safetensors.numpy.save_file(arrays, path, metadata)
    with pytest.raises(WeightsError, match=message):
        read_reference(path)


@given(place=st.integers(0, 10**6), value=st.integers(0, 255))
def test_a_damaged_file_is_refused_or_equal(tmp_path_factory, place, value):
    path = tmp_path_factory.mktemp("damaged") / "x.coverage.safetensors"
    write_reference(path, sets.reference())
    content = bytearray(path.read_bytes())
    place %= len(content)
    changed = content[place] != value
    content[place] = value
    path.write_bytes(bytes(content))
    try:
        read = read_reference(path)
    except WeightsError:
        assert changed
        return
    for view in VIEWS:
        assert len(read.histograms[view].codes) == len(sets.reference().histograms[view].codes)


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_truncated_file_is_refused(tmp_path, keep):
    path = tmp_path / "x.coverage.safetensors"
    write_reference(path, sets.reference())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError):
        read_reference(path)


def test_a_weight_file_is_not_a_reference(tmp_path):
    with pytest.raises(WeightsError, match="not a coverage reference"):
        read_reference(write_small(tmp_path))


def test_a_reference_is_refused_for_other_weights(tmp_path):
    path = write_small(tmp_path)
    place = tmp_path / "model.coverage.safetensors"
    with pytest.raises(WeightsError, match="nequix coverage build DATA"):
        find_reference(path, WEIGHTS)
    write_reference(place, sets.reference())
    assert find_reference(path, WEIGHTS).features is not None
    other = {**WEIGHTS.parameters, "readout.0e": 2 * WEIGHTS.parameters["readout.0e"]}
    with pytest.raises(WeightsError, match="belongs to other weights"):
        find_reference(path, dataclasses.replace(WEIGHTS, parameters=other))


def test_the_histograms_of_the_parent_serve_a_fine_tuned_model(tmp_path):
    place = tmp_path / "parent.coverage.safetensors"
    write_reference(place, dataclasses.replace(sets.reference(), digest="abc"))
    other = {**WEIGHTS.parameters, "readout.0e": 2 * WEIGHTS.parameters["readout.0e"]}
    told = Provenance(extra={"parent_digest": "abc"})
    tuned = dataclasses.replace(WEIGHTS, parameters=other, provenance=told)
    write_weights(tmp_path / "tuned.safetensors", SPEC, other, told)
    found = find_reference(tmp_path / "tuned.safetensors", tuned, place)
    assert found.features is None
    assert found.n_structures == sets.reference().n_structures


def test_a_model_tuned_from_one_of_the_package_finds_that_reference_without_features(tmp_path):
    other = {**WEIGHTS.parameters, "readout.0e": 2 * WEIGHTS.parameters["readout.0e"]}

    def found(**extra):
        told = Provenance(extra=extra)
        write_weights(tmp_path / "tuned.safetensors", SPEC, other, told)
        return find_reference(tmp_path / "tuned.safetensors", read_weights(tmp_path / "tuned.safetensors"))

    known = found(parent="nequix-nano", parent_digest=BUNDLED["nequix-nano"])
    assert (known.model, known.features) == ("nequix-nano", None)
    for digest in (read_shipped("nequix-mp-1").digest, ENTRIES["nequix-mp-1"].sha256):
        known = found(parent="nequix-mp-1", parent_digest=digest)
        assert (known.model, known.features) == ("nequix-mp-1", None)
    for other_parent in (
        {"parent": "nequix-nano", "parent_digest": "abc"},
        {"parent": "./nequix-nano", "parent_digest": BUNDLED["nequix-nano"]},
        {"parent": "nequix-mp-1", "parent_digest": BUNDLED["nequix-nano"]},
        {"parent": "own", "parent_digest": "unknown"},
        {},
    ):
        with pytest.raises(WeightsError, match="no coverage reference of"):
            found(**other_parent)


@pytest.mark.parametrize("n", [0, 1, 9])
def test_too_little_data_is_an_error(n):
    with pytest.raises(DataError, match=f"too few structures \\({n}\\)"):
        build_reference(sets.training()[:n], WEIGHTS, None, "little")


def test_of_one_composition_structures_are_held_out():
    built = build_reference(sets.training()[:60], WEIGHTS, None, "copper")
    assert built.calibration.n_structures == 6
    assert built.n_structures == 60


def test_without_a_backend_there_are_only_histograms():
    built = build_reference(sets.training(), WEIGHTS, None, "crystals")
    assert built.features is None
    assert "features" not in built.calibration.usual
    assert built.calibration.usual["pairs"] == sets.reference().calibration.usual["pairs"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b'\\"edge\\": {', b'\\"edge\\": {\\"x\\": NaN, ', "NaN is not a number"),
        (b'\\"edge\\": {', b'\\"edge\\": {\\"x\\": -1, ', "x = -1, expected"),
        (b'\\"edge\\": {', b'\\"edge\\": {\\"x\\": \\"1\\", ', "x = '1', expected"),
        (b'"cutoff":"3.5"', b'"cutoff":"nan"', "cutoff = nan"),
        (b'"cutoff":"3.5"', b'"cutoff":"300"', "from 0.1 to 20"),
        (b'"n_atoms":"', b'"n_atoms":"-', "n_atoms = -"),
    ],
)
def test_values_outside_the_checksum_are_checked(tmp_path, old, new, says):
    raw = (Path(__file__).parents[1] / "golden" / "v2" / "model.coverage.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = raw[8 : 8 + length]
    assert old in header
    header = header.replace(old, new, 1)
    header += b" " * (-len(header) % 8)
    path = tmp_path / "reference"
    path.write_bytes(len(header).to_bytes(8, "little") + header + raw[8 + length :])
    with pytest.raises(WeightsError, match=f"reference: .*{says}"):
        read_reference(path)
