"""The package's own imports: no cycle between files, and no import from a lower room of a higher one."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "nequix"

# From the lowest room to the highest; a file imports from its own room and from lower ones.
ROOMS = (
    ("core",),
    ("graphs",),
    ("io",),
    ("native",),
    (
        "devices",
        "potential",
        "kernel",
        "native.kernel",
        "kernel_table",
        "e3nn_layout",
        "engines",
        "engine_potential",
        "forks",
        "isolation",
    ),
    ("native.potential", "jax", "torch"),
    ("backends", "blas_threads", "cell_relaxation"),
    ("data",),
    ("metrics",),
    ("coverage",),
    ("distance_guard",),
    ("calculator", "ensemble", "execution"),
    ("train",),
    ("evaluation",),
    ("coverage.report", "finetune", "verify"),
    ("assess",),
    ("workflows",),
)

LAZY = {("native", "native.potential")}
"""A package that exports a name of a higher room when it is asked for."""


def module_of(path: Path) -> str:
    """Name a file as it is imported, without the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imported(tree: ast.AST, known: set[str]) -> set[str]:
    """Find the modules of the package that a file imports, in functions too, other than for types."""
    names = set()
    for node in ast.iter_child_nodes(tree):
        if _is_type_checking(node):
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("nequix"):
            inside = node.module.partition(".")[2]
            for alias in node.names:
                longer = f"{inside}.{alias.name}".lstrip(".")
                names.add(longer if longer in known else inside)
        elif isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[2] for alias in node.names if alias.name.startswith("nequix")}
        names |= imported(node, known)
    return names & known


def read_graph() -> dict[str, set[str]]:
    """Map every file of the package to the files that it imports."""
    paths = {module_of(path): path for path in PACKAGE.rglob("*.py")}
    return {name: imported(ast.parse(path.read_text()), set(paths)) - {""} for name, path in paths.items()}


def level(module: str) -> int:
    """Return the number of a module's room; what no room names is above all of them."""
    best = (0, len(ROOMS))
    for number, room in enumerate(ROOMS):
        for name in room:
            if module == name or module.startswith(f"{name}."):
                best = max(best, (len(name), number))
    return best[1]


def test_no_files_import_each_other_in_a_circle():
    try:
        tuple(TopologicalSorter(read_graph()).static_order())
    except CycleError as error:
        pytest.fail(f"a cycle of imports: {' -> '.join(error.args[1])}")


def test_no_room_imports_from_a_higher_one():
    upward = [
        f"{name} imports {other}"
        for name, others in read_graph().items()
        for other in others
        if level(other) > level(name) and (name, other) not in LAZY
    ]
    assert upward == []


def test_the_reader_finds_imports_in_functions_and_leaves_out_those_for_types():
    text = """
from typing import TYPE_CHECKING
from nequix import engines
if TYPE_CHECKING:
    from nequix.calculator import NequixCalculator
def late():
    from nequix.data.opening import open_source
    import nequix.io.files
"""
    known = {"engines", "calculator", "data.opening", "io.files"}
    assert imported(ast.parse(text), known) == {"engines", "data.opening", "io.files"}
