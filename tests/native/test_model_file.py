"""Model files for C and C++ programs: opened, they give the digits of the model that they were made from."""

import ctypes
import dataclasses
import json
import re

import numpy as np
import pytest
import safetensors.numpy
from ase.build import bulk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nequix.calculator import NequixCalculator
from nequix.core.errors import WeightsError
from nequix.io.catalogue import ENTRIES, load_published, load_weights
from nequix.io.weights import write_weights
from nequix.native import library
from nequix.native.export import BITS, export_model, serialize
from nequix.native.model import NativeModel
from tests.kernels.engines import spec_with
from tests.native.building import ROOT, SOURCE, require_tools, run
from tests.native.models import SEEDS, native_specifications
from tests.systems import random_weights, structure, systems

SPEC = spec_with("2x0e + 1x1o", lmax=1, n_layers=2)
WEIGHTS = random_weights(SPEC, 3)


class Opened(NativeModel):
    """A model file in memory, opened by the library as a C++ program opens it."""

    def __init__(self, contents: bytes, dtype: str) -> None:
        self._library, self.handle = library.load(), ctypes.c_void_p()
        arguments = (len(contents), BITS[dtype], None, ctypes.byref(self.handle))
        message = self._library.nequix_open(contents, *arguments)
        if message:
            raise ValueError(message.decode())

    def __del__(self) -> None:
        self._library.nequix_destroy(self.handle)


def describe(contents: bytes) -> library.DescriptionStruct:
    description = library.DescriptionStruct()
    message = library.load().nequix_describe(contents, len(contents), ctypes.byref(description))
    assert not message, message
    return description


def exported(weights, precisions=tuple(BITS)) -> bytes:
    return b"".join(serialize(weights, precisions))


def assert_bit_equal(weights, contents, graph, dtype):
    for mine, theirs in zip(
        Opened(contents, dtype).evaluate_graph(graph),
        NativeModel(weights, dtype).evaluate_graph(graph),
        strict=True,
    ):
        assert np.isfinite(mine).all()
        np.testing.assert_array_equal(mine, theirs)


@given(data=st.data(), n_layers=st.sampled_from([2, 3, 1]), seed=SEEDS)
@settings(suppress_health_check=list(HealthCheck), max_examples=6)
def test_bit_equal_to_the_model_in_python(data, n_layers, seed):
    spec = data.draw(native_specifications(n_layers))
    graph, weights = data.draw(systems(spec)), random_weights(spec, seed)
    for dtype in BITS:
        assert_bit_equal(weights, exported(weights, [dtype]), graph, dtype)


@pytest.mark.parametrize("name", ["nequix-nano", "nequix-mp-1"])
def test_shipped_and_published_models(name, request, tmp_path):
    if name == "nequix-nano":
        weights = load_weights(name)
    else:
        weights = load_published(request.getfixturevalue("published_folder") / ENTRIES[name].file)
    export_model(weights, tmp_path / "model.lammps")
    contents = (tmp_path / "model.lammps").read_bytes()
    for dtype in BITS:
        assert_bit_equal(weights, contents, structure(weights.spec, 1, 5), dtype)
    description = describe(contents)
    assert description.precisions == 96
    assert description.cutoff == weights.spec.cutoff
    assert description.n_layers == weights.spec.n_layers
    assert tuple(description.atomic_numbers[: description.n_species]) == weights.spec.atomic_numbers
    assert description.digest.decode() == (weights.digest or "")
    for field in ("name", "training_data", "theory", "licence", "citation", "source"):
        expected = getattr(weights.provenance, field).encode()[:127]
        assert getattr(description, field).startswith(expected)


def test_equal_models_give_equal_files_which_other_programs_read():
    contents = exported(WEIGHTS)
    assert contents == exported(random_weights(SPEC, 3))
    assert contents != exported(random_weights(SPEC, 4))
    arrays = safetensors.numpy.load(contents)
    assert arrays["layers.0.table.32"].dtype == np.float32
    assert arrays["layers.1.table.64"].dtype == np.float64
    assert arrays["atomic_numbers"].tolist() == list(SPEC.atomic_numbers)


def test_texts_are_cut_between_characters_and_stay_on_a_line():
    extra = {"name": "a\nb" + "\u00e4" * 200, "theory": 'quoted "\\ \t', "licence": "\U0001f600" * 500}
    changed = dataclasses.replace(WEIGHTS, provenance=dataclasses.replace(WEIGHTS.provenance, **extra))
    description = describe(exported(changed, ["float32"]))
    assert description.name.decode() == "a b" + "\u00e4" * 62
    assert description.theory.decode() == 'quoted "\\  '
    assert description.licence.decode() == "\U0001f600" * 127


