"""The command line: ``nequix COMMAND``.

Each command is a plain function in a module of this package, registered in :data:`COMMANDS`. These modules
import at their top only what every command needs; a function imports everything else itself.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from nequix import __version__
from nequix.cli import coverage, data, evaluate, lammps
from nequix.cli.assess import assess
from nequix.cli.finetune import finetune
from nequix.cli.run import predict, relax
from nequix.cli.select import select
from nequix.cli.train import train
from nequix.cli.verify import verify
from nequix.cli.weights import convert, info, models
from nequix.core.errors import NequixError
from nequix.io.interrupts import Interrupted, interruptible

COMMANDS = (predict, relax, train, finetune, select, assess, verify, convert, info, models)
"""Every command; its name is the function's."""

app: typer.Typer = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)

for _command in COMMANDS:
    app.command()(_command)
app.add_typer(data.app, name="data")
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(coverage.app, name="coverage")
app.add_typer(lammps.app, name="lammps")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"nequix {__version__}")
        raise typer.Exit


@app.callback()
def _nequix(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Run, train and adapt the Nequix foundation potential."""


def main() -> None:
    """Run the command line.

    A :class:`NequixError` becomes one line on stderr and exit code 1. Ctrl-C and SIGTERM print what was
    kept and exit with 130 and 143.
    """
    # XLA's C++ log: banners about slow compilations. Errors are raised in Python as well.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with interruptible():
            try:
                app()
            finally:
                sys.stdout.flush()  # here, where a closed pipe can still be handled
    except Interrupted as stop:
        print(f"\n{stop}", file=sys.stderr)
        sys.exit(stop.exit_code)
    except NequixError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)  # always one line
        sys.exit(1)
    except BrokenPipeError:
        # The reader, such as `head`, closed the pipe; without this, Python would report it again when it
        # flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
