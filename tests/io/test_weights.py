import errno
import os
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import safetensors
from hypothesis import given, settings
from hypothesis import strategies as st

from nequix.core.errors import FileError, WeightsError
from nequix.core.parameters import manifest
from nequix.io.weights import Provenance, digest_file, read_weights, write_weights
from tests.graphs.gallery import PARAMETERS, PROVENANCE, SPEC, Case, good, weight_cases

ROOT = Path(__file__).parents[2]

TIME_LIMIT = 2.0
"""Seconds to refuse a file; it takes milliseconds, tracing makes it slower, and machines are shared."""

MEMORY_LIMIT = 32 << 20
"""Bytes to refuse a file: parsing a header of 1 MiB into Python objects takes most of it."""


def _same(weights, parameters=PARAMETERS):
    assert weights.spec == SPEC
    assert list(weights.parameters) == [parameter.name for parameter in manifest(SPEC)]
    for name, values in parameters.items():
        assert weights.parameters[name].dtype == values.dtype
        assert weights.parameters[name].tobytes() == values.tobytes()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_round_trip(path, dtype):
    parameters = {name: values.astype(dtype) for name, values in PARAMETERS.items()}
    write_weights(path, SPEC, parameters, PROVENANCE)
    weights = read_weights(path)
    _same(weights, parameters)
    assert weights.provenance == PROVENANCE
    assert weights.digest == digest_file(path)
    assert all(values.flags.writeable and values.flags.aligned for values in weights.parameters.values())


def test_weights_are_the_same_bytes_every_time(path):
    write_weights(path, SPEC, dict(reversed(PARAMETERS.items())), PROVENANCE)
    assert path.read_bytes() == good()


def test_weights_open_with_the_safetensors_library(path):
    write_weights(path, SPEC, PARAMETERS, PROVENANCE)
    with safetensors.safe_open(path, "np") as file:
        assert file.metadata()["format"] == "nequix"
        assert file.metadata()["spec"] == SPEC.to_json()
        assert {name: file.get_tensor(name).tobytes() for name in file.keys()} == {  # noqa: SIM118
            name: values.tobytes() for name, values in PARAMETERS.items()
        }


def test_weights_take_transposed_and_big_endian_arrays(path):
    parameters = {name: np.asfortranarray(values).astype(">f4") for name, values in PARAMETERS.items()}
    with pytest.raises(WeightsError, match="float32"):
        write_weights(path, SPEC, parameters, PROVENANCE)
    write_weights(
        path, SPEC, {name: np.asfortranarray(values) for name, values in PARAMETERS.items()}, PROVENANCE
    )
    _same(read_weights(path))


def test_gallery_good_file_loads(tmp_path):
    _same(read_weights(Case("good", good(), "").write(tmp_path)))


@pytest.mark.parametrize("case", weight_cases(), ids=lambda case: case.name)
def test_gallery_is_refused(case, tmp_path):
    path = case.write(tmp_path)
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises(WeightsError, match=case.says) as caught:
        read_weights(path)
    elapsed, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) < 1000
    assert elapsed < TIME_LIMIT
    assert peak < MEMORY_LIMIT


