"""The bodies of an engine's functions as trees, with what the two frameworks spell differently made equal."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.twins.signatures import METHODS, neutral

SPELLINGS = {
    "jnp": "engine",
    "jax.numpy": "engine",
    "jax.Array": "engine.Array",
    "torch.Tensor": "engine.Array",
    "jax.Device": "engine.Device",
    "torch.device": "engine.Device",
    "eqx.Module": "engine.Module",
    "nn.Module": "engine.Module",
    "jax": "engine",
    "torch": "engine",
}
"""Names of the frameworks, and the one name that both get; the longest name that fits counts."""

CONTAINERS = {"nn.ParameterDict", "nn.ModuleList", "nn.Buffer"}
"""What PyTorch registers the parts of a module with; Equinox takes them as they are."""


class _Neutral(ast.NodeTransformer):
    """Replace the frameworks' spellings, and leave out docstrings and what PyTorch's modules begin with."""

    def __init__(self, in_module: bool) -> None:
        self._in_module = in_module

    def _spelled(self, node: ast.Attribute | ast.Name) -> ast.expr:
        text = ast.unparse(node)
        return ast.parse(SPELLINGS[text], mode="eval").body if text in SPELLINGS else node

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._spelled(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        found = self._spelled(node)
        return found if found is not node else self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
        if node.value is None:
            return self.generic_visit(node)
        return self.visit(ast.Assign([node.target], node.value, lineno=node.lineno))

    def visit_Call(self, node: ast.Call) -> ast.expr:
        if ast.unparse(node.func) in CONTAINERS and len(node.args) == 1 and not node.keywords:
            return self.visit(node.args[0])
        return self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return ast.Constant(neutral(node.value)) if isinstance(node.value, str) else node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.name = METHODS.get(node.name, node.name)
        node.body = [s for s in node.body if not self._is_left_out(s)] or [ast.Pass()]
        return self.generic_visit(node)

    def _is_left_out(self, statement: ast.stmt) -> bool:
        if not isinstance(statement, ast.Expr):
            return False
        if isinstance(
            statement.value, ast.Constant
        ):  # a docstring, which another test compares, or an ellipsis
            return True
        return self._in_module and ast.unparse(statement) == "super().__init__()"


def _bodies(body: list[ast.stmt], prefix: str = "", in_module: bool = False) -> dict[str, str]:
    found = {}
    for node in body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value and not prefix:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            found[ast.unparse(target)] = ast.unparse(_Neutral(False).visit(node))
        elif isinstance(node, ast.FunctionDef):
            name = prefix + METHODS.get(node.name, node.name)
            found[name] = ast.unparse(_Neutral(in_module).visit(node))
        elif isinstance(node, ast.ClassDef):
            bases = [ast.unparse(base) for base in node.bases]
            heading = ast.ClassDef(node.name, node.bases, node.keywords, [ast.Pass()], node.decorator_list)
            found[prefix + node.name] = ast.unparse(_Neutral(False).visit(heading))
            found |= _bodies(node.body, f"{prefix}{node.name}.", bases == ["nn.Module"])
    return found


def read_bodies(path: Path) -> dict[str, str]:
    """Map every class, function, method and constant of a file, private ones too, to its normalised source.

    Two sources are equal if and only if their syntax trees are, apart from the frameworks' spellings
    docstrings and the types of variables: comments and layout do not count.

    Args:
        path: A Python file.
    """
    return _bodies(ast.parse(path.read_text()).body)
