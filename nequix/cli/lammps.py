"""Commands about LAMMPS: ``nequix lammps export``, ``build`` and ``sources``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nequix.core.errors import WeightsError

app: typer.Typer = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Run models in LAMMPS, over any number of MPI ranks. See docs/lammps.md.",
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
        raise WeightsError(f"{target}: already exists; choose another name, or replace it with --force")
    weights = load_weights(model)
    export_model(weights, target, _PRECISIONS[precision])
    megabytes = target.stat().st_size / 1e6
    print(f"{target}: {weights.provenance.name}, {megabytes:.1f} MB")


@app.command()
def build(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of the plugin; by default one in the user's data folder.")
    ] = None,
    lmp: Annotated[
        Path | None, typer.Option(help="Program of LAMMPS; by default this environment's.")
    ] = None,
    headers: Annotated[Path | None, typer.Option(help="Folder of LAMMPS's pair.h.")] = None,
    mpi: Annotated[Path | None, typer.Option(help="Folder of mpi.h.")] = None,
) -> None:
    """Compile the plugin for the installed LAMMPS."""
    from nequix.lammps.build import build_plugin, default_folder
    from nequix.lammps.installed import find_lammps

    lammps = find_lammps(lmp, headers, mpi)
    plugin = build_plugin(lammps, (folder or default_folder(lammps)).absolute())
    print(f"{plugin}: for {lammps}. Load it in the input:")
    print(f"  plugin load {plugin}")
    print("or in every run:")
    print(f"  export LAMMPS_PLUGIN_PATH={plugin.parent}")


@app.command()
def sources(folder: Annotated[Path, typer.Argument(help="Folder to write.")]) -> None:
    """Write the sources of the pair style, for a LAMMPS without plugins."""
    from nequix.lammps.build import write_sources

    print(f"{folder}: {len(write_sources(folder))} files and the native library; see docs/lammps.md")
