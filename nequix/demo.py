"""A first look: ``python -m nequix.demo [MODEL]`` relaxes a crystal and a slab with every backend."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nequix.backends import choose_backend, installed_backends, load_model, native_supports
from nequix.core.errors import NequixError, WeightsError
from nequix.graphs.graph import batch, graph_from_atoms
from nequix.io.catalogue import load_weights
from nequix.io.tables import format_table
from nequix.io.weights import Weights

if TYPE_CHECKING:
    from ase import Atoms

    from nequix.graphs.results import Results

FMAX = 0.02
STEPS = 60


class Outcome(NamedTuple):
    """Outcome of a relaxation.

    Attributes:
        energies: Before and after, eV.
        forces: Largest force before and after, eV/A.
        converged: Whether no force is larger than ``FMAX``.
        steps: How many it took.
        start: Time until the first energy, s: with JAX, compilation.
        evaluation: Time of one evaluation after that, s.
        volume: Afterwards, A^3.
    """

    energies: tuple[float, float]
    forces: tuple[float, float]
    converged: bool
    steps: int
    start: float
    evaluation: float
    volume: float


def structures() -> dict[str, Atoms]:
    """Make a crystal, strained and rattled, and a slab with an adsorbate and a fixed lower half."""
    from ase.build import add_adsorbate, bulk, fcc100
    from ase.constraints import FixAtoms

    crystal = bulk("MgO", "rocksalt", a=4.25) * (2, 1, 1)
    strain = np.array([[0.03, 0.01, 0.0], [0.01, -0.02, 0.005], [0.0, 0.005, 0.02]])
    crystal.set_cell(crystal.cell @ (np.eye(3) + strain), scale_atoms=True)
    crystal.rattle(0.08, seed=1)
    slab = fcc100("Cu", (1, 1, 4), a=3.62, vacuum=7.0)
    add_adsorbate(slab, "O", 1.1, "hollow")
    slab.set_constraint(FixAtoms(mask=slab.positions[:, 2] < slab.positions[:, 2].mean() - 1))
    slab.rattle(0.05, seed=2)
    return {"MgO crystal, strained": crystal, "O on a Cu(100) slab": slab}


def relax(atoms: Atoms, weights: Weights, backend: str) -> Outcome:
    """Relax a structure, the cell too if it is periodic in all directions.

    Args:
        atoms: The structure; a copy is relaxed.
        weights: The model.
        backend: Name of the backend.
    """
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS

    from nequix.calculator import NequixCalculator
    from nequix.cell_relaxation import cell_relaxation

    atoms = atoms.copy()
    begin = time.perf_counter()
    calc = atoms.calc = NequixCalculator(weights, backend)
    before = atoms.get_potential_energy(), _largest(atoms)
    start = time.perf_counter() - begin
    subject: Any = FrechetCellFilter(atoms) if atoms.pbc.all() else atoms
    optimizer = BFGS(subject, logfile=None)
    with cell_relaxation():
        converged = bool(optimizer.run(fmax=FMAX, steps=STEPS))
    after = atoms.get_potential_energy(), _largest(atoms)
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        calc.calculate(atoms)
        times.append(time.perf_counter() - begin)
    energies, forces = zip(before, after, strict=True)
    return Outcome(
        energies, forces, converged, optimizer.nsteps, start, float(np.median(times)), atoms.get_volume()
    )


def _largest(atoms: Atoms) -> float:
    return float(np.linalg.norm(atoms.get_forces(), axis=1).max())


def show_relaxations(weights: Weights, backends: list[str]) -> bool:
    """Relax both structures with every backend, print a table, and return whether all converged.

    Args:
        weights: The model.
        backends: Names of the backends.
    """
    header = ("backend", "energy (eV)", "fmax (eV/A)", "volume", "steps", "start (s)", "call (ms)")
    converged = True
    for name, atoms in structures().items():
        kind = "cell and atoms relax" if atoms.pbc.all() else "atoms relax, lower layers fixed"
        rows = []
        for backend in backends:
            outcome = relax(atoms, weights, backend)
            converged = converged and outcome.converged
            row = (
                backend,
                "{:.3f} to {:.3f}".format(*outcome.energies),
                "{:.2f} to {:.3f}".format(*outcome.forces),
                f"{outcome.volume:.2f}",
                f"{outcome.steps}" if outcome.converged else f"not in {outcome.steps}",
                f"{outcome.start:.1f}",
                f"{1000 * outcome.evaluation:.0f}",
            )
            rows.append(row)
        print(f"\n{name}: {len(atoms)} atoms, {kind}")
        print(format_table(header, rows))
    return converged


def show_parity(weights: Weights, backends: list[str]) -> None:
    """Print the largest differences between the backends, on the structures before relaxation.

    The plain kernel of the first engine is the reference: it is compared with the plain kernel of the other
    engine and with the native backend.

    Args:
        weights: The model.
        backends: Names of the backends, an engine among them.
    """
    graph = batch([graph_from_atoms(atoms, weights.spec) for atoms in structures().values()])
    header = ("between", "precision", "energy (eV/atom)", "forces (eV/A)", "stress (eV/A^3)")
    rows = []
    kernels = {name: "auto" if name == "native" else "plain" for name in backends}
    reference = next(name for name in backends if name != "native")
    for dtype in ("float32", "float64"):
        results = {
            name: load_model(weights, name, dtype=dtype, kernel=kernel).evaluate(graph)
            for name, kernel in kernels.items()
        }
        expected = results.pop(reference)
        for name, result in results.items():
            values = (f"{value:.1e}" for value in _differences(expected, result))
            rows.append((f"{reference}, {name}", dtype, *values))
    print("\nLargest differences")
    print(format_table(header, rows))


def _differences(one: Results, other: Results) -> tuple[float, float, float]:
    """Return the largest difference of energies (eV/atom), forces (eV/A) and stress (eV/A^3)."""
    # The slab's cell has a third vector, vacuum included: it has a volume, and a stress.
    energies = np.abs(one.energies - other.energies).max()
    forces = np.abs(one.forces - other.forces).max()
    return float(energies), float(forces), float(np.abs(one.stress - other.stress).max())


def main(arguments: list[str]) -> int:
    """Run the demonstration and return the exit code.

    Args:
        arguments: A known name or a path, or nothing for ``nequix-nano``.
    """
    model = arguments[0] if arguments else "nequix-nano"
    try:
        weights = load_weights(model)
        choose_backend(spec=weights.spec)  # raises if there is none
        supported = native_supports(weights.spec)
        backends = [name for name in installed_backends() if name != "native" or supported]
        print(f"{model}, trained on {weights.provenance.training_data}; backends: {', '.join(backends)}")
        converged = show_relaxations(weights, backends)
        if len(backends) > 1:
            show_parity(weights, backends)
        else:
            print("Install another backend to see that both give the same numbers.")
    except WeightsError as error:
        print(
            f"The weights of {model} cannot be reached:\n  {error}\nSet NEQUIX_MIRROR to a folder "
            "or a base URL that has the .nqx files, or give the path of a weight file:\n"
            "  python -m nequix.demo PATH",
            file=sys.stderr,
        )
        return 1
    except NequixError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0 if converged else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
