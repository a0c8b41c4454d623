"""A small model in both file formats, and every way to get such a file wrong."""

import copy
import io
import json
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from nequix.core.parameters import initialise, manifest
from nequix.core.spec import ModelSpec
from nequix.io.weight_checks import checksum
from nequix.io.weights import Provenance, write_weights

SPEC = ModelSpec(
    atomic_numbers=(1, 8),
    avg_n_neighbors=12.5,
    scale=0.75,
    shift=-1.25,
    hidden_irreps="3x0e + 2x1o",
    lmax=1,
    n_layers=2,
    radial_basis_size=4,
    radial_mlp_size=5,
    radial_mlp_layers=1,
)
PARAMETERS = {
    name: values.astype(np.float32)
    for name, values in initialise(SPEC, seed=7, atom_energies={1: -3.5, 8: -7.25}).items()
}
PROVENANCE = Provenance("small", "none", "none", "MIT", "nobody", "made by the tests", {"parent": "0" * 64})


@dataclass(frozen=True)
class Case:
    """One malformed file: its content, its size if sparse, and what the message must say."""

    name: str
    content: bytes
    says: str
    sparse_size: int = 0

    def write(self, folder: Path) -> Path:
        path = folder / f"{self.name}.bin"
        with open(path, "wb") as handle:
            handle.write(self.content)
            if self.sparse_size:
                handle.truncate(self.sparse_size)
        return path


@cache
def good() -> bytes:
    """The small model as a weight file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "good.safetensors"
        write_weights(path, SPEC, PARAMETERS, PROVENANCE)
        return path.read_bytes()


def assemble(header: dict | bytes, data: bytes) -> bytes:
    """A file of a header and the tensors' bytes."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def _take_apart() -> tuple[dict, bytes]:
    content = good()
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


HEADER, DATA = _take_apart()


def _edited(edit: Callable[[dict], object], data: bytes = DATA) -> bytes:
    """The good file with its header edited and its checksum made to fit the specification."""
    header = copy.deepcopy(HEADER)
    edit(header)
    metadata = header.get("__metadata__")
    if isinstance(metadata, dict) and isinstance(metadata.get("spec"), str) and "checksum" in metadata:
        metadata["checksum"] = checksum(metadata["spec"], [data])
    return assemble(header, data)


def _metadata(key: str, value: object) -> bytes:
    return _edited(lambda header: header["__metadata__"].update({key: value}))


def _without(key: str) -> bytes:
    return _edited(lambda header: header["__metadata__"].pop(key))


def _spec(**changes: object) -> bytes:
    return _metadata("spec", json.dumps({**json.loads(SPEC.to_json()), **changes}))


def _tensor(name: str, **changes: object) -> bytes:
    return _edited(lambda header: header[name].update(changes))


def _with_value(name: str, value: float) -> bytes:
    begin = HEADER[name]["data_offsets"][0]
    data = DATA[:begin] + struct.pack("<f", value) + DATA[begin + 4 :]
    return _edited(lambda header: None, data)


def _moved(name: str, by: int) -> bytes:
    begin, end = HEADER[name]["data_offsets"]
    return _tensor(name, data_offsets=[begin + by, end + by])


def _renamed(old: str, new: str) -> bytes:
    return _edited(lambda header: header.update({new: header.pop(old)}))


def _all_as(dtype: str) -> bytes:
    return _edited(lambda header: [header[name].update(dtype=dtype) for name in PARAMETERS])


