"""What the checks of labels return."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

NAMED = 100
"""Structures that a finding names; it counts all."""


@dataclass(frozen=True)
class Finding:
    """One kind of fault in a data set.

    Attributes:
        rule: Its short name.
        severity: ``error`` for what spoils a training, ``warning`` for what may be meant.
        message: What was found, what was expected, what to do.
        count: How many structures have it.
        names: Their names, the first of them.
    """

    rule: str
    severity: Literal["error", "warning"]
    message: str
    count: int
    names: tuple[str, ...]


def finding(
    rule: str, severity: Literal["error", "warning"], message: str, names: Sequence[str]
) -> list[Finding]:
    """Return a finding if there are structures that have the fault.

    Args:
        rule: The fault's short name.
        severity: ``error`` or ``warning``.
        message: What was found, what was expected, what to do.
        names: The structures' names.
    """
    return [Finding(rule, severity, message, len(names), tuple(names[:NAMED]))] if names else []


@dataclass
class Report:
    """The outcome of all checks.

    Attributes:
        n_structures: How many structures were read.
        findings: The faults, errors first.
        notes: What could not be checked, and why.
    """

    n_structures: int
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def errors(self) -> list[Finding]:
        """The findings that are errors."""
        return [found for found in self.findings if found.severity == "error"]

    def to_dict(self) -> dict[str, Any]:
        """List everything, as JSON can hold it."""
        return {**asdict(self), "errors": len(self.errors)}
