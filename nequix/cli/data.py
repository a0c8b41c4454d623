"""Commands about data: ``nequix data get``, ``convert``, ``stats`` and ``check``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nequix.cli.label_options import EnergyKey, ForcesKey, StressKey, VirialKey
from nequix.cli.options import Backend, BackendOption
from nequix.core.errors import DataError
from nequix.core.suggest import did_you_mean
from nequix.io import strict_json
from nequix.io.interrupts import on_interrupt
from nequix.io.limits import MAX_SETTINGS
from nequix.io.progress import progress_bar
from nequix.io.tables import format_item, format_table

if TYPE_CHECKING:
    from nequix.data.check import Report
    from nequix.data.label_keys import LabelKeys
    from nequix.data.sources import Source
    from nequix.data.stats import Statistics

app: typer.Typer = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Fetch, convert, measure and check data."
)

_Sources = Annotated[list[Path], typer.Argument(help="Files or folders of structures; see docs/data.md.")]
_Workers = Annotated[int, typer.Option(min=0, help="Worker processes; 0 for none.")]
_Force = Annotated[bool, typer.Option("--force", help="Replace the output if it exists.")]
_Json = Annotated[Path | None, typer.Option("-o", "--output", help="A JSON file to write.")]


@app.command()
def convert(
    sources: _Sources,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Output folder; created, or completed if it exists.")
    ],
    shard_size: Annotated[int, typer.Option(min=1, help="Structures per .aselmdb file.")] = 10_000,
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    stress_key: StressKey = None,
    virial_key: VirialKey = None,
) -> None:
    """Convert data to .aselmdb files. Rerun the same command to resume."""
    from nequix.data.convert import convert as convert_sources
    from nequix.data.convert import converted_labels
    from nequix.data.labels import tell_labels

    keys = _keys(energy_key, forces_key, stress_key, virial_key)
    kept = on_interrupt(lambda: f"complete shards are kept in {output}; the same command continues")
    with kept, progress_bar("convert") as bar:
        n = convert_sources(sources, output, keys=keys, shard_size=shard_size, progress=bar.advance)
    counts = converted_labels(output)
    print(f"{output}: {n} structures" + (f", {tell_labels(counts)}" if counts else ""))


@app.command()
def stats(
    sources: _Sources,
    cutoff: Annotated[float, typer.Option(min=0.1, help="Radius of the neighbourhood, A.")] = 6.0,
    batch_size: Annotated[int, typer.Option(min=1, help="Structures per batch, on average.")] = 256,
    atom_energies: Annotated[
        Path | None, typer.Option(help='JSON {"Si": -5.4, ...}, eV; by default a least-squares fit.')
    ] = None,
    output: _Json = None,
    workers: _Workers = 0,
    force: _Force = False,
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    stress_key: StressKey = None,
    virial_key: VirialKey = None,
) -> None:
    """Compute statistics of the data. They include shift, scale, atom energies and batch shapes."""
    from ase.data import chemical_symbols

    from nequix.data.labels import refuse_unfound
    from nequix.data.opening import open_source
    from nequix.data.stats import compute, describe_packing
    from nequix.io.files import write_atomic

    _check_output(output, force)
    keys = _keys(energy_key, forces_key, stress_key, virial_key)
    source = open_source(sources, keys)
    given = None if atom_energies is None else _read_energies(atom_energies)
    with progress_bar("stats", count_structures(source)) as bar:
        found, sizes = compute(source, cutoff, atom_energies=given, n_workers=workers, progress=bar.advance)
    refuse_unfound(source.path, keys, found.labels, found.n_structures, next(iter(source)))
    for message in _placeholders(found):
        print(format_item("warning:", message), file=sys.stderr)
    facts = {**found.to_dict(), "packing": describe_packing(sizes, batch_size)}
    facts["atom_energies"] = {chemical_symbols[z]: energy for z, energy in found.atom_energies.items()}
    text = json.dumps(facts, indent=2)
    if output is not None:
        write_atomic(output, [text.encode()])
    print(text)
    if (doubt := found.doubt()) is not None:
        print(f"warning: {doubt}", file=sys.stderr)


@app.command()
def check(
    sources: _Sources,
    model: Annotated[
        str | None, typer.Option(help="A reference: a name that `nequix models` lists, or a weight file.")
    ] = None,
    evaluations: Annotated[
        int, typer.Option(min=1, help="Number of structures that the model evaluates.")
    ] = 200,
    backend: BackendOption = Backend.auto,
    output: _Json = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    force: _Force = False,
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    stress_key: StressKey = None,
    virial_key: VirialKey = None,
) -> None:
    """Look for faults in labels and structures. Exit code 1 if there are errors."""
    from nequix.data.check import check_source
    from nequix.data.opening import open_source
    from nequix.io.files import write_atomic

    _check_output(output, force)
    source = open_source(sources, _keys(energy_key, forces_key, stress_key, virial_key))
    potential = None if model is None else _load(model, backend)
    with progress_bar("check", count_structures(source)) as bar:
        report = check_source(source, potential, evaluations=evaluations, progress=bar.advance)
    text = json.dumps(report.to_dict(), indent=2)
    if output is not None:
        write_atomic(output, [text.encode()])
    if as_json:
        print(text)
    else:
        _print_report(report)
    if report.errors:
        raise typer.Exit(1)


@app.command()
def get(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names of data sets, as listed by --list.")
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Parent folder of the data sets.")] = Path(
        "."
    ),
    mirror: Annotated[
        str | None,
        typer.Option(
            help="Folder or base URL to fetch NAME/FILE from; default NEQUIX_MIRROR, then the source."
        ),
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="List the data sets and their files.")] = False,
) -> None:
    """Fetch public data and check digests. Rerun the same command to resume."""
    from nequix.data.public_datasets import SETS, places
    from nequix.io.fetch import fetch_first

    if listing or not names:
        _print_sets()
        return
    for name in names:
        if name not in SETS:
            raise DataError(f"{name}: no such set; the sets are {', '.join(SETS)}{did_you_mean(name, SETS)}")
    for name in names:
        for file in SETS[name].files:
            target = output / name / file.path
            new = fetch_first(places(name, file, mirror), target, file.digest)
            print(f"{target}: {'fetched' if new else 'is there'}")


def _print_sets() -> None:
    from nequix.data.public_datasets import SETS

    paragraphs = []
    for public in SETS.values():
        head = format_item(f"{public.name}:", f"{public.what}; terms and papers: {public.home}")
        files = [(file.path, file.url, file.digest) for file in public.files]
        paragraphs.append(f"{head}\n{format_table(('file', 'address', 'digest'), files)}")
    print("\n\n".join(paragraphs))


def _keys(energy: str | None, forces: str | None, stress: str | None, virial: str | None) -> LabelKeys:
    from nequix.data.label_keys import LabelKeys

    return LabelKeys.of(energy, forces, stress, virial)


def _check_output(output: Path | None, force: bool) -> None:
    if output is None:
        return
    if not output.absolute().parent.is_dir():
        raise DataError(f"{output}: cannot be written there; create its folder, or choose another name")
    if output.exists() and not force:
        raise DataError(f"{output}: already exists; choose another name, or replace it with --force")


def _placeholders(found: Statistics) -> list[str]:
    """Warn about values that are placeholders because the labels are missing."""
    messages = []
    if not found.n_energies:
        messages.append(
            f"none of the {found.n_structures} structures has an energy: shift and atom_energies are not "
            "fitted; name the key of the energies with --energy-key"
        )
    if not found.n_forces:
        origin = "that of the energies" if found.n_energies else "a placeholder"
        messages.append(
            f"none of the {found.n_structures} structures has forces: scale is {origin}; name the key of the "
            "forces with --forces-key"
        )
    return messages


def _read_energies(path: Path) -> dict[int, float]:
    from ase.data import atomic_numbers

    from nequix.io import checked

    try:
        given = strict_json.read_object(path, MAX_SETTINGS)
        if "X" in given:  # which ASE counts as an element, with Z = 0
            raise KeyError("X")
        return {atomic_numbers[symbol]: checked.number(given, symbol) for symbol in given}
    except DataError:
        raise
    except ValueError as error:
        raise DataError(f"{path}: an atom energy is not a number ({error}); give numbers in eV") from None
    except KeyError as error:
        raise DataError(f"{path}: {error} is not the symbol of an element; give symbols") from None


def _load(model: str, backend: Backend) -> Any:
    from nequix.backends import load_model

    return load_model(model, str(backend))


def count_structures(source: Source) -> int | None:
    """Count the structures of a source; None for a stream, which is counted while it is read.

    Args:
        source: The source.
    """
    from nequix.data.sources import StreamError

    try:
        return len(source)
    except StreamError:
        return None


def _print_report(report: Report) -> None:
    from nequix.data.labels import tell_parts

    print(f"{len(report.errors)} errors, {len(report.findings) - len(report.errors)} warnings")
    print(format_item("checked:", report.summary()))
    if report.parts:
        print(tell_parts(report.parts).removeprefix("\n"))
    for note in report.notes:
        print(format_item("note:", note))
    if report.findings:
        rows = [(f.severity, f.rule, f.count, f.message, ", ".join(f.names[:3])) for f in report.findings]
        print("\n" + format_table(("severity", "rule", "structures", "what", "for example"), rows))
