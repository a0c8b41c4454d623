"""What type checkers know about the package, measured by pyright."""

import json
import subprocess
import sys

import pytest

import nequix

LEAST = 0.98
"""Share of the package's public symbols whose types must be known."""


def test_the_types_of_public_names_are_known():
    pytest.importorskip("pyright", reason="pyright comes with the extra dev")
    command = [sys.executable, "-m", "pyright", "--verifytypes", "nequix", "--ignoreexternal", "--outputjson"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
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
