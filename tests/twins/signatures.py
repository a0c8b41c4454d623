"""What an engine's files declare, read as text: nothing is imported."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

_WORDS = {r"\b(jax|torch)\b": "engine", r"\b(JAX|PyTorch)\b": "Engine", r"\b[dD]evice\b": "Device"}
METHODS = {"forward": "__call__"}  # how a PyTorch module spells its call


@dataclass(frozen=True)
class Declaration:
    """One public name of a file: a constant, a function, a class, or a method as ``Class.method``.

    Attributes:
        name: Dotted within the file.
        kind: ``constant``, ``function`` or ``class``.
        parameters: Each with its kind, its annotation and its default, and the annotation of the result;
            of a constant its annotation and its value, if that is a literal.
        docstring: With the framework's names made neutral, as in the annotations.
    """

    name: str
    kind: str
    parameters: tuple[str, ...]
    docstring: str


def neutral(text: str) -> str:
    """Replace the frameworks' names."""
    for pattern, word in _WORDS.items():
        text = re.sub(pattern, word, text)
    return text


def _parameters(function: ast.FunctionDef) -> tuple[str, ...]:
    arguments = function.args
    kinds = [("/", a) for a in arguments.posonlyargs] + [("either", a) for a in arguments.args]
    defaults = [None] * (len(kinds) - len(arguments.defaults)) + list(arguments.defaults)
    described = [(*kind, default) for kind, default in zip(kinds, defaults, strict=True)]
    described += [("*", argument, None) for argument in [arguments.vararg] if argument]
    pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    described += [("keyword", argument, default) for argument, default in pairs]
    described += [("**", argument, None) for argument in [arguments.kwarg] if argument]
    texts = [
        f"{kind} {ast.unparse(argument)}" + (f" = {ast.unparse(default)}" if default else "")
        for kind, argument, default in described
    ]
    result = f" -> {ast.unparse(function.returns)}" if function.returns else ""
    return tuple(map(neutral, [*texts, result]))


def _constants(node: ast.stmt) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _literal(node: ast.expr | None) -> str:
    """Write a value that no framework is needed for; the dialect's functions are spelled differently."""
    try:
        return repr(ast.literal_eval(node)) if node is not None else ""
    except ValueError:
        return ""


def _declared(body: list[ast.stmt], prefix: str = "", fields: bool = True) -> list[Declaration]:
    found = []
    for node in body:
        if isinstance(node, ast.FunctionDef):
            name = METHODS.get(node.name, node.name)
            if not name.startswith("_") or name in ("__init__", "__call__"):
                text = neutral(ast.get_docstring(node) or "")
                found.append(Declaration(prefix + name, "function", _parameters(node), text))
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            text = neutral(ast.get_docstring(node) or "")
            found.append(Declaration(prefix + node.name, "class", (), text))
            # The fields of a module are Equinox's way to declare parameters; those of a tuple are its
            # interface, those of a kernel decide what it is called and what it gets.
            ancestry = [node.name, *map(ast.unparse, node.bases)]
            shared = any(name == "NamedTuple" or name.endswith("Kernel") for name in ancestry)
            found += _declared(node.body, f"{node.name}.", shared)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and fields:
            details = (
                neutral(ast.unparse(getattr(node, "annotation", ast.Constant("")))),
                _literal(node.value),
            )
            names = [prefix + name for name in _constants(node) if not name.startswith("_")]
            found += [Declaration(name, "constant", details, "") for name in names]
    return found


def read_declarations(path: Path) -> list[Declaration]:
    """List the public names of a file in order, the file itself first under the name ``""``.

    Args:
        path: A Python file.
    """
    tree = ast.parse(path.read_text())
    whole = Declaration("", "file", (), neutral(ast.get_docstring(tree) or ""))
    return [whole, *_declared(tree.body)]
