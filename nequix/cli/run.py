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
from nequix.core.errors import DataError, GraphError
from nequix.io.interrupts import on_interrupt
from nequix.io.progress import progress_bar

if TYPE_CHECKING:
    from ase import Atoms

    from nequix.calculator import NequixCalculator

NOT_CONVERGED = 3
"""Exit code of a relaxation that ran out of steps; 1 is an error, 2 a wrong command line."""


class Backend(StrEnum):
    """What ``--backend`` takes."""

    auto = "auto"
    native = "native"
    jax = "jax"
    torch = "torch"


class Dtype(StrEnum):
    """What ``--dtype`` takes."""

    float32 = "float32"
    float64 = "float64"


class GuardOption(StrEnum):
    """What ``--guard`` takes."""

    warn = "warn"
    error = "error"
    none = "none"


class Optimizer(StrEnum):
    """What ``--optimizer`` takes: names of ``ase.optimize``, in lower case."""

    fire = "fire"
    bfgs = "bfgs"
    lbfgs = "lbfgs"


Model = Annotated[str, typer.Option(help="A name that `nequix models` lists, or a weight file.")]
ModelOrEnsemble = Annotated[
    str, typer.Option(help="A name that `nequix models` lists, a weight file, or an ensemble's folder.")
]
BackendOption = Annotated[
    Backend, typer.Option(help="auto: the native library on a CPU, otherwise an installed engine.")
]
DtypeOption = Annotated[Dtype, typer.Option(help="Precision of the layers.")]
Kernel = Annotated[str, typer.Option(help="The convolution kernel.")]
Device = Annotated[str | None, typer.Option(help="cpu, gpu, gpu:1, ...; by default the backend's first.")]
Threads = Annotated[
    int | None, typer.Option(help="Of the native kernel; by default OMP_NUM_THREADS, or all.")
]
Guard = Annotated[
    GuardOption,
    typer.Option(help="What is done about atoms that are closer than in the model's training data."),
]
Force = Annotated[bool, typer.Option("--force", help="Replace the output if it exists.")]


