"""Steps of nequix's ASE calculator and of other potentials', in turn: energy, forces, stress, neighbours.

    python -m venv others && others/bin/pip install torch sevenn chgnet
    python benchmarks/other_calculators.py --others others/bin/python [--atoms 64 216] [--rounds 3]

Other potentials need other versions of the same packages, so that each calculator has a process of its own,
which waits while another one calculates. A round is a step of each: diamond, atoms moved a little before the
step. What counts is the ratio within a round. The nequix model has the published shape and random weights.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

CONTENDERS = ("nequix", "7net-l3i5", "7net-0", "CHGNet")


def make(name: str):
    """Make a calculator as its own documentation does."""
    if name == "nequix":
        from plain import published_shape

        from nequix import NequixCalculator

        return NequixCalculator(published_shape(), "torch", kernel="native", device="cpu")
    if name == "CHGNet":
        from chgnet.model.dynamics import CHGNetCalculator

        return CHGNetCalculator(use_device="cpu")
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator(name, device="cpu")


def serve(name: str, n_atoms: int) -> None:
    """Make a calculator and say so; then time a step for every line that comes in."""
    import numpy as np
    from ase.build import bulk

    repeats = max(1, round((n_atoms / 8) ** (1 / 3)))
    atoms, rng = (
        bulk("C", "diamond", 3.57, cubic=True) * (repeats, repeats, repeats),
        np.random.default_rng(0),
    )
    atoms.rattle(0.05, seed=0)
    answer, sys.stdout = sys.stdout, sys.stderr  # packages print
    atoms.calc = make(name)
    print(len(atoms), file=answer, flush=True)
    for _ in sys.stdin:
        atoms.positions += rng.normal(0, 0.005, atoms.positions.shape)
        start = time.perf_counter()
        energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
        seconds = time.perf_counter() - start
        if not np.isfinite([energy, *forces.ravel(), *stress]).all():
            raise SystemExit("results are not finite")
        print(seconds, file=answer, flush=True)


class Contender:
    """A calculator in a process of its own."""

    def __init__(self, name: str, python: str, n_atoms: int, threads: int) -> None:
        self.name, self.seconds = name, []
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        if name != "nequix":
            environment.pop("PYTHONPATH", None)
        command = [python, __file__, "--serve", name, "--atoms", str(n_atoms)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment
        )
        self.atoms = int(self._answer())

    def step(self) -> None:
        """Ask for a step."""
        print(file=self._process.stdin, flush=True)
        self.seconds.append(float(self._answer()))

    def end(self) -> None:
        """End the process."""
        self._process.communicate()

    def _answer(self) -> str:
        answer = self._process.stdout.readline()
        if not answer:
            said = self._process.stderr.read().strip().splitlines()
            raise RuntimeError(f"{self.name} ended with {self._process.wait()}: {' '.join(said[-1:])}")
        return answer


def compare(names: list[str], n_atoms: int, options: argparse.Namespace) -> list[list[str]]:
    """Time calculators in turn; return the lines of the table."""
    running, rows = [], []
    for name in names:
        python = sys.executable if name == "nequix" else options.others
        try:
            running.append(Contender(name, python, n_atoms, options.threads))
        except RuntimeError as error:
            rows.append([name, str(n_atoms), "", "", f"not run: {error}"])
    for _ in range(options.rounds + 1):  # the first is not counted
        for contender in running:
            contender.step()
    nequix = running[0].seconds[1:]
    for contender in running:
        contender.end()
        counted = contender.seconds[1:]
        ratios = [b / a for a, b in zip(nequix, counted, strict=True)]
        versus = f"{statistics.median(ratios):.1f} ({min(ratios):.1f}-{max(ratios):.1f})"
        per_atom = 1e3 / contender.atoms
        times = (f"{of(counted) * per_atom:.2f}" for of in (statistics.median, min))
        rows.append([contender.name, str(contender.atoms), *times, versus])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--others", default=sys.executable, help="Python of an environment with the others")
    parser.add_argument("--contenders", nargs="+", default=CONTENDERS[1:], help="besides nequix")
    parser.add_argument("--atoms", type=int, nargs="+", default=[64, 216])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.atoms[0])
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("calculator", "atoms", "median ms/atom", "least", "times nequix (median, range)")
    for n_atoms in options.atoms:
        for cells in compare([CONTENDERS[0], *options.contenders], n_atoms, options):
            table.add_row(*cells)
    console = Console(width=120)
    console.print(
        f"diamond, {options.threads} threads, {options.rounds} rounds; load of the machine now: "
        f"{os.getloadavg()[0]:.1f}"
    )
    console.print(table)


if __name__ == "__main__":
    main()
