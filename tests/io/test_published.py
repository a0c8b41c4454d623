import hashlib
import io
import time
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nequix.core.errors import WeightsError
from nequix.core.parameters import count, manifest
from nequix.io.catalogue import ENTRIES
from nequix.io.published import parse_published, read_published
from nequix.io.weights import read_weights, write_weights
from tests.graphs.gallery import PARAMETERS, SPEC, Case, block, published, published_cases

TIME_LIMIT = 2.0
"""Seconds to refuse a file; it takes milliseconds, tracing makes it slower, and machines are shared."""

MEMORY_LIMIT = 32 << 20
"""Bytes to refuse a file: parsing a line of 1 MiB into Python objects takes most of it."""

SCALARS = block(np.float64(1.5)) + block(np.int64(3)) + block(np.bool_(True))


def _same(spec, parameters):
    assert spec == SPEC
    assert list(parameters) == [parameter.name for parameter in manifest(SPEC)]
    assert all(values.dtype == np.float32 and values.flags.writeable for values in parameters.values())
    assert all(parameters[name].tobytes() == values.tobytes() for name, values in PARAMETERS.items())


@pytest.mark.parametrize("end", [b"", b"\n", SCALARS, SCALARS + b"\n"])
def test_published_reads_the_small_model(tmp_path, end):
    _same(*read_published(Case("good", published(end=end), "").write(tmp_path)))


@pytest.mark.parametrize("case", published_cases(), ids=lambda case: case.name)
def test_published_gallery_is_refused(case, tmp_path):
    path = case.write(tmp_path)
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises(WeightsError, match=case.says) as caught:
        read_published(path)
    elapsed, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) < 1000
    assert elapsed < TIME_LIMIT
    assert peak < MEMORY_LIMIT


@pytest.mark.parametrize("name", ["absent", ""])
def test_published_refuses_a_path_that_is_not_a_file(tmp_path, name):
    with pytest.raises(WeightsError, match=r"no such file|a folder"):
        read_published(tmp_path / name)


@settings(derandomize=True, database=None, deadline=None, max_examples=400)
@given(st.data())
def test_published_with_a_flipped_byte_is_refused_or_has_the_shape(data):
    content = bytearray(published(end=SCALARS))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        spec, parameters = parse_published(io.BytesIO(content), "flipped")
    except WeightsError:
        return
    # The published format has no checksum: that is the registry's part, which knows the digests.
    assert [values.shape for values in parameters.values()] == [p.shape for p in manifest(spec)]
    assert all(np.isfinite(values).all() for values in parameters.values())


@settings(derandomize=True, database=None, deadline=None, max_examples=100)
@given(st.integers(0, len(published()) - 1))
def test_published_cut_short_is_refused(length):
    with pytest.raises(WeightsError):
        parse_published(io.BytesIO(published()[:length]), "cut")


@pytest.fixture(scope="module", params=ENTRIES.values(), ids=lambda entry: entry.name)
def released(request, published_folder):
    return request.param, published_folder / request.param.file


def test_released_file_is_the_registered_one(released):
    entry, path = released
    content = path.read_bytes()
    assert len(content) == entry.size
    assert hashlib.sha256(content).hexdigest() == entry.sha256


def test_released_file_holds_the_published_shape_bit_for_bit(released):
    _, path = released
    spec, parameters = read_published(path)
    assert count(spec) == 707_569
    assert spec.n_species == 89
    content = path.read_bytes()
    content = content[content.index(b"\n") + 1 :]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stream = io.BytesIO(content)
        for name, values in parameters.items():  # numpy.load judges the order, the shapes and the values
            judged = np.load(stream, allow_pickle=False)
            assert (judged.shape, judged.dtype) == (values.shape, np.float32), name
            assert judged.tobytes() == values.tobytes(), name


def test_released_file_survives_conversion(released, tmp_path):
    entry, path = released
    spec, parameters = read_published(path)
    write_weights(tmp_path / "model.safetensors", spec, parameters, entry.provenance)
    weights = read_weights(tmp_path / "model.safetensors")
    assert weights.spec == spec
    assert weights.provenance == entry.provenance
    assert all(weights.parameters[name].tobytes() == values.tobytes() for name, values in parameters.items())
