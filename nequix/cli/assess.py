"""The command that decides whether to trust a model: ``nequix assess``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nequix.cli.coverage import Also, ReferenceOption, identity_of, load_reference
from nequix.cli.inputs import require_files
from nequix.cli.label_options import EnergyKey, ForcesKey, StressKey, VirialKey
from nequix.cli.options import Model, execution_options, make_calculator
from nequix.cli.select import spread_of
from nequix.core.errors import WeightsError
from nequix.execution import DEFAULT, Execution
from nequix.io.installation import needs_extra

BETTER = "nequix-mp-1"
"""The published model that is suggested after a small one was assessed."""

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nequix.core.spec import ModelSpec
    from nequix.coverage.reference import Reference
    from nequix.data.structure import Structure
    from nequix.io.weights import Weights


@execution_options(threads=None)
def assess(
    target: Annotated[list[Path], typer.Argument(help="Structures you want to use the model for.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the report; created if needed.")],
    dft: Annotated[
        list[Path] | None, typer.Option(help="About twenty labelled snapshots; by default those in TARGET.")
    ] = None,
    zero_shot_force: Annotated[
        float, typer.Option(help="Force threshold for using the model as it is, meV/A.")
    ] = 100.0,
    tuned_energy: Annotated[float, typer.Option(help="Energy threshold after fine-tuning, meV/atom.")] = 20.0,
    tuned_force: Annotated[float, typer.Option(help="Force threshold after fine-tuning, meV/A.")] = 50.0,
    spread: Annotated[
        str | None, typer.Option(help="Key of an ensemble's force spread in TARGET, eV/A.")
    ] = None,
    reference: ReferenceOption = None,
    also: Also = None,
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    stress_key: StressKey = None,
    virial_key: VirialKey = None,
    model: Model = "nequix-mp-1",
    execution: Execution = DEFAULT,
) -> None:
    """Recommend a model as it is, fine-tuning or training. The report gives reasons and caveats."""
    from nequix.assess.thresholds import Thresholds
    from nequix.data.label_keys import LabelKeys
    from nequix.data.labels import count_labels, refuse_unfound
    from nequix.data.opening import open_source

    require_files(target, dft, also, reference and [reference])
    with needs_extra():
        from nequix.assess.report import print_verdict, write_report
    protocol = Thresholds(zero_shot_force, tuned_energy, tuned_force)
    keys = LabelKeys.of(energy_key, forces_key, stress_key, virial_key)
    open_source([*target, *(dft or [])], keys)  # rejects unknown files before the folder is created
    recorded = protocol.record(output)  # before any structure is read

    import numpy as np

    from nequix.assess.commands import Asked
    from nequix.assess.decide import decide
    from nequix.assess.kinds import differences, predict_conditions
    from nequix.assess.measure import measure
    from nequix.assess.similarity import never_labelled
    from nequix.assess.starter import write_starter, write_tuning
    from nequix.coverage.assess_coverage import assess_coverage
    from nequix.data.frames import read_frames
    from nequix.data.opening import read_structures
    from nequix.data.scan_records import identify
    from nequix.workflows.models import load_for

    weights = load_for(model, execution)
    calculator = make_calculator(model, execution, weights=weights)
    aims = list(read_structures(target, keys=keys))
    labelled = list(read_structures(dft, keys=keys)) if dft else aims
    if labelled:
        names = ", ".join(map(str, dft or target))
        refuse_unfound(names, keys, count_labels(labelled), len(labelled), labelled[0])
    measured = measure(labelled, calculator.potential, protocol)
    counted = [labelled[index] for index in measured.with_forces]
    asked_for = predict_conditions(aims, calculator.potential)
    conditions: list[str] = []
    if counted:
        conditions = differences(asked_for, predict_conditions(counted, calculator.potential), measured.kinds)
    known = _reference_or_none(model, weights, reference, also)
    coverage = None if known is None else assess_coverage(aims, known, calculator.potential)
    own = None
    if known is not None and counted:
        same = dft is None and len(counted) == len(aims)
        own = coverage if same else assess_coverage(counted, known, calculator.potential)
    mean_spread = None
    if spread is not None:
        frames = ((atoms, path.name) for path in target for atoms in read_frames(path))
        mean_spread = 1e3 * float(np.mean([spread_of(*pair, spread).mean() for pair in frames]))
    tuned = "parent" in weights.provenance.extra
    named = {"energy": energy_key, "forces": forces_key, "stress": stress_key, "virial": virial_key}
    label_words = [word for name, key in named.items() if key for word in (f"--{name}-key", key)]
    # Structures of the target without labels are candidates; copies of labelled ones count as labelled.
    taken = {identify(one) for one in (counted if dft is None else labelled)}
    taken |= {identify(one) for one in read_structures(also or [])}
    starter = tuning = None
    if counted:
        labels, named_keys = measured.predictions, {name: key for name, key in named.items() if key}
        has_energy = bool(np.isfinite(labels.energy).any())
        has_stress = bool(np.isfinite(labels.stress).any())
        starter = write_starter(output, dft or target, energy=has_energy, stress=has_stress, keys=named_keys)
        tuning = write_tuning(output, energy=has_energy, keys=named_keys)
    verdict = decide(
        measured,
        protocol,
        coverage=coverage,
        labelled_coverage=own,
        unlike=never_labelled(aims, counted, weights.spec) if counted else (),
        tuned=tuned,
        lacking=_lacking([*aims, *(labelled if dft else [])], weights.spec),
        spread=mean_spread,
        target=asked_for,
        conditions=conditions,
        caveat="" if known is None else known.caveat,
        asked=Asked(
            [str(path) for path in target],
            [str(path) for path in dft or ()],
            model,
            _name_parent(weights),
            _name_reference(model, reference, tuned),
            [str(path) for path in also or ()],
            known is not None,
            sum(identify(aim) not in taken for aim in aims),
            _name_engine(execution),
            label_words,
            dft is None and bool(counted),
            sum(1 for _ in read_structures(also or [])) if tuned else 0,
            _name_better(model, weights),
            None if starter is None else str(starter),
            None if tuning is None else str(tuning),
        ),
    )
    if starter is not None and verdict.action != "train":
        starter.unlink()
    if tuning is not None and verdict.action != "few-shot":
        tuning.unlink()
    print_verdict(verdict, measured, protocol)
    identity = identity_of(target, known, weights, calculator)
    identity["task"] = "assess"
    identity["settings"]["features"] = known is not None and known.features is not None
    identity["settings"]["labelled"] = [path.name for path in dft or target]
    write_report(output, verdict, measured, protocol, recorded, coverage, known, identity)
    print(output / "report.md")


def _reference_or_none(
    model: str, weights: Weights, path: Path | None, also: list[Path] | None
) -> Reference | None:
    """Read the reference; return None if there is none, which the report mentions."""
    try:
        return load_reference(model, weights, path, also)
    except WeightsError:
        if path is not None:
            raise
        return None


def _name_parent(weights: Weights) -> str | None:
    """Name a model's parent as a command accepts it, or ``PARENT`` if its name is not known here."""
    from nequix.io.catalogue import list_models

    parent = weights.provenance.extra.get("parent")
    return parent if parent is None or parent in list_models() else "PARENT"


