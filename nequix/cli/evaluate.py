"""Commands that compare a model with references: ``nequix evaluate ...``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nequix.cli.inputs import require_files
from nequix.cli.items import choose_engine, chosen_items, listed, run, unless_reported, who_works
from nequix.cli.label_options import EnergyKey, ForcesKey, StressKey, VirialKey
from nequix.cli.options import Dtype, Model, execution_options
from nequix.core.errors import DataError
from nequix.execution import DEFAULT, Execution
from nequix.io.installation import needs_extra
from nequix.io.tables import format_fields, format_table

if TYPE_CHECKING:
    from nequix.evaluation.run_directory import RunDirectory

app: typer.Typer = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Compare a model with references; see docs/evaluate.md."
)

FAILED = 3
"""Exit code if a check failed; 1 is an error, 2 a wrong command line."""

_Output = Annotated[
    Path, typer.Option("-o", "--output", help="Run directory; created, or resumed if it exists.")
]
_Data = Annotated[Path, typer.Option(help="Folder of the data; see docs/evaluate.md.")]
_Only = Annotated[str | None, typer.Option(help="Comma-separated names of the items to run.")]
_Retry = Annotated[bool, typer.Option("--retry-failed", help="Rerun failed items.")]
_ReportOnly = Annotated[bool, typer.Option("--report-only", help="Run nothing; report the finished items.")]
_Workers = Annotated[int, typer.Option(min=0, help="Worker processes; 0 for none.")]
_Scheduler = Annotated[
    str | None, typer.Option(help="Address or scheduler file of a Dask cluster to run on.")
]
_THREADS = (
    "Threads of the native kernel per worker; by default OMP_NUM_THREADS, or the cores divided among the "
    "workers."
)


@app.command()
@execution_options(_THREADS)
def errors(
    sources: Annotated[list[Path], typer.Argument(help="Labelled structures; see Sources in docs/data.md.")],
    output: _Output,
    model: Model = "nequix-mp-1",
    execution: Execution = DEFAULT,
    workers: _Workers = 0,
    scheduler: _Scheduler = None,
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    stress_key: StressKey = None,
    virial_key: VirialKey = None,
) -> None:
    """Compare energies, forces and stresses with labels. Rerun the same command to resume."""
    require_files(sources)
    with needs_extra():
        from nequix.data.label_keys import LabelKeys
        from nequix.evaluation.errors.report import print_errors
        from nequix.evaluation.errors.task import Errors
    task = Errors(tuple(map(str, sources)), LabelKeys.of(energy_key, forces_key, stress_key, virial_key))
    engine = choose_engine(model, execution)
    if not output.exists():
        task.refuse_unfound()
    summary = run(task, engine, output, who_works(workers, scheduler)).summary
    for row in summary["by_file"]:
        print(f"{row['file']}: {row['n_structures']} structures")
        print_errors(row)
    if summary["by_file"]:
        print("all files together (they may contain different kinds of structures):")
    print_errors(summary)
    print(f"{output / 'report.md'}: {summary['n_structures']} structures")
    if not summary["n_structures"]:
        raise DataError(f"no structure could be evaluated; see {output / 'report.md'} for the reasons")


@app.command()
@execution_options(_THREADS)
def discovery(
    structures: Annotated[Path, typer.Argument(help="Unrelaxed structures; see docs/evaluate.md.")],
    output: _Output,
    reference: Annotated[
        Path | None, typer.Option(help="Formation energies and energies above the hull: wbm-summary.csv.gz.")
    ] = None,
    elements: Annotated[Path | None, typer.Option(help="Reference energies of the elements, JSON.")] = None,
    relaxed: Annotated[Path | None, typer.Option(help="DFT-relaxed structures, for the RMSD.")] = None,
    kappa_srme: Annotated[float | None, typer.Option(help="kappa_SRME of the same model, for CPS-1.")] = None,
    shard: Annotated[
        str | None, typer.Option(help="I/N: run only the I-th of N parts, counted from 1.")
    ] = None,
    join: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of another part to include in the report; may be repeated."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Run only the first structures.")] = None,
    model: Model = "nequix-mp-1",
    execution: Execution = DEFAULT,
    workers: _Workers = 0,
    scheduler: _Scheduler = None,
    report_only: _ReportOnly = False,
) -> None:
    """Predict which materials are stable. Matbench Discovery's task; rerun the same command to resume."""
    require_files([structures], join, [p for p in (reference, elements, relaxed) if p])
    with needs_extra():
        from nequix.evaluation.discovery.report import References, write_report
        from nequix.evaluation.discovery.shards import open_shards, take_shard
        from nequix.evaluation.discovery.task import Discovery
    _refuse_ignored(reference, elements, relaxed, kappa_srme, shard)
    task = Discovery(structures, limit=limit)
    engine = choose_engine(model, execution)
    items = take_shard(task.items(), shard)
    work = unless_reported(items, report_only, output)
    given = References() if shard else References(reference, elements, relaxed, kappa_srme)

    def report(directory: RunDirectory, identity: dict[str, Any]) -> dict[str, Any]:
        with open_shards(join or [], identity) as others:
            return write_report([directory, *others], items, identity, given)

    summary = run(task, engine, output, who_works(workers, scheduler), work, report=report).summary
    if "discovery" in summary:
        names = ("F1", "DAF", "Precision", "Recall", "Accuracy")
        print(format_fields((name, summary["discovery"]["unique_prototypes"][name]) for name in names))
    if "formation_energy" in summary and summary["formation_energy"]["MAE"] is not None:
        print(f"formation energies: MAE {1e3 * summary['formation_energy']['MAE']:.4g} meV/atom")
    print(f"{output / 'report.md'}: {summary['n']} structures, {summary['n_failed']} failures")
    if summary["n_failed"] and not summary["n"]:
        raise DataError(f"no structure could be relaxed; see {output / 'report.md'} for the reasons")


