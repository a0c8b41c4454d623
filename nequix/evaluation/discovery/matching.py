"""How far relaxed structures lie from DFT's, by pymatgen's structure matcher, as in the benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nequix.evaluation.discovery.results import Relaxed
from nequix.evaluation.discovery.structures import to_pymatgen

TOLERANCE = 1.0
"""Largest site distance of a match, over the cube root of the volume an atom has."""

UNMATCHED = 1.0
"""What a structure counts that matches none."""


def displacements(relaxed: Iterable[Relaxed], references: Mapping[str, Any]) -> dict[str, float]:
    """Return the RMSD of each structure, over the cube root of the volume that an atom has.

    Cells are not scaled to one volume. A structure that does not match counts :data:`UNMATCHED`.

    Args:
        relaxed: The structures; those without a reference are left out.
        references: DFT's structures (``ase.Atoms``) by identifier.
    """
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.core import Structure

    matcher = StructureMatcher(stol=TOLERANCE, scale=False)
    held = {}
    for one in relaxed:
        if one.name not in references:
            continue
        atoms = references[one.name]
        pair = (
            Structure.from_dict(to_pymatgen(numbers, positions, cell))
            for numbers, positions, cell in (
                (one.numbers.tolist(), one.positions, one.cell),
                (atoms.numbers.tolist(), atoms.positions, atoms.cell.array),
            )
        )
        found = matcher.get_rms_dist(*pair)
        held[one.name] = UNMATCHED if found is None else float(found[0])
    return held