def _name_engine(execution: Execution) -> list[str]:
    """Spell the options of the execution that are not the default."""
    chosen, usual = execution.options(), DEFAULT.options()
    names = [name for name in ("backend", "dtype", "kernel", "device") if chosen[name] != usual[name]]
    return [word for name in names for word in (f"--{name}", chosen[name])]


def _name_better(model: str, weights: Weights) -> str | None:
    """Name a published model to try if a small one, or a model fine-tuned from it, was assessed."""
    from nequix.io.catalogue import BUNDLED

    return BETTER if {model, weights.provenance.extra.get("parent")} & set(BUNDLED) else None


def _name_reference(model: str, path: Path | None, tuned: bool) -> str | None:
    """Name the reference file if a model fine-tuned from this one would not find it by itself."""
    from nequix.coverage.sidecar import place_beside
    from nequix.io.catalogue import BUNDLED

    if path is not None:
        return str(path)
    if tuned or model in BUNDLED:
        return None
    beside = place_beside(model)
    return str(beside) if beside.is_file() else None


def _lacking(structures: Sequence[Structure], spec: ModelSpec) -> dict[str, int]:
    """Count the structures with elements that a model does not know, by symbol."""
    from ase.data import chemical_symbols

    found: dict[str, int] = {}
    for structure in structures:
        for number in sorted(set(structure.numbers.tolist()) - set(spec.atomic_numbers)):
            symbol = chemical_symbols[number]
            found[symbol] = found.get(symbol, 0) + 1
    return found
