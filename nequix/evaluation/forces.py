"""Forces of displaced supercells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nequix.core.errors import GraphError
from nequix.graphs.batches import evaluate_graphs
from nequix.graphs.graph import build_graph

if TYPE_CHECKING:
    from jaxtyping import Float

    from nequix.potential import Potential


def supercell_forces(
    potential: Potential, supercells: Sequence[Any]
) -> Float[np.ndarray, "n_supercells n_atoms 3"]:
    """Evaluate forces of supercells of one size, several at once, eV/A.

    Args:
        potential: The model.
        supercells: ``phonopy.structure.atoms.PhonopyAtoms``, or anything with its attributes.

    Raises:
        GraphError: For a structure that the model cannot evaluate, or forces that are not finite.
    """
    graphs = (
        build_graph(np.asarray(cell.numbers), cell.positions, cell.cell, True, potential.spec)
        for cell in supercells
    )
    forces = np.array([results.forces for results in evaluate_graphs(potential, graphs)])
    finite = np.isfinite(forces).all(axis=(1, 2))
    if not finite.all():
        raise GraphError(f"supercell {finite.argmin()} has forces that are not numbers; check the structure")
    return forces
