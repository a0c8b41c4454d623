"""Commands that run a model on structures: ``predict`` and ``relax``."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nequix.cli.inputs import require_files
from nequix.cli.options import (
    Force,
    Guard,
    GuardOption,
    ModelOrEnsemble,
    execution_options,
    make_calculator,
)
from nequix.core.errors import DataError, GraphError
from nequix.execution import DEFAULT, Execution
from nequix.io.interrupts import on_interrupt
from nequix.io.progress import progress_bar

if TYPE_CHECKING:
    from ase import Atoms

    from nequix.calculator import NequixCalculator
    from nequix.workflows.relaxation import RelaxationStep

NOT_CONVERGED = 3
"""Exit code of a relaxation that ran out of steps; 1 is an error, 2 a wrong command line."""


class Optimizer(StrEnum):
    """What ``--optimizer`` takes: names of ``ase.optimize``, in lower case."""

    fire = "fire"
    bfgs = "bfgs"
    lbfgs = "lbfgs"


@execution_options()
def predict(
    files: Annotated[list[Path], typer.Argument(help="Structures of any format that ASE reads; all frames.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Output file: .extxyz, .traj or .json.")],
    model: ModelOrEnsemble = "nequix-mp-1",
    execution: Execution = DEFAULT,
    guard: Guard = GuardOption.warn,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Skip bad frames, list them, and exit with 1.")
    ] = False,
    force: Force = False,
) -> None:
    """Predict energies, forces and stress. An ensemble adds its spread."""
    from nequix.cli.frames import WITH_RESULTS, WITH_SPREADS, check_target, write_frames
    from nequix.workflows.models import is_ensemble

    if not keep_going:  # otherwise they are listed with the other failures
        require_files(files)
    ensemble = is_ensemble(model)
    check_target(output, files, force, WITH_SPREADS if ensemble else WITH_RESULTS)
    calc = make_calculator(model, execution, guard, ensemble=ensemble)
    frames: list[Atoms] = []
    failures = 0
    kept = on_interrupt(lambda: f"{len(frames)} frames were evaluated, {output} was not written")
    with kept, progress_bar("predict") as bar:
        for outcome in _predictions(files, calc):
            if not isinstance(outcome, DataError):
                frames.append(outcome)
            elif keep_going:
                failures += 1
                print(f"error: {outcome}", file=sys.stderr)
            else:
                raise outcome
            bar.advance()
    if frames:
        write_frames(output, frames)
        print(f"{output}: {len(frames)} frames")
    if failures:
        print(f"error: {failures} failures, listed above; their frames were left out", file=sys.stderr)
        raise typer.Exit(1)


def _predictions(files: list[Path], calc: NequixCalculator) -> Iterator[Atoms | DataError]:
    """Yield evaluated frames; a failed frame yields an error that names file, frame and atom."""
    from nequix.data.frames import read_frames
    from nequix.workflows.prediction import predict_each

    for path in files:
        try:
            for one in predict_each(read_frames(path), calc):
                where = f"{path}: frame {one.index}"
                if one.warning is not None:
                    print(f"warning: {where}: {one.warning}", file=sys.stderr)
                yield DataError(f"{where}: {one.error}") if one.atoms is None else one.atoms
        except DataError as error:
            yield error


@execution_options()
def relax(
    file: Annotated[Path, typer.Argument(help="A structure of any format that ASE reads.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="By default FILE-relaxed.extxyz beside FILE.")
    ] = None,
    fmax: Annotated[float, typer.Option(help="Convergence threshold for the largest force, eV/A.")] = 0.02,
    steps: Annotated[int, typer.Option(help="Maximum number of steps.")] = 500,
    cell: Annotated[bool, typer.Option("--cell/--no-cell", help="Also relax the cell.")] = False,
    optimizer: Annotated[Optimizer, typer.Option(help="ASE's optimizer.")] = Optimizer.fire,
    frame: Annotated[int, typer.Option(help="Index of the frame in the file; -1 is the last.")] = -1,
    model: ModelOrEnsemble = "nequix-mp-1",
    execution: Execution = DEFAULT,
    guard: Guard = GuardOption.warn,
    force: Force = False,
) -> None:
    """Relax a structure. Exit code 3 if it does not converge (the last structure is written anyway)."""
    from nequix.cli.frames import check_target, try_format, write_frames
    from nequix.data.frames import read_frames
    from nequix.workflows import relaxation
    from nequix.workflows.models import is_ensemble

    relaxation.check_limits(fmax, steps)
    # In lower case, so that ASE does not take a name that starts with POSCAR for VASP's format.
    vasp = any(word in file.stem for word in ("POSCAR", "CONTCAR", "OUTCAR", "XDATCAR"))
    target = output or file.with_name(f"{file.stem.lower() if vasp else file.stem}-relaxed.extxyz")
    check_target(target, [file], force)
    frames = list(read_frames(file))
    if not -len(frames) <= frame < len(frames):
        raise DataError(f"{file}: has no frame {frame}, only {len(frames)} frames")
    frame %= len(frames)
    atoms = frames[frame]
    if len(frames) > 1:
        print(f"{file}: frame {frame} of {len(frames)}, counted from 0", file=sys.stderr)
    if cell:
        try:
            relaxation.check_cell(atoms)
        except DataError as error:
            raise DataError(f"{file}: {error} (without --cell)") from None
    try_format(target, atoms)
    ensemble = is_ensemble(model)
    calc = make_calculator(model, execution, guard, ensemble=ensemble)
    reached: list[RelaxationStep] = []

    def keep() -> str:
        if not reached:
            return f"there is no result yet, {target} was not written"
        step = reached[0]
        write_frames(target, [step.atoms])
        state = "converged" if converged else "NOT converged"
        return f"{target} holds the structure after {step.number} steps, which is {state}"

    def report(step: RelaxationStep) -> None:
        reached[:] = [step]  # at once: a signal may come at any time
        volume = f"{'-':>13}" if step.volume is None else f"{step.volume:13.4f}"
        print(f"{step.number:5} {step.energy:16.6f} {step.fmax:12.6f} {volume}", flush=True)

    print(f"{'step':>5} {'energy (eV)':>16} {'fmax (eV/A)':>12} {'volume (A^3)':>13}")
    converged = False
    with on_interrupt(keep):
        try:
            with _distance_warnings(f"{file}: frame {frame}"):
                found = relaxation.relax(
                    atoms, calc, fmax=fmax, steps=steps, cell=cell, optimizer=optimizer.value, on_step=report
                )
        except GraphError as error:
            raise DataError(f"{file}: frame {frame}: {error}") from None
        converged = found.converged
        write_frames(target, [found.atoms])
    print(f"{target}: {'converged' if converged else f'NOT converged in {steps} steps'}")
    if ensemble:
        spread = found.atoms.arrays["forces_spread"].max()
        energy = found.atoms.info["energy_spread"]
        print(f"spread: energy {energy:.6f} eV, forces up to {spread:.6f} eV/A")
    if not converged:
        raise typer.Exit(NOT_CONVERGED)


@contextlib.contextmanager
def _distance_warnings(where: str) -> Iterator[None]:
    """Print a warning about short distances on a line of its own, naming where."""
    from nequix.distance_guard import DistanceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("always", DistanceWarning)
        show = warnings.showwarning

        def print_warning(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, DistanceWarning):
                print(f"warning: {where}: {message}", file=sys.stderr)
            else:
                show(message, category, *place, **more)

        warnings.showwarning = print_warning
        yield