def foreign_cases() -> list[Case]:
    """Files of other kinds, for either reader."""
    return [
        Case("empty", b"", "it again"),
        Case("zip", b"PK\x03\x04" + bytes(400), "nothing is unpickled"),
        Case("pickle", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + bytes(400), "nothing is unpickled"),
        Case("pickle_4", b"\x80\x04\x95" + bytes(5) + b"\x8c" * 400, "nothing is unpickled|it again"),
        Case("lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        Case("page", b"<!DOCTYPE html><html><body>Not found</body></html>", "web page"),
    ]


def weight_cases() -> list[Case]:
    """Malformed weight files."""
    name, matrix = "layers.1.linear_1.1o", "layers.0.linear_2.0e"
    begin, end = HEADER[name]["data_offsets"]
    raw = json.dumps(HEADER).encode()
    twice = raw[:-1] + b', "readout.0e": ' + json.dumps(HEADER["readout.0e"]).encode() + b"}"
    foreign_spec = SPEC.to_json()[:-1] + ', "lmax": 1}'
    huge = 10**400
    return [
        *foreign_cases(),
        Case("one_byte", b"\x01", "it again"),
        Case("length_only", struct.pack("<Q", 100), "it again"),
        Case("length_huge", struct.pack("<Q", 2**63) + good()[8:], "it again"),
        Case("length_sparse", struct.pack("<Q", 300 << 20) + b"{" * 99, "at most 1048576", 400 << 20),
        Case("length_zero", struct.pack("<Q", 0) + good()[8:], "header cannot be read"),
        Case("cut_header", good()[:300], "it again"),
        Case("cut_tensors", good()[:-5], "truncated"),
        Case("appended", good() + b"\0", "more behind it"),
        Case("sparse_tail", good(), "more behind it", 900 << 20),
        Case("published", published(), "nequix convert"),
        Case("not_json", assemble(b"{]" + bytes(200), DATA), "header cannot be read"),
        Case("not_utf8", assemble(b'{"\xff": 1}', DATA), "header cannot be read"),
        Case("list", assemble(b"[1, 2]", DATA), "expected a JSON object"),
        Case("nested", assemble(b'{"a":' + b"[" * 400_000, DATA), "nested|header cannot be read"),
        Case("long_integer", assemble(b'{"a":' + b"9" * 900_000 + b"}", DATA), "header cannot be read"),
        Case("many_keys", assemble(b'{"a":1' + b',"b":1' * 100_000 + b"}", DATA), "appears twice"),
        Case("duplicate_key", assemble(twice, DATA), "'readout.0e' appears twice"),
        Case("no_metadata", _edited(lambda header: header.pop("__metadata__")), "another program"),
        Case(
            "metadata_text", _edited(lambda header: header.update(__metadata__="nequix")), "another program"
        ),
        Case("other_format", _metadata("format", "pt"), "another program"),
        Case("metadata_number", _metadata("theory", 3), "'theory' is not text"),
        Case("future_version", _metadata("format_version", "2"), "install a newer nequix"),
        Case("no_version", _without("format_version"), "version None, expected a whole number"),
        *(Case(f"no_{key}", _without(key), f"'{key}'.* missing") for key in ("spec", "checksum", "licence")),
        Case("spec_not_json", _metadata("spec", "{"), "spec: .*it again"),
        Case("spec_list", _metadata("spec", "[]"), "spec: expected a JSON object"),
        Case("spec_nested", _metadata("spec", "[" * 200_000), "spec: .*nested"),
        Case("spec_twice", _metadata("spec", foreign_spec), "'lmax' appears twice"),
        Case("spec_future", _spec(version=2), "install a newer nequix"),
        Case("spec_field", _spec(colour="red"), "unknown .*colour"),
        Case("spec_layers", _spec(n_layers=1_000_000), "n_layers = 1000000"),
        Case("spec_mlp", _spec(radial_mlp_layers=1_000_000), "radial_mlp_layers = 1000000"),
        Case("spec_width", _spec(hidden_irreps="4000x0e + 4000x1o"), "expected \\[2, 4000\\]|shape"),
        Case("spec_channels", _spec(hidden_irreps="90000x0e"), "at most 4096 channels"),
        Case("spec_irreps", _spec(hidden_irreps="9" * 5000 + "x0e"), "spec: .*it again"),
        Case("spec_scale", _spec(scale=huge), "spec: .*it again"),
        Case("spec_nan", _spec(scale=float("nan")), "NaN is not a number"),
        Case("spec_numbers", _spec(atomic_numbers=[8, 1]), "ascending"),
        Case("missing", _edited(lambda header: header.pop(name)), f"'{name}' missing"),
        Case("additional", _edited(lambda header: header.update(spy=header[name])), "'spy' not part"),
        Case("renamed", _renamed(name, "layers.1.linear_1.1e"), f"'{name}' missing"),
        Case("transposed", _tensor(matrix, shape=HEADER[matrix]["shape"][::-1]), f"'{matrix}' has shape"),
        Case("three_dimensions", _tensor(name, shape=[2, 2, 1]), f"'{name}': .*dimensions"),
        Case("integers", _all_as("I64"), "dtype is 'I64', expected F32 or F64"),
        Case("halves", _all_as("BF16"), "dtype is 'BF16', expected F32 or F64"),
        Case("dtype_list", _tensor(name, dtype=["F32"]), f"'{name}': its dtype"),
        Case("doubles", _all_as("F64"), "do not span"),
        Case("negative_shape", _tensor(name, shape=[-2, -2]), f"'{name}': its shape"),
        Case("boolean_shape", _tensor(name, shape=[True, 4]), f"'{name}': its shape"),
        Case("float_shape", _tensor(name, shape=[2.0, 2.0]), f"'{name}': its shape"),
        Case("shape_text", _tensor(name, shape="22"), f"'{name}': its shape"),
        Case("shape_huge", _tensor(name, shape=[2**62, 2**62]), f"'{name}': .*do not span"),
        Case("entry_list", _edited(lambda header: header.update({name: [1]})), f"'{name}': its entry"),
        Case("entry_field", _tensor(name, spy=1), f"'{name}': its entry"),
        Case("out_of_range", _moved("readout.0e", 4096), "'readout.0e' begins at"),
        Case("far_out", _moved("readout.0e", 2**63), "'readout.0e' begins at"),
        Case("overlap", _moved(name, -4), "begins at byte .* overlap"),
        Case("reversed", _tensor(name, data_offsets=[end, begin]), f"'{name}': .*do not span"),
        Case("negative_offset", _tensor(name, data_offsets=[-16, 0]), f"'{name}': its data_offsets"),
        Case("one_offset", _tensor(name, data_offsets=[begin]), f"'{name}': .*do not span"),
        Case("nan", _with_value(name, float("nan")), f"'{name}': 1 of 4 values are NaN"),
        Case("infinite", _with_value("atom_energies", float("-inf")), "'atom_energies': 1 of 2 values"),
        Case("garbled", good()[:-3] + b"\x42" + good()[-2:], "checksum does not fit"),
    ]


def block(values: np.ndarray) -> bytes:
    """An array as NumPy saves it."""
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=values.dtype == object)
    return stream.getvalue()


