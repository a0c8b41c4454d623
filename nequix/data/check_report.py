"""The report of the data checks: findings, notes, and what was covered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

NAMED = 100
"""Number of structures that a finding names; it counts all."""

_PLURAL = {"energy": "energies", "forces": "with forces", "stress": "stresses"}


@dataclass(frozen=True)
class Finding:
    """One kind of fault in a data set.

    Attributes:
        rule: Its short name.
        severity: ``error`` for faults that spoil training, ``warning`` for possible intentions.
        message: Observation, expectation and advice.
        count: Number of structures with it.
        names: Names of the first of them.
    """

    rule: str
    severity: Literal["error", "warning"]
    message: str
    count: int
    names: tuple[str, ...]


@dataclass
class Report:
    """The outcome of all checks.

    Attributes:
        n_structures: Number of structures that were read.
        findings: The faults, errors first.
        notes: Checks that were not possible, and why.
        labels: Numbers of structures with an energy, forces and a stress.
        rules: Number of structures that each rule was applied to.
        parts: Of several joined sources, by path, how many ``structures`` and how many with each label.
    """

    n_structures: int
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    rules: dict[str, int] = field(default_factory=dict)
    parts: dict[str, dict[str, int]] = field(default_factory=dict)

    def judge(
        self,
        rule: str,
        severity: Literal["error", "warning"],
        message: str,
        names: Sequence[str],
        covered: int,
    ) -> None:
        """Record that a rule was applied, and a finding if structures have the fault.

        Args:
            rule: The fault's short name.
            severity: ``error`` or ``warning``.
            message: Observation, expectation and advice.
            names: Names of the structures that have the fault.
            covered: Number of structures that the rule was applied to.
        """
        self.rules[rule] = max(covered, self.rules.get(rule, 0))
        earlier = next((item for item in self.findings if item.rule == rule), None)
        if names and earlier is None:
            self.findings.append(Finding(rule, severity, message, len(names), tuple(names[:NAMED])))
        elif earlier is not None and len(names) > earlier.count:  # the same fault from another comparison
            position = self.findings.index(earlier)
            self.findings[position] = Finding(rule, severity, message, len(names), tuple(names[:NAMED]))

    def summary(self) -> str:
        """Summarise what was checked: structures, labels, rules, and rules without anything to check."""
        labels = ", ".join(f"{count} {_PLURAL[label]}" for label, count in self.labels.items())
        applied = [rule for rule, count in self.rules.items() if count]
        idle = [rule for rule, count in self.rules.items() if not count]
        text = f"{self.n_structures} structures ({labels}) checked by {len(applied)} rules"
        return f"{text}; without anything to judge: {', '.join(idle)}" if idle else text

    @property
    def errors(self) -> list[Finding]:
        """The findings that are errors."""
        return [found for found in self.findings if found.severity == "error"]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {**asdict(self), "errors": len(self.errors)}
