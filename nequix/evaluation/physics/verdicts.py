"""Numbers judged: limits with their reasons; pass, warn or fail, or not made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What a number means."""

    passed = "pass"
    warned = "warn"
    failed = "fail"
    unmade = "not made"


@dataclass(frozen=True)
class Limit:
    """Up to where a number is good, and up to where it is worth a warning.

    Attributes:
        unit: Of the number.
        passes: Largest number that passes.
        warns: Largest number that gets a warning; beyond it the check has failed.
        reason: Why these.
        float64: Factor of both for float64 layers, where rounding is all that is measured.
    """

    unit: str
    passes: float
    warns: float
    reason: str
    float64: float = 1.0

    def judge(self, value: float | None, dtype: str = "float32") -> Verdict:
        """Judge a number; none, or no number, has failed.

        Args:
            value: The number; only its size counts.
            dtype: Precision of the layers.
        """
        factor = self.float64 if dtype == "float64" else 1.0
        if value is None or not math.isfinite(value) or abs(value) > factor * self.warns:
            return Verdict.failed
        return Verdict.passed if abs(value) <= factor * self.passes else Verdict.warned


@dataclass(frozen=True)
class Row:
    """A judged number.

    Attributes:
        check: What was checked.
        quantity: What the number is.
        value: The number; None if there is none.
        limit: By what it was judged.
        verdict: The judgement.
        note: What happened, if the number does not show it.
    """

    check: str
    quantity: str
    value: float | None
    limit: Limit
    verdict: Verdict
    note: str = ""


def worst(verdicts: list[Verdict]) -> Verdict:
    """Return the worst of several verdicts; of none, pass; a fault counts more than a check that is not made.

    Args:
        verdicts: Any number of them.
    """
    order = (Verdict.failed, Verdict.unmade, Verdict.warned)
    return next((verdict for verdict in order if verdict in verdicts), Verdict.passed)
