"""Results that a potential returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nequix.core.errors import GraphError
from nequix.core.spec import ModelSpec
from nequix.graphs.graph import Graph

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class Results:
    """Energies, forces and stress of one structure or a batch, float64 whatever the engine's precision.

    Attributes:
        energy: Energy of each structure, eV.
        energies: Energy of each atom, eV.
        forces: eV/A.
        stress: eV/A^3, ``(1/V) dE/d(strain)``, positive under tension (ASE's sign); NaN for a
            structure without a volume.

    Example:
        >>> from ase.build import bulk
        >>> from nequix import graph_from_atoms, load_model
        >>> potential = load_model("nequix-nano")
        >>> results = potential.evaluate(graph_from_atoms(bulk("Si", a=5.4), potential.spec))
        >>> results.forces.shape, results.stress.shape
        ((2, 3), (1, 3, 3))
    """

    energy: Float[np.ndarray, " n_graphs"]
    energies: Float[np.ndarray, " n_nodes"]
    forces: Float[np.ndarray, "n_nodes 3"]
    stress: Float[np.ndarray, "n_graphs 3 3"]


@dataclass(frozen=True, eq=False)
class EnsembleResults:
    """Predictions of all members of an ensemble for one structure or a batch.

    Attributes:
        members: The results of each member.
        mean: Their means.

    Example:
        >>> import numpy as np
        >>> from nequix import EnsembleResults, Results
        >>> forces, stress = np.zeros((1, 3)), np.zeros((1, 3, 3))
        >>> members = [Results(np.array([e]), np.array([e]), forces, stress) for e in (-1.0, -1.5)]
        >>> float(EnsembleResults(tuple(members)).mean.energy[0])
        -1.25
    """

    members: tuple[Results, ...]

    @property
    def mean(self) -> Results:
        """Return the means of the members' results."""
        return Results(*(self._stacked(name).mean(0) for name in ("energy", "energies", "forces", "stress")))

    @property
    def energy_spread(self) -> Float[np.ndarray, " n_graphs"]:
        """Return the standard deviation of each structure's energy over the members, eV."""
        return self._stacked("energy").std(0, ddof=1)

    @property
    def forces_spread(self) -> Float[np.ndarray, " n_nodes"]:
        """Return the standard deviation of a component of each atom's force, eV/A, as a mean over three."""
        return np.sqrt(self._stacked("forces").var(0, ddof=1).mean(-1))

    def _stacked(self, name: str) -> np.ndarray:
        return np.stack([getattr(member, name) for member in self.members])


def unpad_results(graph: Graph, energies: np.ndarray, forces: np.ndarray, virial: np.ndarray) -> Results:
    """Cut padding off an engine's outputs, sum energies in float64 and divide virials by volumes.

    Args:
        graph: The graph that was evaluated.
        energies: Energy of each atom, eV, including padding.
        forces: eV/A, including padding.
        virial: ``dE/d(strain)`` of each structure, eV, including padding.
    """
    energies = np.array(energies[: graph.n_nodes])  # copies: an engine's buffers are larger, and read-only
    energy = np.bincount(graph.node_graph, energies, graph.n_graphs)
    volume = graph.volume[:, None, None]
    stress = np.divide(
        virial[: graph.n_graphs], volume, where=volume > 0, out=np.full_like(graph.cell, np.nan)
    )
    return Results(energy, energies, np.array(forces[: graph.n_nodes]), stress)


def check_graph(graph: Graph, spec: ModelSpec) -> None:
    """Reject a graph that was not built for a model.

    Args:
        graph: The graph.
        spec: The model's specification.

    Raises:
        GraphError: If the graph has another cutoff, other elements or unknown species.
    """
    if graph.cutoff != spec.cutoff:
        raise GraphError(
            f"the graph has the cutoff {graph.cutoff} A, the model {spec.cutoff} A; "
            "build the graph with this model's specification"
        )
    if graph.atomic_numbers and graph.atomic_numbers != spec.atomic_numbers:
        raise GraphError(
            f"the graph was built for a model of {len(graph.atomic_numbers)} elements, the model has "
            f"{spec.n_species} or other ones; build the graph with this model's specification"
        )
    if graph.n_nodes and graph.species.max() >= spec.n_species:
        raise GraphError(
            f"the graph has species {graph.species.max()}, the model {spec.n_species}; "
            "build the graph with this model's specification"
        )


def check_direction(graph: Graph, direction: np.ndarray) -> Float[np.ndarray, "n_nodes 3"]:
    """Return a displacement of every atom as float64.

    Args:
        graph: The graph.
        direction: The displacement.

    Raises:
        GraphError: If it has another shape or is not finite.
    """
    checked = np.asarray(direction, np.float64)
    if checked.shape != (graph.n_nodes, 3) or not np.isfinite(checked).all():
        finite = "finite" if np.isfinite(checked).all() else "not finite"
        raise GraphError(
            f"the direction has shape {checked.shape} and is {finite}, expected {(graph.n_nodes, 3)}, "
            "finite: a displacement of every atom"
        )
    return checked
