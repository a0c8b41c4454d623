"""Checks of labels and structures before training (docs/data.md, checks)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from nequix.core.errors import DataError
from nequix.data.check_energies import check_energies
from nequix.data.check_forces import TRUSTED, ForceComparison, check_forces, fit_pairs
from nequix.data.check_reference import check_reference
from nequix.data.check_report import Finding, Report
from nequix.data.check_stress import check_stress, compare_order
from nequix.data.check_symmetry import check_symmetry
from nequix.data.check_units import check_fitted, check_spread, check_work
from nequix.data.label_table import LABELS
from nequix.data.near_pairs import choose_pairs, moved_changes
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
        source: The source; a stream gets fewer checks.
        potential: A reference model; the data may only contain its elements and are compared with its
            predictions.
        evaluations: Number of structures that the reference evaluates.
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
        report.judge("empty", "error", "no structure; is it complete?", (source.path,), 0)
        return report
    report.labels = {label: sum(r.has[which] for r in records) for which, label in enumerate(LABELS)}
    report.parts = _count_parts(records, source)
    _unreadable(failures, report)
    for rule in (_missing, _not_finite, _zeroed, check_forces, _distances, _lengths, _duplicates):
        rule(records, report)
    check_energies(records, report)
    check_spread(records, report)
    works = check_stress(records, source, report)
    _check_consistency(records, source, works, report)
    check_symmetry(records, source, report)
    if potential is not None:
        check_reference(records, source, potential, evaluations, report)
    else:
        report.notes.append("no reference potential: give --model to compare labels and elements with one")
    report.findings.sort(key=lambda item: item.severity)
    return report


def _count_parts(records: list[Record], source: Source) -> dict[str, dict[str, int]]:
    """Count the labels of every joined source; nothing for one source, or for streams."""
    paths = source.parts()
    if len(paths) < 2:
        return {}
    try:
        parts = [source.part_of(r.index) for r in records]
    except StreamError:
        return {}
    counted = {path: dict.fromkeys(("structures", *LABELS), 0) for path in paths}
    for part, r in zip(parts, records, strict=True):
        present = [label for label, has in zip(LABELS, r.has, strict=True) if has]
        for name in ("structures", *present):
            counted[paths[part]][name] += 1
    return counted


def _check_consistency(
    records: list[Record], source: Source, works: list[tuple[float, float]], report: Report
) -> None:
    """Compare labels with each other: energies with the work of forces, forces with a fit to all of them."""
    try:
        changes = moved_changes(choose_pairs(records, with_stress=False), source)
    except StreamError:
        changes = []
    check_work([*changes, *works], [r.name for r in records if r.has[0] and r.has[1]], report)
    pairs = fit_pairs(records, source, report)
    compared = ForceComparison(pairs, fitted=True)
    compared.judge(report, "a pair potential fitted to the forces of all")
    check_fitted(pairs, compared.agreement, report)
    stressed = [(s, r) for s, r in pairs if s.stress is not None and np.isfinite(r.stress).all()]
    if stressed and compared.agreement >= TRUSTED:
        compare_order(
            [r.stress[0] for _, r in stressed],
            [s.stress for s, _ in stressed if s.stress is not None],
            [s.name for s, _ in stressed],
            "a pair potential fitted to the forces",
            report,
        )


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


def _unreadable(failures: list[tuple[str, str]], report: Report) -> None:
    message = failures[0][1] if failures else ""
    report.judge("unreadable", "error", message, [name for name, _ in failures], report.n_structures)


def _missing(records: list[Record], report: Report) -> None:
    for which, label in enumerate(LABELS):
        needed = [r for r in records if label != "stress" or r.three_dimensional]
        without = [r.name for r in needed if not r.has[which]]
        every = not any(r.has[which] for r in records)
        report.judge(
            f"missing-{label}",
            "warning" if label == "stress" else "error",
            f"no {label}{' anywhere' if every else ''}; name another key (--{label}-key), or train without "
            f"(loss.{label}: 0)",
            without,
            len(needed),
        )


def _not_finite(records: list[Record], report: Report) -> None:
    bad = [r for r in records if r.not_finite]
    labels = ", ".join(sorted({label for r in bad for label in r.not_finite}))
    message = f"{labels} not finite; leave these out"
    report.judge("not-finite", "error", message, [r.name for r in bad], len(records))


def _zeroed(records: list[Record], report: Report) -> None:
    zeroed = [r.name for r in records if r.zeroed and r.net_force > ZEROED_NET]
    net = [r.name for r in records if not r.zeroed and r.net_force > UNBALANCED_NET]
    n = sum(r.has[1] for r in records)
    message = (
        "some forces are exactly zero and the others do not add up to zero: constrained atoms' forces were "
        "set to zero; export raw forces (ASE: get_forces(apply_constraint=False))"
    )
    report.judge("forces-zeroed", "error", message, zeroed, n)
    report.judge("net-force", "warning", "the forces do not add up to zero; is an atom missing?", net, n)


def _distances(records: list[Record], report: Report) -> None:
    absurd = [f"{r.name} ({r.closest_pair})" for r in records if r.closest < ABSURD]
    close = [f"{r.name} ({r.closest_pair})" for r in records if ABSURD <= r.closest < CLOSE]
    none = [f"{r.name} ({r.problem})" for r in records if r.problem]
    isolated = [f"{r.name} ({r.isolated} atoms)" for r in records if r.isolated]
    n, radii = len(records), "of their covalent radii's sum"
    report.judge("no-graph", "error", "no graph can be built; leave these out", none, n)
    report.judge("too-close", "error", f"atoms closer than {ABSURD} {radii}", absurd, n)
    report.judge("close", "warning", f"atoms closer than {CLOSE} {radii}", close, n)
    report.judge("isolated", "warning", f"atoms without another within {ISOLATED} A", isolated, n)


def _lengths(records: list[Record], report: Report) -> None:
    closest = [r.closest for r in records if np.isfinite(r.closest)]
    n = len(closest) if len(closest) >= 5 else 0
    middle = float(np.median(closest)) if n else 1.0
    message = (
        f"the shortest distances are {middle:.2f} of the covalent radii's sums (median), expected about 0.9: "
        "are positions and cell in A? Bohr must be multiplied by 0.5292, nm by 10"
    )
    wrong = not LENGTHS[0] <= middle <= LENGTHS[1]
    report.judge("length-unit", "error", message, [r.name for r in records] if wrong else [], n)


def _duplicates(records: list[Record], report: Report) -> None:
    groups: dict[bytes, list[Record]] = defaultdict(list)
    for r in records:
        groups[r.identity].append(r)
    repeated = [group for group in groups.values() if len(group) > 1]
    differ = [group[0].name for group in repeated if _spread([r.energy for r in group]) > _SAME_ENERGY]
    names = [f"{r.name} (as {group[0].name})" for group in repeated for r in group[1:]]
    n = len(records)
    report.judge("duplicate", "error", "structures that occur before; leave them out", names, n)
    message = "equal structures with different energies; find out which is right"
    report.judge("contradiction", "error", message, differ, n)


def _spread(energies: list[float]) -> float:
    """Return how far energies are apart; NaN does not count."""
    known = [energy for energy in energies if np.isfinite(energy)]
    return max(known) - min(known) if known else 0.0
