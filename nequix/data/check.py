"""Checks of labels and structures, before any time is spent on training with them (docs/data.md, checks)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from nequix.core.errors import DataError
from nequix.data.check_energies import check_energies
from nequix.data.check_reference import check_reference
from nequix.data.check_report import Finding, Report, finding
from nequix.data.check_stress import check_stress
from nequix.data.scan_records import ISOLATED, Record, record
from nequix.data.sources import Source, StreamError
from nequix.data.structure import Structure

if TYPE_CHECKING:
    from nequix.potential import Potential

__all__ = ["Finding", "Report", "check_source"]

ABSURD = 0.36
"""Part of the sum of the covalent radii below which two atoms cannot be meant; the closest of the real
structures that were looked at, displaced until forces reach 215 eV/A among them, had 0.39."""

CLOSE = 0.5
"""The same for a warning: of those only these are closer."""

LENGTHS = (0.5, 1.5)
"""Where a data set's median of that quantity lies: between 0.74 and 1.04 for all that were looked at, and at
1.7 for positions in Bohr."""

ZEROED_NET = 0.003
"""Net force relative to all forces, from which exactly zero ones are missing ones. Of 1,470 real structures
with a zero force none had more than 2e-4; with half of the forces zeroed at random, one in 400 had less."""

UNBALANCED_NET = 0.1
"""The same where none is exactly zero."""

_SAME_ENERGY = 1e-3


def check_source(
    source: Source,
    potential: Potential | None = None,
    *,
    evaluations: int = 200,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Check a data set.

    Args:
        source: The source; a stream will do, with fewer checks.
        potential: A reference, whose elements the data must keep to and whose labels they are compared with.
        evaluations: How many structures the reference evaluates.
        progress: Called with the number of structures that are done since.
    """
    records: list[Record] = []
    failures: list[tuple[str, str]] = []
    for index, structure in _read(source, failures):
        records.append(record(structure, index))
        if progress is not None:
            progress(1)
    report = Report(len(records) + len(failures))
    if not report.n_structures:
        report.findings = [Finding("empty", "error", "no structure; is it whole?", 0, (source.path,))]
        return report
    found = _unreadable(failures)
    for rule in (_missing, _not_finite, _zeroed, _distances, _lengths, _duplicates):
        found += rule(records)
    found += check_energies(records)
    found += check_stress(records, source, report.notes)
    if potential is not None:
        found += check_reference(records, source, potential, evaluations, report.notes)
    else:
        report.notes.append("no reference potential: give --model to compare labels and elements with one")
    report.findings = sorted(found, key=lambda item: item.severity)
    return report


def _read(source: Source, failures: list[tuple[str, str]]) -> Iterator[tuple[int, Structure]]:
    """Read every structure; one that cannot be read is noted, and ends a stream."""
    try:
        indices = range(len(source))
    except StreamError:
        structures = enumerate(source)
        while True:
            try:
                yield next(structures)
            except StopIteration:
                return
            except DataError as error:
                failures.append((source.path, str(error)))
                return
    for index in indices:
        try:
            structure = source[index]
        except DataError as error:
            failures.append((f"{source.path}:{index}", str(error)))
            continue
        yield index, structure


def _unreadable(failures: list[tuple[str, str]]) -> list[Finding]:
    if not failures:
        return []
    return finding("unreadable", "error", f"{failures[0][1]}", [name for name, _ in failures])


def _missing(records: list[Record]) -> list[Finding]:
    found = []
    for which, label in enumerate(("energy", "forces", "stress")):
        without = [r.name for r in records if not r.has[which] and (label != "stress" or r.three_dimensional)]
        if not without:
            continue
        every = not any(r.has[which] for r in records)
        severity = "warning" if label == "stress" else "error"
        found += finding(
            f"missing-{label}",
            severity,
            f"no {label}{' anywhere' if every else ''}; name another key (--{label}-key), or train without "
            f"(loss.{label}: 0)",
            without,
        )
    return found


def _not_finite(records: list[Record]) -> list[Finding]:
    bad = [r for r in records if r.not_finite]
    labels = ", ".join(sorted({label for r in bad for label in r.not_finite}))
    return finding("not-finite", "error", f"{labels} not finite; leave these out", [r.name for r in bad])


def _zeroed(records: list[Record]) -> list[Finding]:
    zeroed = [r.name for r in records if r.zeroed and r.net_force > ZEROED_NET]
    net = [r.name for r in records if not r.zeroed and r.net_force > UNBALANCED_NET]
    return [
        *finding(
            "forces-zeroed",
            "error",
            "some forces are exactly zero and the others do not add up to zero: constrained atoms' forces "
            "were set to zero; export raw forces (ASE: get_forces(apply_constraint=False))",
            zeroed,
        ),
        *finding("net-force", "warning", "the forces do not add up to zero; is an atom missing?", net),
    ]


def _distances(records: list[Record]) -> list[Finding]:
    absurd = [f"{r.name} ({r.closest_pair})" for r in records if r.closest < ABSURD]
    close = [f"{r.name} ({r.closest_pair})" for r in records if ABSURD <= r.closest < CLOSE]
    none = [f"{r.name} ({r.problem})" for r in records if r.problem]
    isolated = [f"{r.name} ({r.isolated} atoms)" for r in records if r.isolated]
    return [
        *finding("no-graph", "error", "no graph can be built; leave these out", none),
        *finding("too-close", "error", f"atoms closer than {ABSURD} of their covalent radii's sum", absurd),
        *finding("close", "warning", f"atoms closer than {CLOSE} of their covalent radii's sum", close),
        *finding("isolated", "warning", f"atoms without another within {ISOLATED} A", isolated),
    ]


def _lengths(records: list[Record]) -> list[Finding]:
    closest = [r.closest for r in records if np.isfinite(r.closest)]
    if len(closest) < 5 or LENGTHS[0] <= (middle := float(np.median(closest))) <= LENGTHS[1]:
        return []
    message = (
        f"the shortest distances are {middle:.2f} of the covalent radii's sums (median), expected about 0.9: "
        "are positions and cell in A? Bohr must be multiplied by 0.5292, nm by 10"
    )
    return finding("length-unit", "error", message, [r.name for r in records])


def _duplicates(records: list[Record]) -> list[Finding]:
    groups: dict[bytes, list[Record]] = defaultdict(list)
    for r in records:
        groups[r.identity].append(r)
    repeated = [group for group in groups.values() if len(group) > 1]
    differ = [group for group in repeated if _spread([r.energy for r in group]) > _SAME_ENERGY]
    names = [f"{r.name} (as {group[0].name})" for group in repeated for r in group[1:]]
    return [
        *finding("duplicate", "error", "structures that occur before; leave them out", names),
        *finding(
            "contradiction", "error", "equal structures with different energies; find out which is right",
            [group[0].name for group in differ],
        ),
    ]  # fmt: skip


def _spread(energies: list[float]) -> float:
    """Return how far energies are apart, of which NaN is none."""
    known = [energy for energy in energies if np.isfinite(energy)]
    return max(known) - min(known) if known else 0.0
