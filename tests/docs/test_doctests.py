"""The examples in docstrings run as they are printed, with the model that comes with nequix."""

import doctest
import importlib
from pathlib import Path

import pytest

import nequix
from nequix import engines
from nequix.native import library

PACKAGE = Path(nequix.__path__[0])

ENGINES = ("nequix.jax", "nequix.torch", "nequix.train", "nequix.finetune")
"""Packages that need an engine."""

WITHOUT = {
    "__version__",
    *("ResourceError", "SpecError", "SpreadExceeded", "WeightsError"),  # that of NequixError stands for them
    *("Discovery", "Kappa", "Phonons"),  # their references are large, and need the extra evaluate
    *("FineTuned", "fine_tune"),  # training takes minutes; docs/library.md has an example
    *("EnsemblePotential", "Evaluation"),  # what NequixEnsembleCalculator and evaluate use and return
}
"""Public names without an example."""


def find_examples():
    """List every docstring of the package that has an example."""
    finder, found = doctest.DocTestFinder(exclude_empty=True), []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        if ">>>" in path.read_text() and (not name.startswith(ENGINES) or engines.installed_engines()):
            found += [test for test in finder.find(importlib.import_module(name)) if test.examples]
    return found


EXAMPLES = find_examples()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_runs_as_it_is_printed(example, tmp_path, monkeypatch):
    if '"native"' in example.docstring and not library.path().is_file():
        pytest.skip("the native library is not built")
    monkeypatch.chdir(tmp_path)
    said = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    runner.run(example, out=said.append)
    assert runner.failures == 0, "".join(said)
    assert runner.tries > 0


def test_every_public_name_has_an_example():
    lacking = {name for name in nequix.__all__ if ">>>" not in (getattr(nequix, name).__doc__ or "")}
    assert lacking == WITHOUT


def test_a_wrong_example_fails():
    test = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, 0)
    runner = doctest.DocTestRunner()
    runner.run(test, out=lambda text: None)
    assert runner.failures == 1
