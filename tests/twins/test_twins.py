"""The engines are twins: the same files, names, order, parameters and docstrings."""

import dataclasses

import pytest

from tests.twins.differences import DIFFERING_VALUES, ENGINES, ONLY_FILES, ONLY_NAMES, shared_files
from tests.twins.signatures import read_declarations


def declarations(engine, file):
    found = read_declarations(ENGINES[engine] / file)
    return [declaration for declaration in found if (file, declaration.name) not in ONLY_NAMES]


def test_engines_have_the_same_files():
    files = {engine: {path.name for path in folder.rglob("*.py")} for engine, folder in ENGINES.items()}
    for file, owner in ONLY_FILES.items():
        assert [engine for engine in ENGINES if file in files[engine]] == [owner], file
    assert files["jax"] - set(ONLY_FILES) == files["torch"] - set(ONLY_FILES)


@pytest.mark.parametrize("file", shared_files())
def test_engines_declare_the_same_names_in_the_same_order(file):
    names = [[(d.name, d.kind) for d in declarations(engine, file)] for engine in ENGINES]
    assert names[0] == names[1]


@pytest.mark.parametrize("file", shared_files())
def test_engines_have_the_same_parameters(file):
    parameters = [
        {d.name: d.parameters for d in declarations(engine, file) if (file, d.name) not in DIFFERING_VALUES}
        for engine in ENGINES
    ]
    assert parameters[0] == parameters[1]


@pytest.mark.parametrize("file", shared_files())
def test_engines_have_the_same_docstrings(file):
    docstrings = [{d.name: d.docstring for d in declarations(engine, file)} for engine in ENGINES]
    assert docstrings[0] == docstrings[1]


@pytest.mark.parametrize(("file", "name"), ONLY_NAMES)
def test_exceptions_are_still_there(file, name):
    owners = [
        engine
        for engine, folder in ENGINES.items()
        if name in {d.name for d in read_declarations(folder / file)}
    ]
    assert owners == [ONLY_NAMES[file, name]]


@pytest.mark.parametrize(("file", "name"), sorted(DIFFERING_VALUES))
def test_values_that_may_differ_still_do(file, name):
    values = [{d.name: d.parameters for d in declarations(engine, file)}[name] for engine in ENGINES]
    assert values[0] != values[1]


EXAMPLE = '''
"""A file of the JAX engine."""
SIZE = 3
def f(x: jax.Array, /, n: int = 2, *rest: int, device: str | None = None, **more: int) -> jax.Device:
    """Evaluate."""
class Pair(NamedTuple):
    """Two."""
    left: jax.Array
class FusedKernel(Kernel):
    """Quick."""
    name = "fused"
    chunked = False
class Layer(eqx.Module):
    """A layer."""
    width: int
    def __call__(self, x: Array) -> Array:
        """Run."""
    def _hidden(self): ...
def _private(): ...
'''
TWIN = EXAMPLE.replace("JAX", "PyTorch").replace("jax.Device", "torch.device").replace("jax", "torch")
TWIN = TWIN.replace("__call__", "forward").replace("eqx", "nn").replace("    width: int\n", "")


def read(tmp_path, text):
    path = tmp_path / "example.py"
    path.write_text(text)
    return read_declarations(path)


def test_reader_maps_one_engine_to_the_other(tmp_path):
    found = read(tmp_path, EXAMPLE)
    names = ["", "SIZE", "f", "Pair", "Pair.left", "FusedKernel", "FusedKernel.name", "FusedKernel.chunked"]
    assert [d.name for d in found] == [*names, "Layer", "Layer.__call__"]
    assert found == read(tmp_path, TWIN)


@pytest.mark.parametrize(
    ("right", "wrong", "fields"),
    [
        ("n: int = 2", "n: int = 3", {"parameters"}),
        ("n: int = 2", "n: float = 2", {"parameters"}),
        ("*rest: int, device", "*, device", {"parameters"}),
        ("/, n", "n", {"parameters"}),
        ("-> jax.Device", "-> str", {"parameters"}),
        ('"""Run."""', '"""Run it."""', {"docstring"}),
        ("SIZE", "LENGTH", {"name"}),
        ("SIZE = 3", "SIZE = 4", {"parameters"}),
        ("left: jax.Array", "left: int", {"parameters"}),
        ("chunked = False", "chunked = True", {"parameters"}),
        ('name = "fused"', 'name = "fast"', {"parameters"}),
        ("def __call__", "def call", {"name"}),
    ],
)
def test_reader_sees_a_planted_difference(tmp_path, right, wrong, fields):
    pairs = zip(read(tmp_path, EXAMPLE), read(tmp_path, EXAMPLE.replace(right, wrong)), strict=True)
    differing = {
        field.name
        for a, b in pairs
        for field in dataclasses.fields(a)
        if getattr(a, field.name) != getattr(b, field.name)
    }
    assert differing == fields
