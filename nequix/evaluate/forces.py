"""Forces of displaced supercells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nequix.core.errors import GraphError
from nequix.core.graph import batch, build_graph

if TYPE_CHECKING:
    from jaxtyping import Float

    from nequix.models import Potential

MAX_ATOMS = 512
"""Atoms evaluated at once; more would cost memory and gain nothing on a CPU."""


def supercell_forces(
    potential: Potential, supercells: Sequence[Any], max_atoms: int = MAX_ATOMS
) -> Float[np.ndarray, "n_supercells n_atoms 3"]:
    """Evaluate forces of supercells of one size, several at once, eV/A.

    Args:
        potential: The model.
        supercells: ``phonopy.structure.atoms.PhonopyAtoms``, or anything with its attributes.
        max_atoms: Atoms evaluated at once; at least one supercell is.

    Raises:
        GraphError: For a structure that the model cannot evaluate, or forces that are not finite.
    """
    size = max(1, max_atoms // len(supercells[0].numbers))
    forces = []
    for start in range(0, len(supercells), size):
        some = supercells[start : start + size]
        graphs = [build_graph(np.asarray(s.numbers), s.positions, s.cell, True, potential.spec) for s in some]
        forces.append(potential.evaluate(batch(graphs)).forces)
    result = np.concatenate(forces).reshape(len(supercells), -1, 3)
    if not np.isfinite(result).all():
        bad = int(np.flatnonzero(~np.isfinite(result).all(axis=(1, 2)))[0])
        raise GraphError(f"supercell {bad} has forces that are not finite; check the relaxed structure")
    return result
