"""Time and memory of steps of dynamics on diamond."""

from __future__ import annotations

import contextlib
import itertools
import json
import resource
import subprocess
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import units
from ase.build import bulk
from ase.md.verlet import VelocityVerlet

from nequix.evaluation.speed.contenders import Contender
from nequix.evaluation.task import Engine
from nequix.execution import Execution
from nequix.io import strict_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ase import Atoms
    from ase.calculators.calculator import Calculator

LATTICE = 3.57
"""A, of diamond."""

STEP = 0.5
"""fs."""

LEAST = 0.1
"""s: quick steps are timed several at a time, for about as long."""

DAY = 86400.0
"""s."""


def diamond(n_atoms: int) -> Atoms:
    """Build a rattled cell of diamond, as cubic as the number of atoms allows.

    Args:
        n_atoms: About how many atoms; they are a multiple of eight.
    """
    cells = max(1, round(n_atoms / 8))
    sides = range(1, round(cells ** (1 / 3)) + 4)
    triples = itertools.combinations_with_replacement(sides, 3)
    best = min(triples, key=lambda abc: (abs(abc[0] * abc[1] * abc[2] - cells), abc[2] - abc[0]))
    atoms = bulk("C", "diamond", LATTICE, cubic=True).repeat(best)
    atoms.rattle(0.02, rng=np.random.default_rng(0))
    return atoms


def timed_sizes(sizes: Iterable[int]) -> dict[int, int]:
    """Return how many atoms :func:`diamond` has for each size that is asked for.

    Args:
        sizes: Numbers of atoms.
    """
    return {size: len(diamond(size)) for size in sizes if size > 0}


class Runner:
    """Dynamics of one contender, continued in each of its turns.

    Args:
        calculator: Of ASE.
        n_atoms: Size of the cell.
    """

    def __init__(self, calculator: Calculator, n_atoms: int) -> None:
        self.atoms: Atoms = diamond(n_atoms)
        self.atoms.calc = calculator
        self.dynamics: VelocityVerlet = VelocityVerlet(self.atoms, timestep=STEP * units.fs)
        self.first: float = self._time(1)
        self.n_steps = 1
        again = min(self._time(1), self._time(1))
        self.n_steps: int = int(min(max(LEAST / again, 1), 100))

    def turn(self) -> float:
        """Run some steps and return the seconds of one."""
        return self._time(self.n_steps) / self.n_steps

    def _time(self, n_steps: int) -> float:
        start = time.perf_counter()
        self.dynamics.run(n_steps)
        return time.perf_counter() - start


def race(contenders: list[tuple[str, Calculator]], n_atoms: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Time contenders in turn: A, B, A, B, ..., so that a machine whose speed drifts favours none.

    Args:
        contenders: Labels and calculators.
        n_atoms: Size of the cell.
        rounds: Turns of each.

    Returns:
        For each label ``seconds`` a step of every turn, and ``first``, those of the first step; or ``error``.
    """
    held: dict[str, dict[str, Any]] = {}
    runners: dict[str, Runner] = {}
    for label, calculator in contenders:
        try:
            runners[label] = Runner(calculator, n_atoms)
            held[label] = {"seconds": [], "first": runners[label].first}
        except Exception as error:  # any error of any calculator: the others continue
            held[label] = {"error": f"{type(error).__name__}: {error}"}
    for _ in range(rounds):
        for label, runner in list(runners.items()):
            try:
                held[label]["seconds"].append(runner.turn())
            except Exception as error:  # as above: its own times are lost, no others
                held[label] = {"error": f"{type(error).__name__}: {error}"}
                del runners[label]
    return held


def memory(contender: Contender, n_atoms: int) -> dict[str, int]:
    """Measure the memory of a few steps in a process of its own.

    Args:
        contender: Which.
        n_atoms: Size of the cell.

    Returns:
        ``loaded``, the process's peak when the calculator was ready, and ``peak``, bytes; empty if it died.
    """
    asked = json.dumps({"contender": asdict(contender), "n_atoms": n_atoms})
    done = subprocess.run(
        [sys.executable, "-m", "nequix.evaluation.speed.clock"], input=asked, capture_output=True, text=True
    )
    try:
        return strict_json.parse_object(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}
    except (IndexError, ValueError):
        return {}


def _measure() -> None:
    """Answer :func:`memory` from standard input to standard output."""
    asked = strict_json.parse_object(sys.stdin.read())
    held = asked["contender"]
    engine = held["engine"]
    if engine is not None:
        engine = Engine(engine["model"], Execution(**engine["execution"]))
    calculator = Contender(**{**held, "engine": engine}).calculator()
    loaded = _peak()
    Runner(calculator, asked["n_atoms"])
    print(json.dumps({"loaded": loaded, "peak": _peak()}))


def _peak() -> int:
    # Linux's ru_maxrss counts the process that this one was forked from, too; its status file does not.
    with contextlib.suppress(OSError), open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # kilobytes elsewhere


def steps_per_day(seconds: list[float]) -> tuple[float, float, float]:
    """Convert times of a step to steps per day.

    Args:
        seconds: Of a step, by turn.

    Returns:
        The median, the least and the most.
    """
    return DAY / float(np.median(seconds)), DAY / max(seconds), DAY / min(seconds)


def paired_ratio(seconds: list[float], first: list[float]) -> tuple[float, float, float]:
    """Compare two contenders turn by turn.

    Args:
        seconds: Of a step of the one, by turn.
        first: Of the other.

    Returns:
        How many times as long the one takes: the median of the turns, the least, the most.
    """
    ratios = np.array(seconds) / np.array(first)
    return float(np.median(ratios)), float(ratios.min()), float(ratios.max())


if __name__ == "__main__":
    _measure()