@app.command()
@execution_options(_THREADS)
def kappa(
    data: _Data,
    output: _Output,
    model: Model = "nequix-mp-1",
    execution: Execution = DEFAULT,
    workers: _Workers = 0,
    scheduler: _Scheduler = None,
    fmax: Annotated[
        float | None, typer.Option(min=0, help="Force threshold of the relaxation, eV/A; by default 0.02.")
    ] = None,
    only: _Only = None,
    retry_failed: _Retry = False,
    report_only: _ReportOnly = False,
) -> None:
    """Compare thermal conductivities with DFT. Reports kappa_SRME; rerun the same command to resume."""
    require_files([data])
    with needs_extra():
        from nequix.evaluation.kappa.task import Kappa
    task = Kappa(data) if fmax is None else Kappa(data, fmax)
    engine = choose_engine(model, execution)
    items = unless_reported(chosen_items(task, only), report_only, output, only, retry_failed)
    summary = run(task, engine, output, who_works(workers, scheduler), items, retry_failed).summary
    if summary["n"]:
        print(f"kappa_SRME {summary['kappa_srme']:.4f}  kappa_SRE {summary['kappa_sre']:.4f}")
    print(f"{output / 'report.md'}: {summary['n']} of {summary['n_materials']} materials")


@app.command()
@execution_options(_THREADS)
def physics(
    output: _Output,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the DFT references; see docs/evaluate.md.")
    ] = None,
    checks: Annotated[str | None, typer.Option(help="Comma-separated checks; by default all.")] = None,
    n_elastic: Annotated[int, typer.Option(min=0, help="Number of crystals for elastic constants.")] = 20,
    picoseconds: Annotated[float, typer.Option(min=0.05, help="Length of the dynamics, ps.")] = 1.0,
    model: Model = "nequix-mp-1",
    execution: Execution = DEFAULT,
    workers: _Workers = 0,
    scheduler: _Scheduler = None,
) -> None:
    """Check whether a model is fit for dynamics. Exit code 3 if a check fails, 1 if one could not run."""
    require_files(data and [data])
    with needs_extra():
        from nequix.evaluation.physics.task import CHECKS, Physics, elements_of
        from nequix.evaluation.physics.verdicts import Verdict
    chosen = CHECKS if checks is None else tuple(name.strip() for name in checks.split(","))
    engine = choose_engine(model, execution)
    elements = elements_of(engine.weights.spec.atomic_numbers)
    task = Physics(chosen, elements, data, n_elastic, picoseconds)
    if checks is not None:
        task.refuse_unmade()
    verdicts = run(task, engine, output, who_works(workers, scheduler)).summary
    for check, verdict in verdicts.items():
        print(f"{verdict.value:8} {check}")
    print(output / "report.md")
    if Verdict.failed in verdicts.values():
        raise typer.Exit(FAILED)
    unmade = [check for check, verdict in verdicts.items() if verdict == Verdict.unmade]
    if unmade:
        raise DataError(f"{', '.join(unmade)}: could not be run; {output / 'report.md'} lists the reasons")


