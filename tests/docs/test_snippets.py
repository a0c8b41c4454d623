"""The Python blocks of the pages run as they are printed, with the model that comes with nequix.

A block after ``<!-- not run: REASON -->`` is only checked for undefined names.
"""

import re
import shutil
import subprocess
import sys

import pytest

from nequix.io.catalogue import resolve
from tests.docs.test_links import PAGES

_BLOCK = re.compile(r"(<!-- not run: (?P<reason>[^\n]+) -->\n+)?```python\n(?P<code>.*?)```", re.DOTALL)


def blocks(text):
    """List line, code and reason not to run of every Python block."""
    found = _BLOCK.finditer(text)
    return [(text[: m.start("code")].count("\n") + 1, m["code"], m["reason"]) for m in found]


BLOCKS = [
    pytest.param(code, reason, id=f"{page.name}:{line}")
    for page in PAGES
    for line, code, reason in blocks(page.read_text())
]


@pytest.mark.parametrize(("code", "reason"), BLOCKS)
def test_a_block_runs_as_it_is_printed(code, reason, tmp_path, monkeypatch, capsys):
    if reason is not None:
        pytest.skip(reason)
    monkeypatch.chdir(tmp_path)
    shutil.copy(resolve("nequix-nano"), tmp_path / "nequix-nano.safetensors")
    exec(compile(code.replace("nequix-mp-1", "nequix-nano"), "block", "exec"), {"__name__": "block"})  # noqa: S102


def undefined_names(codes):
    """List what ruff says of names that a block uses and does not define."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821", "--quiet", "-"]
    run = (subprocess.run(command, input=c, capture_output=True, text=True, check=False) for c in codes)
    return [process.stdout for process in run if process.returncode]


def test_blocks_that_are_not_run_define_their_names():
    codes = [code for page in PAGES for _, code, reason in blocks(page.read_text()) if reason is not None]
    assert codes
    assert undefined_names(codes) == []


def test_a_missing_import_is_caught():
    assert "Undefined name `bulk`" in undefined_names(["atoms = bulk('Si')\n"])[0]
