"""The engines are twins: the same bodies outside a declared list of differences."""

import ast

import pytest

from tests.twins.bodies import read_bodies
from tests.twins.differences import DIFFERING_BODIES, ENGINES, shared_files


def differing_bodies(bodies):
    """Name what differs between two engines' bodies of a file.

    A private function or constant that only one of them has can be reached only from a body that differs,
    a method also from a base class.
    """
    a, b = bodies
    one_sided = {name for name in a.keys() ^ b.keys() if "." in name or not name.startswith("_")}
    return one_sided | {name for name in a.keys() & b.keys() if a[name] != b[name]}


@pytest.mark.parametrize("file", shared_files())
def test_engines_have_the_same_bodies_outside_the_declared_list(file):
    declared = DIFFERING_BODIES.get(file, {})
    differing = differing_bodies([read_bodies(folder / file) for folder in ENGINES.values()])
    assert sorted(differing) == sorted(declared)


BODIES = '''
SIZE = {"jax": 16}
class Layer(eqx.Module):
    """A layer."""
    def __init__(self, parts):
        parts = list(parts)
        self.parts = parts
    def __call__(self, x: jax.Array):
        """Run."""
        return jnp.sum(x)  # of all
    def _run(self, x):
        return self(x) + 1
def f(x, y=jax.numpy.zeros(3)):
    """Evaluate."""
    def inner(z):
        """Explain."""
        return z if x > 0 else -z
    raise ValueError(f"JAX has {x}")
'''
TWIN_OF_BODIES = (
    BODIES.replace("jax.Array", "torch.Tensor").replace("jnp", "torch").replace("jax.numpy", "torch")
)
TWIN_OF_BODIES = TWIN_OF_BODIES.replace("jax", "torch").replace("JAX", "PyTorch").replace("eqx", "nn")
TWIN_OF_BODIES = TWIN_OF_BODIES.replace("__call__", "forward").replace("  # of all", "")
TWIN_OF_BODIES = TWIN_OF_BODIES.replace("self.parts = parts", "self.parts = nn.ModuleList(parts)")
TWIN_OF_BODIES = TWIN_OF_BODIES.replace(
    "        parts = list", "        super().__init__()\n        parts = list"
)
TWIN_OF_BODIES = TWIN_OF_BODIES.replace('"""Run."""', '"""Run it."""')


def bodies_of(tmp_path, *texts):
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.py").write_text(text)
    return [read_bodies(tmp_path / f"{number}.py") for number in range(len(texts))]


def test_bodies_of_twins_are_equal(tmp_path):
    assert TWIN_OF_BODIES != BODIES
    bodies = bodies_of(tmp_path, BODIES, TWIN_OF_BODIES)
    assert list(bodies[0]) == ["SIZE", "Layer", "Layer.__init__", "Layer.__call__", "Layer._run", "f"]
    assert differing_bodies(bodies) == set()


@pytest.mark.parametrize(
    ("right", "wrong", "names"),
    [
        ("torch.sum(x)", "torch.mean(x)", {"Layer.__call__"}),
        ("self(x) + 1", "self(x) - 1", {"Layer._run"}),
        ("x > 0", "x >= 0", {"f"}),
        ("else -z", "else z", {"f"}),
        ("torch.zeros(3)", "torch.zeros(4)", {"f"}),
        ("PyTorch has", "PyTorch had", {"f"}),
        ("list(parts)", "list(parts[1:])", {"Layer.__init__"}),
        ("nn.ModuleList(parts)", "nn.ModuleList(parts, 1)", {"Layer.__init__"}),
        (": 16", ": 32", {"SIZE"}),
        ("nn.Module)", "nn.Module, Base)", {"Layer", "Layer.__init__"}),
        ("def _run", "def _other", {"Layer._run", "Layer._other"}),
        ("        super().__init__()\n", "        super().__init__(1)\n", {"Layer.__init__"}),
    ],
)
def test_a_planted_difference_of_bodies_is_seen(tmp_path, right, wrong, names):
    assert TWIN_OF_BODIES.count(right) == 1
    assert differing_bodies(bodies_of(tmp_path, BODIES, TWIN_OF_BODIES.replace(right, wrong))) == names


@pytest.mark.parametrize("file", ["layers.py", "model.py", "convolution.py"])
def test_every_operator_of_a_twin_counts(tmp_path, file):
    twin, declared = read_bodies(ENGINES["jax"] / file), set(DIFFERING_BODIES.get(file, {}))
    tree = ast.parse((ENGINES["torch"] / file).read_text())
    shared = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name not in declared
    ]
    nested = {id(node) for f in ast.walk(tree) if getattr(f, "name", "") in declared for node in ast.walk(f)}
    operators = [node for f in shared for node in ast.walk(f) if isinstance(node, ast.BinOp)]
    for node in operators:
        if id(node) not in nested:
            node.op, right = ast.MatMult() if isinstance(node.op, ast.Mod) else ast.Mod(), node.op
            (bodies,) = bodies_of(tmp_path, ast.unparse(tree))
            assert differing_bodies([twin, bodies]) - declared, ast.unparse(node)
            node.op = right
    assert operators
