"""Commands about LAMMPS: ``nequix lammps export``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nequix.core.errors import WeightsError

app: typer.Typer = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Use models in LAMMPS and other C and C++ programs; see docs/native-c.md.",
)


class Precision(StrEnum):
    """Precisions of a model file's tables."""

    single = "single"
    double = "double"
    both = "both"


_PRECISIONS = {
    Precision.single: ("float32",),
    Precision.double: ("float64",),
    Precision.both: ("float32", "float64"),
}


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="A weight file, or a name that `nequix models` lists.")],
    target: Annotated[Path, typer.Argument(help="The .lammps file to write.")],
    precision: Annotated[Precision, typer.Option(help="Tables to write; both by default.")] = Precision.both,
    force: Annotated[bool, typer.Option("--force", help="Replace the target if it exists.")] = False,
) -> None:
    """Export a model for LAMMPS and other C and C++ programs."""
    from nequix.io.catalogue import load_weights
    from nequix.native.export import export_model

    if target.suffix != ".lammps":
        raise WeightsError(f"{target}: the target must end in .lammps")
    if target.exists() and not force:
        raise WeightsError(f"{target}: exists already; choose another name, or replace it with --force")
    weights = load_weights(model)
    export_model(weights, target, _PRECISIONS[precision])
    megabytes = target.stat().st_size / 1e6
    print(f"{target}: {weights.provenance.name}, {megabytes:.1f} MB")
