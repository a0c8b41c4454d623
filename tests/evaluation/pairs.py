"""A pair potential that looks like a model: phonons of it are stable, and quick."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from nequix.graphs.graph import Graph, graph_from_atoms
from nequix.graphs.results import Results
from tests.calculator.small import SPEC

CUTOFF = SPEC.cutoff


class PairPotential:
    """``D (1 - exp(-a (r - r0)))^2 - D`` between all pairs, smoothly cut off.

    Args:
        strength: ``D``, eV.
    """

    def __init__(self, strength: float = 0.3) -> None:
        self.spec, self.strength = SPEC, strength
        self.kernel, self.dtype, self.device = SimpleNamespace(name="none", calls=0), "float64", "cpu"

    def _terms(self, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        a, r0 = 1.5, 2.6
        decay = np.exp(-a * (r - r0))
        morse, slope = self.strength * ((1 - decay) ** 2 - 1), 2 * self.strength * a * decay * (1 - decay)
        x = r / CUTOFF
        cut = np.where(x < 1, (1 - x**2) ** 3, 0.0)
        cut_slope = np.where(x < 1, -6 * x / CUTOFF * (1 - x**2) ** 2, 0.0)
        return morse * cut, slope * cut + morse * cut_slope

    def evaluate(self, graph: Graph) -> Results:
        vectors = graph.vectors
        r = np.linalg.norm(vectors, axis=1)
        energy, slope = self._terms(r)
        gradient = 0.5 * slope[:, None] * vectors / r[:, None]
        energies = np.bincount(graph.receivers, 0.5 * energy, graph.n_nodes)
        forces, virial = np.zeros((graph.n_nodes, 3)), np.zeros((graph.n_graphs, 3, 3))
        np.add.at(forces, graph.receivers, gradient)
        np.add.at(forces, graph.senders, -gradient)
        np.add.at(virial, graph.edge_graph, vectors[:, :, None] * gradient[:, None, :])
        total = np.bincount(graph.node_graph, energies, graph.n_graphs)
        return Results(total, energies, forces, virial / graph.volume[:, None, None])

    def hessian_vector_product(self, graph: Graph, direction: np.ndarray) -> np.ndarray:
        """Exact to about 1e-9 eV/A^2, by differences of fourth order."""

        def forces(step: float) -> np.ndarray:
            moved = {**vars(graph), "positions": graph.positions + step * direction}
            return self.evaluate(Graph(**moved)).forces

        h = 1e-3
        return -(8 * (forces(h) - forces(-h)) - (forces(2 * h) - forces(-2 * h))) / (12 * h)


class PairCalculator(Calculator):
    """The pair potential as a calculator with a ``potential``, as :class:`nequix.NequixCalculator` has it."""

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012

    def __init__(self, strength: float = 0.3) -> None:
        super().__init__()
        self.potential = PairPotential(strength)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        results = self.potential.evaluate(graph_from_atoms(self.atoms, SPEC))
        energy = float(results.energy[0])
        self.results = {"energy": energy, "free_energy": energy, "forces": results.forces}
        self.results["stress"] = full_3x3_to_voigt_6_stress(results.stress[0])