def predict(
    files: Annotated[list[Path], typer.Argument(help="Structures of any format that ASE reads; all frames.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="An .extxyz, .traj or .json file.")],
    model: ModelOrEnsemble = "nequix-mp-1",
    backend: BackendOption = Backend.auto,
    dtype: DtypeOption = Dtype.float32,
    kernel: Kernel = "auto",
    device: Device = None,
    threads: Threads = None,
    guard: Guard = GuardOption.warn,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Leave bad frames out, list them, and exit with 1.")
    ] = False,
    force: Force = False,
) -> None:
    """Write energies, forces, stress where there is a volume, and the spreads of an ensemble."""
    from nequix.cli.frames import WITH_RESULTS, WITH_SPREADS, check_target, write_frames

    if not keep_going:  # otherwise they are listed with the other failures
        require_files(files)
    ensemble = is_ensemble(model)
    check_target(output, files, force, WITH_SPREADS if ensemble else WITH_RESULTS)
    calc = make_calculator(model, backend, dtype, kernel, device, threads, ensemble=ensemble, guard=guard)
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
    """Evaluate frame after frame; a failure takes its frame's place and names file, frame and atom."""
    from nequix.cli.frames import with_results
    from nequix.data.frames import read_frames

    for path in files:
        try:
            for index, atoms in enumerate(read_frames(path)):
                try:
                    with _distance_warnings(None):  # the calculator warns once, here every frame counts
                        calc.calculate(atoms)
                    if calc.guard is not None and calc.guard.finding:
                        print(f"warning: {path}: frame {index}: {calc.guard.finding}", file=sys.stderr)
                    atoms.calc = calc
                    yield with_results(atoms)
                except GraphError as error:
                    yield DataError(f"{path}: frame {index}: {error}")
        except DataError as error:
            yield error


def relax(
    file: Annotated[Path, typer.Argument(help="A structure of any format that ASE reads.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="By default FILE-relaxed.extxyz beside FILE.")
    ] = None,
    fmax: Annotated[float, typer.Option(help="Converged when no force is larger, eV/A.")] = 0.02,
    steps: Annotated[int, typer.Option(help="Steps at most.")] = 500,
    cell: Annotated[bool, typer.Option("--cell/--no-cell", help="Relax the cell, too.")] = False,
    optimizer: Annotated[Optimizer, typer.Option(help="ASE's optimizer.")] = Optimizer.fire,
    frame: Annotated[int, typer.Option(help="Which frame of the file; -1 is the last.")] = -1,
    model: ModelOrEnsemble = "nequix-mp-1",
    backend: BackendOption = Backend.auto,
    dtype: DtypeOption = Dtype.float32,
    kernel: Kernel = "auto",
    device: Device = None,
    threads: Threads = None,
    guard: Guard = GuardOption.warn,
    force: Force = False,
) -> None:
    """Relax a structure; exit code 3 if it does not converge, what was reached being written all the same."""
    from nequix.cli.frames import check_target, try_format, with_results, write_frames
    from nequix.data.frames import read_frames

    if not (fmax > 0 and steps > 0):
        raise DataError(f"fmax = {fmax} and steps = {steps}, expected positive numbers")
    # In lower case ASE, too, takes the name's ending for the format, not VASP's POSCAR before it.
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
    if cell and not (atoms.pbc.all() and atoms.cell.rank == 3):
        raise DataError(
            f"{file}: pbc = {atoms.pbc.tolist()}, {atoms.cell.rank} of 3 independent lattice vectors: only a "
            "cell periodic in all directions relaxes; complete it, or leave --cell out"
        )
    try_format(target, atoms)
    ensemble = is_ensemble(model)
    atoms.calc = make_calculator(
        model, backend, dtype, kernel, device, threads, ensemble=ensemble, guard=guard
    )
    reached: dict[int, Atoms] = {}

    def keep() -> str:
        if not reached:
            return f"there is no result yet, {target} was not written"
        ((n_steps, structure),) = reached.items()
        write_frames(target, [structure])
        return f"{target} holds the structure after {n_steps} steps, which is NOT converged"

    try:
        with on_interrupt(keep), _distance_warnings(f"{file}: frame {frame}"):
            converged = _minimise(atoms, optimizer, fmax, steps, cell, reached)
    except GraphError as error:
        raise DataError(f"{file}: frame {frame}: {error}") from None
    relaxed = with_results(atoms)
    write_frames(target, [relaxed])
    print(f"{target}: {'converged' if converged else f'NOT converged in {steps} steps'}")
    if ensemble:
        spread = relaxed.arrays["forces_spread"].max()
        print(f"spread: energy {relaxed.info['energy_spread']:.6f} eV, forces up to {spread:.6f} eV/A")
    if not converged:
        raise typer.Exit(NOT_CONVERGED)


@contextlib.contextmanager
def _distance_warnings(where: str | None) -> Iterator[None]:
    """Print a warning about short distances on a line of its own, naming where; None silences it."""
    from nequix.distance_guard import DistanceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if where is None else "always", DistanceWarning)
        show = warnings.showwarning

        def print_warning(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, DistanceWarning):
                print(f"warning: {where}: {message}", file=sys.stderr)
            else:
                show(message, category, *place, **more)

        warnings.showwarning = print_warning
        yield


def _minimise(
    atoms: Atoms, optimizer: Optimizer, fmax: float, steps: int, cell: bool, reached: dict[int, Atoms]
) -> bool:
    """Run an optimizer, printing a line per step; return whether it converged.

    The structure reached last, with its results, replaces what ``reached`` holds, by the number of steps.
    """
    import ase.optimize
    import numpy as np
    from ase.filters import FrechetCellFilter

    from nequix.cell_relaxation import cell_relaxation
    from nequix.cli.frames import with_results

    subject = FrechetCellFilter(atoms) if cell else atoms
    minimiser = getattr(ase.optimize, optimizer.upper())(subject, logfile=None)
    print(f"{'step':>5} {'energy (eV)':>16} {'fmax (eV/A)':>12} {'volume (A^3)':>13}")

    def report() -> None:
        largest = np.linalg.norm(subject.get_forces(), axis=1).max()
        structure = with_results(atoms)
        reached.clear()
        reached[minimiser.nsteps] = structure
        volume = f"{atoms.get_volume():13.4f}" if atoms.cell.rank == 3 else f"{'-':>13}"
        print(
            f"{minimiser.nsteps:5} {atoms.get_potential_energy():16.6f} {largest:12.6f} {volume}", flush=True
        )

    minimiser.attach(report)
    with cell_relaxation():
        return bool(minimiser.run(fmax=fmax, steps=steps))


def is_ensemble(model: str) -> bool:
    """Tell whether a model is the folder of an ensemble, not a name or a weight file.

    Args:
        model: A name or a path.
    """
    from nequix.io.catalogue import list_models
    from nequix.io.ensemble import ENSEMBLE

    path = Path(model)
    return model not in list_models() and (path.name == ENSEMBLE or (path / ENSEMBLE).is_file())


def make_calculator(
    model: str,
    backend: Backend,
    dtype: Dtype,
    kernel: str,
    device: str | None,
    threads: int | None = None,
    *,
    ensemble: bool = False,
    guard: GuardOption = GuardOption.none,
) -> NequixCalculator:
    """Make the calculator that the options ask for, and say on stderr what was chosen.

    Args:
        model: A known name or a path.
        backend: ``auto`` or the name of a backend.
        dtype: Precision of the layers.
        kernel: Name of the convolution kernel.
        device: Name of the device.
        threads: Of the native kernel.
        ensemble: Whether the model is the folder of an ensemble.
        guard: What is done about atoms that are closer than in the model's training data.

    Raises:
        BackendUnavailable: If the backend, the kernel or the device is not there.
        WeightsError: If the model is not.
    """
    from nequix.calculator import NequixCalculator
    from nequix.ensemble import NequixEnsembleCalculator

    try:
        kind = NequixEnsembleCalculator if ensemble else NequixCalculator
        calc = kind(
            model,
            str(backend),
            kernel=kernel,
            dtype=str(dtype),
            device=device,
            threads=threads,
            guard=None if guard == GuardOption.none else guard.value,
        )
    except ValueError as error:
        if type(error) is not ValueError:  # the project's own errors say all by themselves
            raise
        raise typer.BadParameter(str(error)) from None
    if isinstance(calc, NequixEnsembleCalculator) and calc.calibration is None:
        print(f"{model}: not calibrated: spreads are as they are, usually too small", file=sys.stderr)
    print(
        f"{model}: backend {calc.backend}, kernel {calc.kernel}, {calc.dtype}, on {calc.device}",
        file=sys.stderr,
    )
    return calc
