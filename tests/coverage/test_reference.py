import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nequix.core.errors import DataError, WeightsError
from nequix.coverage.build import build_reference, tally
from nequix.coverage.environments import VIEWS
from nequix.coverage.features import FeatureSums
from nequix.coverage.histograms import added
from nequix.coverage.sidecar import find_reference, read_reference, write_reference
from nequix.io.catalogue import BUNDLED
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
    write_reference(path, sets.reference())
    assert path.read_bytes() == first


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


def test_a_weight_file_is_no_reference(tmp_path):
    with pytest.raises(WeightsError, match="no coverage reference"):
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
    for other_parent in (
        {"parent": "nequix-nano", "parent_digest": "abc"},
        {"parent": "./nequix-nano", "parent_digest": BUNDLED["nequix-nano"]},
        {"parent": "nequix-mp-1", "parent_digest": BUNDLED["nequix-nano"]},
        {},
    ):
        with pytest.raises(WeightsError, match="no coverage reference"):
            found(**other_parent)


@pytest.mark.parametrize("n", [0, 1, 9])
def test_too_little_data_is_an_error(n):
    with pytest.raises(DataError, match=f"too few structures \\({n}\\)"):
        build_reference(sets.training()[:n], WEIGHTS, None, "little")


def test_of_one_composition_structures_are_held_out():
    built = build_reference(sets.training()[:60], WEIGHTS, None, "copper")
    assert built.calibration.n_structures == 6
    assert built.n_structures == 60


def test_without_a_backend_there_are_histograms_alone():
    built = build_reference(sets.training(), WEIGHTS, None, "crystals")
    assert built.features is None
    assert "features" not in built.calibration.usual
    assert built.calibration.usual["pairs"] == sets.reference().calibration.usual["pairs"]
