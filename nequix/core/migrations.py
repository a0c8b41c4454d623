"""Format versions: older records are upgraded on reading, newer ones are rejected.

A :class:`Format` lists what each of its versions changed. Adding a field to a format is one :class:`Change`
with the value that files without the field imply; the version follows from the number of changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


class NewerVersion(ValueError):
    """A record that a newer nequix wrote."""


@dataclass(frozen=True)
class Change:
    """The change of one version of a format.

    Attributes:
        defaults: Added fields, and the values that records without them imply; ``section.name`` for a
            field of a section, which stays absent if the section is.
        rewrite: Converts a record of the previous version to this version, for changes that added fields
            cannot express: renamed fields, other units, another meaning. It returns a new record.
    """

    defaults: Mapping[str, Any] = field(default_factory=dict)
    rewrite: Callable[[dict[str, Any]], dict[str, Any]] | None = None


@dataclass(frozen=True)
class Format:
    """A kind of record that nequix writes and reads back.

    Attributes:
        name: Name in messages, e.g. ``ensemble``.
        changes: Changes of versions 2, 3, ..., in order; never edited after a release.
    """

    name: str
    changes: tuple[Change, ...] = ()

    @property
    def version(self) -> int:
        """The current version, used for new records."""
        return 1 + len(self.changes)

    def upgrade(self, record: Mapping[str, Any], version: object) -> dict[str, Any]:
        """Upgrade a record of any version to the current one.

        Args:
            record: Its fields, without the version; not changed.
            version: As it was read: a whole number from 1, or its decimal digits.

        Raises:
            NewerVersion: If a newer nequix wrote it.
            ValueError: If the version is not a positive integer.
        """
        number = _parse_version(version)
        if number is None:
            raise ValueError(f"{self.name} version {version!r:.40}, expected a whole number from 1")
        if number > self.version:
            raise NewerVersion(
                f"{self.name} version {number} was written by a newer nequix; this one reads versions up to "
                f"{self.version}: install a newer nequix"
            )
        upgraded = dict(record)
        for change in self.changes[number - 1 :]:
            for name, value in change.defaults.items():
                upgraded = _with_default(upgraded, name, value)
            if change.rewrite is not None:
                upgraded = change.rewrite(upgraded)
        return upgraded

    def lower(self, record: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Downgrade a record to the oldest version that can express it.

        Records that use no newer field stay as they were: equal bytes, equal checksums, readable by an older
        nequix. Fields of sections are not lowered.

        Args:
            record: Fields of the current version; not changed.

        Returns:
            The version, and the fields of that version.
        """
        version, lowered = self.version, dict(record)
        for change in reversed(self.changes):
            if change.rewrite is not None or any(
                name not in lowered or lowered[name] != value for name, value in change.defaults.items()
            ):
                break
            version -= 1
            lowered = {name: value for name, value in lowered.items() if name not in change.defaults}
        return version, lowered


def _parse_version(version: object) -> int | None:
    if isinstance(version, str) and version.isascii() and version.isdigit() and len(version) <= 9:
        version = int(version)
    return version if type(version) is int and version >= 1 else None


def _with_default(record: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    """Return a record with a field, which keeps its value if it is there."""
    section, _, below = name.partition(".")
    if not below:
        return record if name in record else {**record, name: value}
    inner = record.get(section)
    return {**record, section: _with_default(inner, below, value)} if isinstance(inner, dict) else record
