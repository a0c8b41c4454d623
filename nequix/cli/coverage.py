"""Commands that compare structures with what a model was trained on: ``nequix coverage``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from nequix.cli.data import count_structures
from nequix.cli.inputs import require_files
from nequix.cli.options import Force, Model, execution_options, make_calculator
from nequix.core.errors import DataError
from nequix.execution import DEFAULT, Execution
from nequix.io.installation import needs_extra
from nequix.io.progress import progress_bar
from nequix.io.tables import format_item

if TYPE_CHECKING:
    from nequix.calculator import NequixCalculator
    from nequix.coverage.reference import Reference
    from nequix.io.weights import Weights

_CHECK = "check"


class _Group(TyperGroup):
    """``nequix coverage TARGET`` is short for ``nequix coverage check TARGET``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = next((word for word in args if not word.startswith("-")), None)
        if args and args != ["--help"] and named not in self.commands:
            args = [_CHECK, *args]
        return super().parse_args(ctx, args)


app: typer.Typer = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Compare structures with a model's training data. See docs/coverage.md.",
)

ReferenceOption = Annotated[
    Path | None, typer.Option(help="Reference file; by default the one that belongs to the model.")
]
Also = Annotated[
    list[Path] | None,
    typer.Option(help="More structures to count as known, e.g. those used for fine-tuning."),
]
Features = Annotated[
    bool, typer.Option("--features/--no-features", help="Also compare the model's features; needs a backend.")
]


@app.command(_CHECK)
@execution_options(threads=None)
def check(
    target: Annotated[list[Path], typer.Argument(help="Structures of any format that ASE reads.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for report.md, figures and results.json.")
    ] = None,
    reference: ReferenceOption = None,
    also: Also = None,
    features: Features = True,
    model: Model = "nequix-mp-1",
    execution: Execution = DEFAULT,
) -> None:
    """Compare structures with the training set. Each is inside, edge or outside, and gaps are named."""
    from nequix.coverage.assess_coverage import assess_coverage
    from nequix.coverage.report import compared_with, print_coverage
    from nequix.data.opening import read_structures
    from nequix.io.catalogue import load_weights
    from nequix.io.files import make_folder

    require_files(target, also, reference and [reference])
    weights = load_weights(model)
    known = load_reference(model, weights, reference, also)
    calculator = None
    if features and known.features is not None:
        calculator = make_calculator(model, execution, weights=weights)
    if output is not None:  # report problems with the folder now, not after the work
        with needs_extra():
            import matplotlib  # noqa: F401
        make_folder(output)
    with progress_bar("coverage") as bar:
        structures = read_structures(target, bar.advance)
        found = assess_coverage(structures, known, None if calculator is None else calculator.potential)
    print_coverage(found)
    print(format_item("note:", compared_with(known)))
    if output is not None:
        from nequix.coverage.report import write_report

        write_report(output, found, known, identity_of(target, known, weights, calculator))
        print(output / "report.md")


@app.command()
@execution_options(threads=None)
def build(
    data: Annotated[list[Path], typer.Argument(help="The training set; see Sources in docs/data.md.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Reference file; by default beside the model's file."),
    ] = None,
    description: Annotated[
        str | None, typer.Option(help="Description of the data; by default the file names.")
    ] = None,
    source: Annotated[str, typer.Option(help="Origin and licence of the data.")] = "",
    caveat: Annotated[
        str, typer.Option(help="Caveat that reports repeat, e.g. that the data are only a sample.")
    ] = "",
    every: Annotated[int, typer.Option(min=1, help="Use every N-th structure.")] = 1,
    features: Features = True,
    force: Force = False,
    model: Model = "nequix-mp-1",
    execution: Execution = DEFAULT,
) -> None:
    """Compute a model's reference. `nequix coverage` needs it once, from the training set."""
    from nequix.coverage.build import build_reference
    from nequix.coverage.sidecar import place_beside, write_reference
    from nequix.data.opening import open_source
    from nequix.data.sources import Subset
    from nequix.io.catalogue import load_weights

    target = output or place_beside(model)
    if not target.absolute().parent.is_dir():
        raise DataError(f"{target}: cannot be written there; create its folder, or choose another name")
    if target.exists() and not force:
        raise DataError(f"{target}: already exists; choose another name, or replace it with --force")
    structures, weights = open_source(data), load_weights(model)
    if every > 1:
        structures = Subset(structures, range(0, len(structures), every))
    potential = make_calculator(model, execution, weights=weights).potential if features else None
    description_of_data = description or ", ".join(path.name for path in data)
    description_of_data += f", one structure in {every}" if every > 1 else ""
    with progress_bar("coverage build", count_structures(structures)) as bar:
        built = build_reference(
            structures, weights, potential, description_of_data, bar.advance, source=source, caveat=caveat
        )
    write_reference(target, built)
    print(f"{target}: {built.n_structures} structures, {len(built.elements)} elements")


def load_reference(
    model: str, weights: Weights, reference: Path | None, also: list[Path] | None
) -> Reference:
    """Read a model's reference and add more known structures.

    Args:
        model: A known name or a path.
        weights: The model.
        reference: The file; by default the one beside the model's.
        also: Files of more structures.
    """
    from nequix.coverage.build import tally
    from nequix.coverage.sidecar import find_reference
    from nequix.data.opening import read_structures

    known = find_reference(model, weights, reference)
    if also:
        counted = tally(read_structures(also), known.cutoff)
        known = known.with_also(counted)
    return known


def identity_of(
    target: list[Path], known: Reference | None, weights: Weights, calculator: NequixCalculator | None
) -> dict[str, Any]:
    """Describe model, engine and settings for a report.

    Args:
        target: Files of the target.
        known: The reference, if there is one.
        weights: The model.
        calculator: What ran it; None if it was not asked.
    """
    from nequix.evaluation.digests import describe_paths
    from nequix.io.provenance import describe_model

    engine: dict[str, Any] = dict.fromkeys(("backend", "kernel", "dtype", "device"))
    if calculator is not None:
        engine = {"backend": calculator.backend, "kernel": calculator.kernel, "dtype": calculator.dtype}
        engine["device"] = calculator.device
    settings = {
        "target": describe_paths(target),
        "reference": known and known.data,
        "features": calculator is not None,
    }
    engine["model"] = describe_model(weights)
    return {"task": "coverage", "settings": settings, "engine": engine}
