"""Options that name the keys of labels, shared by all commands that read labels."""

from __future__ import annotations

from typing import Annotated

import typer

EnergyKey = Annotated[
    str | None, typer.Option(help="Key of the energies (eV), if it is not a standard one (docs/data.md).")
]
ForcesKey = Annotated[str | None, typer.Option(help="Key of the forces (eV/A), if it is not a standard one.")]
StressKey = Annotated[
    str | None, typer.Option(help="Key of the stresses (eV/A^3), if it is not a standard one.")
]
VirialKey = Annotated[
    str | None, typer.Option(help="Key of the virials (eV, -volume * stress), if it is not a standard one.")
]
