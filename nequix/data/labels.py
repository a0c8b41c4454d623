"""How many structures have which labels, and keys that occur nowhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nequix.core.errors import DataError
from nequix.data.label_keys import LabelKeys
from nequix.data.label_table import LABELS
from nequix.data.structure import Structure

_SHOWN = 12
_PARTS = 20  # joined sources that are listed one by one


def count_labels(structures: Iterable[Structure]) -> dict[str, int]:
    """Count the structures that have an energy, forces and a stress.

    Args:
        structures: The structures.
    """
    counts = dict.fromkeys(LABELS, 0)
    for structure in structures:
        for label in LABELS:
            counts[label] += getattr(structure, label) is not None
    return counts


def tell_labels(counts: Mapping[str, int]) -> str:
    """Summarise how many structures have which labels.

    Args:
        counts: Of each label.
    """
    return (
        f"{counts['energy']} with an energy, {counts['forces']} with forces, {counts['stress']} with a stress"
    )


def tell_parts(parts: Mapping[str, Mapping[str, int]]) -> str:
    """Say how many structures of each of several joined sources have which labels; a line for each.

    Args:
        parts: By path, the number of ``structures`` and of each label; nothing for a single source.
    """
    lines = [
        f"  {path}: {counts['structures']} structures, {tell_labels(counts)}"
        for path, counts in parts.items()
    ]
    if len(lines) > _PARTS:
        lines[_PARTS:] = [f"  ... and {len(lines) - _PARTS} more"]
    return "".join(f"\n{line}" for line in lines)


def tell_unread(structure: Structure) -> str:
    """List the other values of a structure, because a label of another name may be among them.

    Args:
        structure: The structure.
    """
    names = ", ".join(structure.unread[:_SHOWN]) + (", ..." if len(structure.unread) > _SHOWN else "")
    return f"{structure.name} has {names or 'nothing'} beside what was looked for"


def refuse_unfound(
    where: str, keys: LabelKeys, counts: Mapping[str, int], n_structures: int, first: Structure
) -> None:
    """Reject a key that was named, if no structure has it.

    Args:
        where: The source, for messages.
        keys: Where the labels are.
        counts: Structures with each label.
        n_structures: Structures that were read.
        first: One of them.

    Raises:
        DataError: Naming the key, and what else the structure has.
    """
    for label, key in keys.named().items():
        if not counts[label]:
            raise DataError(
                f"{where}: none of {n_structures} structures has the key {key!r}, named for {label}; "
                f"{tell_unread(first)}; name another key, or none for the usual ones"
            )
