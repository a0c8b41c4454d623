"""Faults that are planted in real data sets, and a program that reports which of them the checks find.

``python -m tests.data.planted --data FOLDER [--model NAME] [SET ...]`` prints a row for each set and fault.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nequix.backends import load_model
from nequix.data.check import check_source
from nequix.data.check_report import Report
from nequix.data.check_units import UNITS
from nequix.data.opening import open_source
from nequix.data.sources import Source
from nequix.data.structure import Structure

SETS = (
    "snap_nimo_li3n/Ni4Mo_elastic",
    "acac_molecule/train_300K",
    "acac_molecule/test_MD_300K",
    "hea_monbtaw/train_binaries",
    "hea_monbtaw/train_elements",
    "mattersim_benchmarks/mptrj-random-1k",
)

UNIT_RULES = {"energy-work", "energy-fit", "energy-spread", "energy-unit-reference", "stress-work"}
SINGLE_RULES = {"force-outlier", "forces-scale", "forces-mismatch", "forces-opposite", "forces-zeroed"}
SINGLE_RULES |= {"forces-symmetry", *(f"{rule}-reference" for rule in SINGLE_RULES)}
ORDER_RULES = {"stress-order", "stress-order-reference"}

HUGE = 1e4
"""Largest force of the structure that gets huge ones, eV/A."""


class Listed(Source):
    """A source of structures in memory."""

    path = "set"

    def __init__(self, structures: list[Structure]) -> None:
        self.structures = structures

    def __len__(self) -> int:
        return len(self.structures)

    def __getitem__(self, index: int) -> Structure:
        return self.structures[self._checked(index)]


class Remembering:
    """A potential that evaluates each structure once: planted faults change labels only."""

    def __init__(self, potential) -> None:
        self.potential, self.spec, self._results = potential, potential.spec, {}

    def evaluate(self, graph):
        key = (graph.species.tobytes(), graph.positions.tobytes(), graph.cell.tobytes())
        if key not in self._results:
            self._results[key] = self.potential.evaluate(graph)
        return self._results[key]


@dataclass(frozen=True)
class Fault:
    """A fault in a list of structures.

    Attributes:
        name: What was done.
        rules: The rules of which one must find it.
        structures: The list with the fault.
        spoilt: Name of the only structure with the fault; empty if all have it.
    """

    name: str
    rules: set[str]
    structures: list[Structure]
    spoilt: str = ""

    def found(self, report: Report) -> bool:
        """Return whether a finding of the right kind names what was spoilt."""
        findings = [finding for finding in report.errors if finding.rule in self.rules]
        if not self.spoilt:
            return bool(findings)
        names = {name for finding in findings for name in finding.names}
        return any(name == self.spoilt or name.startswith(f"{self.spoilt} (") for name in names)

    def others(self, report: Report) -> list[str]:
        """Return the rules of the errors that are about something else."""
        return sorted({finding.rule for finding in report.errors if finding.rule not in self.rules})


def in_unit(structures: list[Structure], unit: str) -> list[Structure]:
    """Convert all energies from eV to another unit."""
    return [replace(s, energy=None if s.energy is None else s.energy / UNITS[unit]) for s in structures]


def in_vasp_order(structures: list[Structure]) -> list[Structure]:
    """Write the stresses as VASP does, xx yy zz xy yz zx, and read them as xx yy zz yz xz xy."""
    written = []
    for s in structures:
        stress = s.stress
        if stress is not None:
            yz, xz, xy = stress[0, 1], stress[1, 2], stress[0, 2]
            stress = np.diag(np.diagonal(stress)) + np.array([[0, xy, xz], [xy, 0, yz], [xz, yz, 0]])
        written.append(replace(s, stress=stress))
    return written


def with_huge_forces(structures: list[Structure], which: int) -> list[Structure]:
    """Scale the forces of one structure, such that the largest component is ``HUGE``."""
    forces = structures[which].forces
    return _replaced(structures, which, forces * (HUGE / np.abs(forces).max()))


def with_permuted_atoms(structures: list[Structure], which: int, rng: np.random.Generator) -> list[Structure]:
    """Put the forces of one structure in another order than its atoms; none keeps its own."""
    n = len(structures[which].numbers)
    order = rng.permutation(n)
    moved = np.empty(n, int)
    moved[order] = np.roll(order, 1)
    return _replaced(structures, which, structures[which].forces[moved])


def _replaced(structures: list[Structure], which: int, forces: np.ndarray) -> list[Structure]:
    changed = list(structures)
    changed[which] = replace(changed[which], forces=forces)
    return changed


def plant(structures: list[Structure], n_single: int, seed: int = 0) -> list[Fault]:
    """Plant each fault once, and those of single structures in several.

    Args:
        structures: Without faults.
        n_single: In how many structures, one at a time, forces are made huge or permuted. They are drawn
            from those of several atoms with forces above the median, where an exchange means something.
        seed: Of the choice.
    """
    rng = np.random.default_rng(seed)
    faults = [Fault(f"energies in {unit}", UNIT_RULES, in_unit(structures, unit)) for unit in UNITS]
    if any(s.stress is not None for s in structures):
        faults.append(Fault("stress in VASP's order", ORDER_RULES, in_vasp_order(structures)))
    sizes = np.array(
        [0.0 if s.forces is None or len(s.numbers) < 2 else np.sqrt((s.forces**2).mean()) for s in structures]
    )
    usual = np.flatnonzero(sizes > np.median(sizes[sizes > 0]))
    for which in rng.choice(usual, min(n_single, len(usual)), replace=False).tolist():
        name = structures[which].name
        faults.append(Fault("huge forces", SINGLE_RULES, with_huge_forces(structures, which), name))
        permuted = with_permuted_atoms(structures, which, rng)
        faults.append(Fault("permuted atoms", SINGLE_RULES, permuted, name))
    return faults


def examine(structures: list[Structure], potential, n_single: int) -> dict[str, list[tuple[bool, list[str]]]]:
    """Check a data set without and with each fault.

    Returns:
        Of each fault whether it was found, and the errors that it does not explain; of "none" whether there
        is no error.
    """
    clean = check_source(Listed(structures), potential)
    rows = {"none": [(not clean.errors, sorted(finding.rule for finding in clean.errors))]}
    for fault in plant(structures, n_single):
        report = check_source(Listed(fault.structures), potential)
        rows.setdefault(fault.name, []).append((fault.found(report), fault.others(report)))
    return rows


def main(say: Callable[[str], None] = print) -> None:
    """Print a row for each set and fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=SETS)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", help="a reference; without it, the rules that need none")
    parser.add_argument("--single", type=int, default=10, help="structures in which forces are spoilt")
    parser.add_argument("--step", type=int, default=1, help="take every N-th structure")
    arguments = parser.parse_args()
    potential = None if arguments.model is None else Remembering(load_model(arguments.model))
    for name in arguments.sets:
        source = open_source(arguments.data / f"{name}.extxyz.gz")
        structures = [source[index] for index in range(0, len(source), arguments.step)]
        for fault, results in examine(structures, potential, arguments.single).items():
            found = sum(ok for ok, _ in results)
            others = sorted({rule for _, rules in results for rule in rules})
            say(f"{name:40} {fault:24} {found:3}/{len(results):<3} {' '.join(others)}")


if __name__ == "__main__":
    main()