def resealed(contents: bytes, **metadata: str) -> bytes:
    """Change the metadata of a file without a new checksum."""
    size = int.from_bytes(contents[:8], "little")
    header = json.loads(contents[8 : 8 + size])
    header["__metadata__"].update(metadata)
    raw = json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + contents[8 + size :]


def flipped(contents: bytes, place: int) -> bytes:
    return contents[:place] + bytes([contents[place] ^ 1]) + contents[place + 1 :]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda whole: b"", "only 0 bytes"),
        (lambda whole: whole[:100], "truncated, or not in the safetensors format"),
        (lambda whole: whole[:-4], "lies beyond the end of the file"),
        (lambda whole: b"<html>" + whole, "not in the safetensors format"),
        (lambda whole: flipped(whole, len(whole) - 9), "its checksum is wrong"),
        (lambda whole: resealed(whole, theory="better"), "its checksum is wrong"),
        (lambda whole: resealed(whole, format="nequix"), "`nequix lammps export WEIGHTS FILE.lammps`"),
        (lambda whole: resealed(whole, format="pt"), "not a model file of nequix"),
        (
            lambda whole: resealed(whole, format_version="2"),
            "format version 2, and this program reads up to 1",
        ),
        (lambda whole: resealed(whole, format_version="x"), "not a whole number"),
    ],
)
def test_damaged_files_are_refused(damage, words):
    contents = damage(exported(WEIGHTS, ["float32"]))
    with pytest.raises(ValueError, match=re.escape(words)):
        Opened(contents, "float32")


def test_other_files_are_refused(tmp_path):
    write_weights(tmp_path / "model.safetensors", SPEC, WEIGHTS.parameters, WEIGHTS.provenance)
    with pytest.raises(ValueError, match="it is a weight file, not a model file"):
        Opened((tmp_path / "model.safetensors").read_bytes(), "float32")
    with pytest.raises(ValueError, match="exported without 64 bits"):
        Opened(exported(WEIGHTS, ["float32"]), "float64")
    contents = exported(WEIGHTS)
    arguments = (len(contents), 8, None, ctypes.byref(ctypes.c_void_p()))
    assert b"bits = 8, expected 32 or 64" in library.load().nequix_open(contents, *arguments)


def test_metadata_that_hide_the_format_are_refused():
    provenance = dataclasses.replace(WEIGHTS.provenance, extra={"checksum": "mine"})
    with pytest.raises(WeightsError, match="hide fields of the format"):
        serialize(dataclasses.replace(WEIGHTS, provenance=provenance))


def test_example_program_gives_the_energy_and_forces_of_the_calculator(tmp_path):
    """Compile and run examples/native/host.cpp."""
    require_tools("g++")
    export_model(load_weights("nequix-nano"), tmp_path / "nano.lammps")
    source, folder = ROOT / "examples" / "native" / "host.cpp", library.path().parent
    flags = ("-O1", "-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{SOURCE}")
    link = (f"-L{folder}", "-lnequix", f"-Wl,-rpath,{folder}")
    run("g++", *flags, source, *link, "-o", tmp_path / "host")
    printed = run(tmp_path / "host", tmp_path / "nano.lammps").splitlines()
    assert printed[0].startswith("model nequix-nano, cutoff 5 A")
    atoms = bulk("MgO", "rocksalt", 4.2, cubic=True)
    atoms = atoms[np.argsort(-atoms.numbers, kind="stable")]
    rows = np.array([line.replace("eV/A", "").replace("eV", "").split() for line in printed[1:]], float)
    scaled = [(0.1, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)]  # Mg, then O
    scaled += [(0.5, 0, 0), (0, 0.5, 0), (0, 0, 0.5), (0.5, 0.5, 0.5)]
    atoms.set_scaled_positions(scaled)
    atoms.calc = NequixCalculator("nequix-nano", backend="native", dtype="float64")
    np.testing.assert_array_equal(rows[:, 0], atoms.numbers)
    np.testing.assert_allclose(rows[:, 1], atoms.get_potential_energies(), atol=2e-10)
    np.testing.assert_allclose(rows[:, 2:], atoms.get_forces(), atol=2e-10)
    assert np.abs(atoms.get_forces()).max() > 0.1
