"""What is checked of one engine, kernel and precision, against the equations, itself and the others."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from nequix.graphs.graph import Graph
from nequix.graphs.results import Results
from nequix.io.weights import Weights
from nequix.potential import Potential
from nequix.verify import equations
from nequix.verify.structures import Structure, join, structures
from nequix.verify.tolerances import LARGE, allowed

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float, Int

STEP = 3e-4
"""Of finite differences: A along the direction, and strain."""

STENCIL = {1: 8 / 12, -1: -8 / 12, 2: -1 / 12, -2: 1 / 12}
"""Central differences of fourth order: weight of each multiple of the step."""


@dataclass(frozen=True)
class Check:
    """One comparison.

    Attributes:
        name: What was compared, a key of the table of tolerances.
        error: The largest error, divided as described at ``LARGE``.
        tolerance: What it may be.
        structure: Where it is largest.
    """

    name: str
    error: float
    tolerance: float
    structure: str

    @property
    def passed(self) -> bool:
        """Whether the error is small enough; NaN is not."""
        return bool(self.error <= self.tolerance)


@dataclass(frozen=True)
class Moved:
    """The structures with their atoms in another order, moved, and rotated or reflected.

    Attributes:
        graph: All of them.
        orthogonal: What each was multiplied with.
        order: Atom of the unmoved graph for each atom.
    """

    graph: Graph
    orthogonal: Float[np.ndarray, "n_graphs 3 3"]
    order: Int[np.ndarray, " n_nodes"]


@dataclass(frozen=True)
class Problem:
    """What every configuration evaluates; the same numbers for all of them.

    Attributes:
        names: Of the structures.
        graph: All of them, side by side.
        energies: Of every atom by the equations in NumPy, eV.
        direction: Displacements of about 1 A, for Hessian products and differences.
        strain: A symmetric strain for each structure.
        moved: ``rotation`` and ``reflection``.
        displaced: Along the direction, by the multiples of the step.
        strained: By the strain, by the multiples of the step.
    """

    names: list[str]
    graph: Graph
    energies: Float[np.ndarray, " n_nodes"]
    direction: Float[np.ndarray, "n_nodes 3"]
    strain: Float[np.ndarray, "n_graphs 3 3"]
    moved: dict[str, Moved]
    displaced: dict[int, Graph]
    strained: dict[int, Graph]


@dataclass
class Observed:
    """What a configuration returned.

    Attributes:
        results: Of the unmoved structures.
        products: Hessian products with the direction; None if they were left out.
        checks: Those made so far.
        calls: How often the kernel ran in each stage that is its own.
        precision: Which tolerances it has.
        seconds: How long each stage took.
    """

    results: Results
    products: Float[np.ndarray, "n_nodes 3"] | None
    precision: str
    checks: list[Check] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def pose(weights: Weights) -> Problem:
    """Make the problem for a model.

    Args:
        weights: The model.
    """
    spec, rng = weights.spec, np.random.default_rng(7)
    members = structures(spec)
    graph = join(members, spec)
    direction = rng.normal(0, 1, (graph.n_nodes, 3))
    strain = rng.normal(0, 0.3, (len(members), 3, 3))  # 10 A apart, it moves atoms as far as the direction
    strain = (strain + strain.swapaxes(1, 2)) / 2
    per_member = np.split(direction, np.cumsum(graph.n_node)[:-1])
    shifted = {
        k: [
            m._replace(positions=m.positions + k * STEP * d) for m, d in zip(members, per_member, strict=True)
        ]
        for k in STENCIL
    }
    strained = {
        k: [
            m._replace(positions=m.positions @ deformation, cell=m.cell @ deformation)
            for m, deformation in zip(members, np.eye(3) + k * STEP * strain, strict=True)
        ]
        for k in STENCIL
    }
    return Problem(
        [member.name for member in members],
        graph,
        equations.energies(graph, weights),
        direction,
        strain,
        {name: _move(members, weights, sign, rng) for name, sign in (("rotation", 1), ("reflection", -1))},
        {k: join(moved, spec) for k, moved in shifted.items()},
        {k: join(moved, spec) for k, moved in strained.items()},
    )


def _move(members: list[Structure], weights: Weights, sign: int, rng: np.random.Generator) -> Moved:
    matrices, orders, moved, start = [], [], [], 0
    for member in members:
        matrix = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        matrix *= sign * np.sign(np.linalg.det(matrix))
        order = rng.permutation(len(member.numbers))
        # Each atom into some other cell, where the structure is periodic.
        offsets = rng.integers(-2, 3, (len(order), 3)) * member.pbc
        positions = (member.positions + offsets @ member.cell)[order] @ matrix.T + rng.normal(size=3)
        moved.append(
            Structure(member.name, member.numbers[order], positions, member.cell @ matrix.T, member.pbc)
        )
        matrices.append(matrix)
        orders.append(order + start)
        start += len(order)
    return Moved(join(moved, weights.spec), np.array(matrices), np.concatenate(orders))


def precision(potential: Potential) -> str:
    """Return the tolerances of a configuration: those of its dtype, or of tabulated radial functions.

    Args:
        potential: The configuration.
    """
    tabulated = potential.native is not None and potential.dtype == "float64"
    return "tabulated" if tabulated else potential.dtype


def observe(potential: Potential, problem: Problem, differences: bool, products: bool = True) -> Observed:
    """Evaluate a configuration and check it against the equations and against itself.

    Args:
        potential: The configuration.
        problem: What to evaluate.
        differences: Whether to compare with finite differences, too.
        products: Whether to evaluate Hessian products.
    """
    stages: dict[str, tuple[int, float]] = {}

    def stage(name: str, function: Callable) -> np.ndarray | Results:
        calls, start = potential.kernel.n_calls, time.perf_counter()
        returned = function()
        stages[name] = (potential.kernel.n_calls - calls, time.perf_counter() - start)
        return returned

    results = stage("evaluate", lambda: potential.evaluate(problem.graph))
    hessian = None
    if products:
        hessian = stage(
            "Hessian products", lambda: potential.hessian_vector_product(problem.graph, problem.direction)
        )
    observed = Observed(results, hessian, precision(potential))  # pyright: ignore[reportArgumentType]
    judge = _Judge(problem, observed.precision, observed.checks)
    judge.atoms("equations", observed.results.energies, problem.energies)
    start = time.perf_counter()
    for name, moved in problem.moved.items():
        _check_symmetry(judge, name, moved, observed.results, potential.evaluate(moved.graph))
    if differences:
        _check_differences(judge, observed, potential, problem)
    # The second derivatives of a native kernel are those of the plain one.
    own = ["evaluate"] if potential.native is not None else list(stages)
    observed.calls = {name: stages[name][0] for name in own}
    observed.seconds = {name: seconds for name, (_, seconds) in stages.items()}
    observed.seconds["symmetries and differences"] = time.perf_counter() - start
    return observed


def compare(observed: Observed, precision: str, reference: Observed, problem: Problem) -> None:
    """Check a configuration against another one.

    Args:
        observed: The configuration, which gets the checks.
        precision: As from :func:`precision`.
        reference: The other one.
        problem: What they evaluated.
    """
    judge = _Judge(problem, precision, observed.checks)
    judge.atoms("energies", observed.results.energies, reference.results.energies)
    judge.atoms("forces", observed.results.forces, reference.results.forces)
    judge.graphs("stress", observed.results.stress, reference.results.stress)


def compare_products(
    observed: Observed, reference: Float[np.ndarray, "n_nodes 3"] | None, problem: Problem
) -> None:
    """Check Hessian products against those of another configuration, where both were evaluated.

    Args:
        observed: The configuration, which gets the check.
        reference: Products of the other one.
        problem: What they evaluated.
    """
    if observed.products is not None and reference is not None and reference is not observed.products:
        _Judge(problem, observed.precision, observed.checks).atoms("Hessian", observed.products, reference)


def _check_symmetry(judge: _Judge, name: str, moved: Moved, results: Results, turned: Results) -> None:
    Q = moved.orthogonal
    back = np.empty_like(moved.order)
    back[moved.order] = np.arange(len(back))
    forces = np.einsum("nab,nb->na", Q[moved.graph.node_graph], results.forces[moved.order])
    stress = Q @ results.stress @ Q.swapaxes(1, 2)
    # Atoms stay within their structure, so the errors are assigned to structures as in the unmoved graph.
    judge.atoms(name, turned.energies[back], results.energies)
    judge.atoms(name, turned.forces, forces)
    judge.graphs(name, turned.stress, stress)


def _check_differences(judge: _Judge, observed: Observed, potential: Potential, problem: Problem) -> None:
    displaced = {k: potential.evaluate(graph) for k, graph in problem.displaced.items()}
    strained = {k: potential.evaluate(graph) for k, graph in problem.strained.items()}

    def slope(values: dict[int, np.ndarray]) -> np.ndarray:
        return sum(STENCIL[k] * value for k, value in values.items()) / STEP  # pyright: ignore

    work = np.einsum("na,na->n", observed.results.forces, problem.direction)
    work = np.bincount(problem.graph.node_graph, work, problem.graph.n_graphs)
    judge.graphs("FD forces", -slope({k: r.energy for k, r in displaced.items()}), work)
    volume = problem.graph.volume
    with np.errstate(divide="ignore", invalid="ignore"):  # without a volume both sides are NaN
        tension = slope({k: r.energy for k, r in strained.items()}) / np.where(volume > 0, volume, np.nan)
    expected = np.einsum("gab,gab->g", observed.results.stress, problem.strain)
    judge.graphs("FD stress", tension, expected)
    if observed.products is not None:
        products = -slope({k: r.forces for k, r in displaced.items()})
        judge.atoms("FD Hessian", products, observed.products)


@dataclass
class _Judge:
    """Turns pairs of arrays into checks; several of one name become one, the worst."""

    problem: Problem
    precision: str
    checks: list[Check]

    def atoms(self, name: str, values: np.ndarray, expected: np.ndarray) -> None:
        """Compare one row an atom."""
        ends = np.cumsum(self.problem.graph.n_node)[:-1]
        self._compare(name, np.split(values, ends), np.split(expected, ends))

    def graphs(self, name: str, values: np.ndarray, expected: np.ndarray) -> None:
        """Compare one row a structure; those without a volume must be NaN on both sides."""
        self._compare(name, list(values), list(expected))

    def _compare(self, name: str, values: list[np.ndarray], expected: list[np.ndarray]) -> None:
        errors = []
        for value, wanted in zip(values, expected, strict=True):
            if np.isnan(wanted).all() and np.isnan(value).all():
                errors.append(0.0)
                continue
            scale = max(1.0, float(np.abs(wanted).max()) / LARGE)
            errors.append(float(np.abs(value - wanted).max()) / scale)
        worst = int(np.argmax(errors))  # NaN counts as the largest
        made = Check(name, errors[worst], allowed(name, self.precision), self.problem.names[worst])
        for index, check in enumerate(self.checks):
            if check.name == name:
                if not check.error >= made.error and not np.isnan(check.error):
                    self.checks[index] = made
                return
        self.checks.append(made)