def settings(**changes: object) -> bytes:
    """The line of JSON of a published file of the small model."""
    values = json.loads(SPEC.to_json())
    del values["version"]
    values.update(index_weights=False, optimizer="muon", atom_energies={"1": -3.5, "8": -7.2})
    values.update(changes)
    return json.dumps({key: value for key, value in values.items() if value is not None}).encode() + b"\n"


def published(replaced: dict[str, bytes] | None = None, line: bytes | None = None, end: bytes = b"") -> bytes:
    """A published file of the small model, with blocks replaced and more behind them."""
    blocks = {p.name: block(PARAMETERS[p.name]) for p in manifest(SPEC)} | (replaced or {})
    return (settings() if line is None else line) + b"".join(blocks.values()) + end


def _header_of(text: str, name: str = "atom_energies") -> bytes:
    raw = text.encode() + b"\n"
    start = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(raw)) + raw
    return published({name: start + PARAMETERS[name].tobytes()})


def published_cases() -> list[Case]:
    """Malformed published files."""
    name = "layers.1.linear_1.1o"
    values = PARAMETERS[name]
    diverged = values.copy()
    diverged[1, 1] = np.nan
    scalars = block(np.float64(1.5)) * 9000
    old = "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }"
    version_2 = block(values).replace(b"NUMPY\x01\x00", b"NUMPY\x02\x00")
    return [
        *foreign_cases(),
        Case("weights", good(), "does not start with the line of JSON"),
        Case("no_newline", settings()[:-1], "does not start with the line of JSON"),
        Case("long_line", b"{" * 99, "does not start with the line of JSON", 400 << 20),
        Case("not_json", b"{]\n", "first line cannot be read"),
        Case("nested", b'{"a":' + b"[" * 400_000 + b"\n", "first line cannot be read"),
        Case("duplicate_key", published(line=settings()[:-2] + b', "lmax": 1}\n'), "'lmax' appears twice"),
        Case("index_weights", published(line=settings(index_weights=True)), "index_weights = True"),
        Case("no_index_weights", published(line=settings(index_weights=None)), "lacks .*index_weights"),
        Case("no_lmax", published(line=settings(lmax=None)), "lacks .*lmax"),
        Case("bad_cutoff", published(line=settings(cutoff=-1.0)), "spec: cutoff = -1 must"),
        Case("irreps_list", published(line=settings(hidden_irreps=[1])), "spec: hidden_irreps"),
        Case("layers", published(line=settings(n_layers=1_000_000)), "n_layers = 1000000"),
        Case("width", published(line=settings(hidden_irreps="4000x0e")), "truncated: the settings"),
        Case(
            "other_width",
            published(line=settings(hidden_irreps="2x0e + 2x1o")),
            "block 4 .*linear_2.0e.*shape",
        ),
        Case("only_settings", settings(), "truncated"),
        Case("cut", published()[:-3], "'readout.0e'.* truncated|truncated.*'readout.0e'"),
        Case("cut_header", published()[: len(settings()) + 50] + bytes(2000), "block 0"),
        Case("transposed", published({name: block(values.ravel())}), f"{name}.* has shape"),
        Case("doubles", published({name: block(values.astype(np.float64))}), f"{name}.* expected <f4"),
        Case("big_endian", published({name: block(values.astype(">f4"))}), f"{name}.* expected <f4"),
        Case("fortran", published({name: block(np.asfortranarray(values))}), f"{name}.* fortran_order True"),
        Case("objects", published({name: block(values.astype(object))}), f"{name}.*'.O'"),
        Case("version_2", published({name: version_2}), f"{name}.* version 1"),
        Case("no_magic", published({name: b"\x00" * 200}), f"{name}.* is not a .npy block"),
        Case("claims", _header_of(old % "1000000000000,"), "atom_energies.* shape"),
        Case("negative", _header_of(old % "-2,"), "atom_energies.* cannot be read"),
        Case("expression", _header_of(old % "2,".rjust(60_000, "(")), "atom_energies.* cannot be read"),
        Case("literal", _header_of("[" * 5000), "atom_energies.* cannot be read"),
        Case("nan", published({name: block(diverged)}), f"'{name}': 1 of 4 values are NaN"),
        Case("garbage_end", published(end=b"garbage after it"), "after the readout"),
        Case("two_newlines", published(end=b"\n\n"), "after the readout"),
        Case("array_end", published(end=block(np.zeros(3))), "after the readout.* shape"),
        Case("float_end", published(end=block(np.float32(1))), "after the readout"),
        Case("object_end", published(end=block(np.array(None))), "after the readout"),
        Case(
            "cut_end",
            published(end=scalars[:130]),
            "after the readout.* truncated|truncated.*after the readout",
        ),
        Case("long_end", published(end=scalars), "bytes follow the readout"),
        Case("sparse_end", published(), "bytes follow the readout", 900 << 20),
    ]
