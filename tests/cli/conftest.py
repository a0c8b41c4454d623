"""The command line, run in this process."""

import sys

import pytest

from nequix import cli


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command; return its exit code, and what it printed on either stream."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["nequix", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        output = capsys.readouterr()
        return caught.value.code, output.out, output.err

    return run