@app.command()
@execution_options(_THREADS, Dtype.float64)
def phonons(
    data: _Data,
    output: _Output,
    model: Model = "nequix-mp-1",
    execution: Execution = DEFAULT,
    workers: _Workers = 0,
    scheduler: _Scheduler = None,
    fixed_cell: Annotated[
        str,
        typer.Option(help="Comma-separated materials to keep at DFT's cell, because it is under pressure."),
    ] = "",
    displacements_only: Annotated[
        bool, typer.Option("--displacements-only", help="Skip the force constants from the Hessian.")
    ] = False,
    only: _Only = None,
    retry_failed: _Retry = False,
    report_only: _ReportOnly = False,
) -> None:
    """Compare phonons with DFT. Includes thermal properties; rerun the same command to resume."""
    require_files([data])
    with needs_extra():
        from nequix.evaluation.phonons.report import COMPARED
        from nequix.evaluation.phonons.task import Phonons
    fixed = tuple(listed("--fixed-cell", fixed_cell, Phonons(data).items()))
    task = Phonons(data, fixed, with_hessian=not displacements_only)
    engine = choose_engine(model, execution)
    items = unless_reported(chosen_items(task, only), report_only, output, only, retry_failed)
    summary = run(task, engine, output, who_works(workers, scheduler), items, retry_failed).summary
    if summary["n"]:
        methods = list(summary["mae"])
        rows = [
            (title, *(f"{summary['mae'][method][name]:.4g}" for method in methods))
            for name, title in COMPARED.items()
        ]
        print(format_table(("mean absolute error", *methods), rows))
    print(f"{output / 'report.md'}: {summary['n']} of {summary['n_materials']} materials")


@app.command()
@execution_options(
    "Of the native kernel, in the engines of --beside, too; by default OMP_NUM_THREADS, or all."
)
def speed(
    output: _Output,
    sizes: Annotated[str, typer.Option(help="Comma-separated numbers of atoms.")] = "8,64,216,512,1000",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of measurement per contender.")] = 5,
    beside: Annotated[
        list[str] | None, typer.Option(help="Another engine, BACKEND:KERNEL:DTYPE; may be repeated.")
    ] = None,
    calculator: Annotated[
        list[str] | None,
        typer.Option(help="Another ASE calculator, MODULE:NAME or MODULE:NAME=JSON; may be repeated."),
    ] = None,
    memory: Annotated[bool, typer.Option("--memory/--no-memory", help="Also measure memory.")] = True,
    model: Model = "nequix-mp-1",
    execution: Execution = DEFAULT,
) -> None:
    """Time molecular-dynamics steps of diamond. Engines and other calculators take turns."""
    with needs_extra():
        from nequix.evaluation.speed.clock import timed_sizes
        from nequix.evaluation.speed.contenders import of_engine, parse_calculator, parse_engine
        from nequix.evaluation.speed.task import Speed
    engine = choose_engine(model, execution)
    others = [parse_engine(text, engine) for text in beside or []]
    others += [parse_calculator(text) for text in calculator or []]
    try:
        numbers = tuple(int(size) for size in sizes.split(","))
    except ValueError:
        raise DataError(f"--sizes {sizes}: expected numbers of atoms, separated by commas") from None
    task = Speed((of_engine(engine), *others), numbers, rounds, memory)
    for number, n_atoms in timed_sizes(numbers).items():
        if number != n_atoms:
            print(f"--sizes {number}: diamond cells have a multiple of 8 atoms; timing {n_atoms}")
    evaluation = run(task, engine, output, 0)
    for item, result in evaluation.results().items():
        if result.error is not None:
            print(f"{item}: {result.error}")
    cells = [
        (row["n_atoms"], f"{row['steps_per_day'][0]:,.0f}", row["contender"])
        if row["error"] is None
        else (row["n_atoms"], "-", f"{row['contender']}: {row['error']}")
        for row in evaluation.summary
    ]
    if cells:
        print(format_table(("atoms", "steps per day", "contender"), cells))
    else:
        raise DataError(f"no size could be timed; see {output / 'report.md'} for the reasons")
    print(output / "report.md")


def _refuse_ignored(
    reference: Path | None,
    elements: Path | None,
    relaxed: Path | None,
    kappa_srme: float | None,
    shard: str | None,
) -> None:
    """Reject comparison options of ``discovery`` that miss, or exclude, another option."""
    given = {
        "--reference": reference,
        "--elements": elements,
        "--relaxed": relaxed,
        "--kappa-srme": kappa_srme,
    }
    named = [option for option, value in given.items() if value is not None]
    if shard is not None and named:
        raise DataError(
            f"{', '.join(named)}: nothing is compared with --shard; leave it out here, and give it to the "
            "run that joins the parts (--join)"
        )
    if elements is not None and reference is None:
        raise DataError("--elements: nothing to compare with; give --reference, too")
    if kappa_srme is not None and (reference is None or relaxed is None):
        raise DataError("--kappa-srme: CPS-1 needs F1 and the RMSD; give --reference and --relaxed, too")