def test_gallery_is_refused_in_little_memory_of_the_process(tmp_path):
    pytest.importorskip("resource")
    for case in weight_cases():
        case.write(tmp_path)
    script = """if True:
        import resource, sys
        from pathlib import Path
        from nequix.core.errors import WeightsError
        from nequix.io.weights import read_weights
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        refused = 0
        for path in Path(sys.argv[1]).glob("*.bin"):
            try:
                read_weights(path)
            except WeightsError:
                refused += 1
        print(refused, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=True,
    )
    refused, grown = map(int, done.stdout.split())
    assert refused == len(weight_cases())
    assert grown * (1 if sys.platform == "darwin" else 1024) < 2 * MEMORY_LIMIT


@settings(derandomize=True, database=None, deadline=None, max_examples=400)
@given(st.integers(0, len(good()) - 1), st.integers(1, 255))
def test_a_flipped_byte_is_refused_or_harmless(tmp_path_factory, position, mask):
    content = bytearray(good())
    content[position] ^= mask
    path = tmp_path_factory.getbasetemp() / "flipped.safetensors"
    path.write_bytes(content)
    try:
        weights = read_weights(path)
    except WeightsError:
        return
    _same(weights)  # only the text of the provenance or the white space may differ


@settings(derandomize=True, database=None, deadline=None, max_examples=100)
@given(st.integers(0, len(good()) - 1), st.binary(max_size=64))
def test_a_cut_file_is_refused(tmp_path_factory, length, end):
    path = tmp_path_factory.getbasetemp() / "cut.safetensors"
    path.write_bytes((good()[:length] + end)[: len(good()) - 1])
    with pytest.raises(WeightsError):
        read_weights(path)


@pytest.mark.parametrize(
    ("name", "says"), [("absent", "nequix models"), ("", "a folder"), ("nul\0", "cannot be opened")]
)
def test_a_path_that_is_not_a_file_is_refused(tmp_path, name, says):
    with pytest.raises(WeightsError, match=says):
        read_weights(tmp_path / name)
    with pytest.raises(WeightsError, match=says):
        digest_file(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this platform")
def test_a_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    script = "import sys; from nequix.io.weights import read_weights; read_weights(sys.argv[1])"
    arguments = [sys.executable, "-c", script, tmp_path / "pipe"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=30, cwd=ROOT, check=False)
    assert "a pipe or a device" in done.stderr


def _changed(name, values):
    return {**PARAMETERS, name: values}


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({name: v for name, v in PARAMETERS.items() if name != "readout.0e"}, "'readout.0e' missing"),
        (_changed("spy", np.zeros(3, np.float32)), "'spy' not part"),
        (
            _changed("readout.0e", PARAMETERS["readout.0e"].T),
            r"'readout.0e' has shape \[1, 3\], expected \[3, 1\]",
        ),
        (_changed("readout.0e", PARAMETERS["readout.0e"].astype(np.float64)), "all to float32 or all to"),
        ({name: v.astype(np.float16) for name, v in PARAMETERS.items()}, "dtype float16"),
        (_changed("atom_energies", np.array([0, np.inf], np.float32)), "'atom_energies': 1 of 2 values"),
    ],
)
def test_writing_refuses_wrong_parameters(path, parameters, says):
    with pytest.raises(WeightsError, match=says):
        write_weights(path, SPEC, parameters, PROVENANCE)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    "provenance",
    [
        Provenance(name=3),  # pyright: ignore[reportArgumentType]
        Provenance(name=b"bytes"),  # pyright: ignore[reportArgumentType]
        Provenance(name="\ud800"),
        Provenance(extra={"spec": "{}"}),
        Provenance(extra={"licence": "none"}),
        Provenance(extra={"essay": "x" * (1 << 20)}),
    ],
)
def test_writing_refuses_wrong_metadata(path, provenance):
    with pytest.raises(WeightsError, match="metadata"):
        write_weights(path, SPEC, PARAMETERS, provenance)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_keeps_the_old_file(path, monkeypatch, call):
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(WeightsError, match=r"No space left on device.*free disk space"):
        write_weights(path, SPEC, PARAMETERS, PROVENANCE)
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_an_interrupt_leaves_nothing_behind(path, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_weights(path, SPEC, PARAMETERS, PROVENANCE)
    assert list(path.parent.iterdir()) == []


def test_a_limit_on_file_size_leaves_nothing_behind(path):
    pytest.importorskip("resource")
    script = """if True:
        import resource, signal, sys
        sys.path.insert(0, sys.argv[1])
        from tests.graphs.gallery import PARAMETERS, PROVENANCE, SPEC
        from nequix.core.errors import WeightsError
        from nequix.io.weights import write_weights
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            write_weights(sys.argv[2], SPEC, PARAMETERS, PROVENANCE)
        except WeightsError as error:
            print(error)
    """
    arguments = [sys.executable, "-c", script, ROOT, path]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=True)
    assert "cannot be written" in done.stdout
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("target", ["absent/model.safetensors", "folder", "x" * 300])
def test_writing_to_an_impossible_place_says_so(tmp_path, target):
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileError, match="cannot be written"):
        write_weights(tmp_path / target, SPEC, PARAMETERS, PROVENANCE)
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]
