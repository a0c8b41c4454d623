"""What type checkers know about the package, measured by pyright."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import nequix

ROOT = Path(__file__).parents[1]

LEAST = 0.98
"""Share of the package's public symbols whose types must be known."""


def test_the_types_of_public_names_are_known():
    pytest.importorskip("pyright", reason="pyright comes with the extra dev")
    command = [sys.executable, "-m", "pyright", "--verifytypes", "nequix", "--ignoreexternal", "--outputjson"]
    # pyright asks the first python on the path where packages are, and does not see every editable one.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)["typeCompleteness"]
    assert report["packageName"] == "nequix"
    unknown = [
        symbol["name"] for symbol in report["symbols"] if symbol["isExported"] and not symbol["isTypeKnown"]
    ]
    assert report["completenessScore"] >= LEAST, unknown
    public = {
        f"{getattr(nequix, name).__module__}.{name}" for name in nequix.__all__ if name != "__version__"
    }
    known = {symbol["name"] for symbol in report["symbols"] if symbol["isTypeKnown"]}
    assert public <= known
    assert not [name for name in unknown if name.rpartition(".")[0] in public]
