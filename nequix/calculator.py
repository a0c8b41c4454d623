"""The ASE calculator."""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, Parameters, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from nequix.backends import import_backend, load_model
from nequix.blas_threads import limit_scipy_threads
from nequix.core.errors import GraphError
from nequix.core.numpy_errors import usual_errors
from nequix.distance_guard import DistanceGuard, Guard, check_guard
from nequix.execution import Execution
from nequix.graphs.graph import Graph, graph_from_atoms
from nequix.graphs.verlet import VerletNeighborList
from nequix.io.catalogue import load_weights
from nequix.io.weights import Weights
from nequix.potential import Potential

if TYPE_CHECKING:
    from jaxtyping import Float

    from nequix.core.spec import ModelSpec
    from nequix.graphs.results import Results


class NequixCalculator(Calculator):
    """Energies, forces, stress and Hessian of ``ase.Atoms`` (docs/calculator.md).

    Args:
        model: A name of :func:`nequix.list_models`, the path of a ``.safetensors`` or ``.nqx`` file, or
            weights or a potential that were loaded before; a potential already has its backend, kernel,
            precision, device and threads, so these arguments must be the defaults or its own.
        backend: ``auto`` (:func:`nequix.backends.choose_backend`), ``native``, ``jax`` or ``torch``; no other
            one is imported.
        kernel: ``auto`` or the name of a convolution kernel.
        dtype: Precision of the layers, ``float32`` or ``float64``; results are float64 in either.
        device: ``cpu``, ``gpu``, ``gpu:1``, ...; by default the first that the backend offers.
        skin: A; the neighbour list extends this far beyond the cutoff and is rebuilt when atoms have moved by
            half of it. It affects only speed, not results.
        threads: Threads of the native library; by default ``OMP_NUM_THREADS`` or all processors, fewer for
            small
            systems.
        guard: What to do about atoms that are closer than any of the same elements in the training data:
            ``warn`` once, raise an ``error``, or None for nothing. A model without a coverage reference, or a
            potential, has no such guard.

    Attributes:
        potential: The model on its backend.
        guard: Compares distances with the training data; None if there is no guard.
        backend: The backend's name.

    Raises:
        BackendUnavailable: If the backend, the kernel or the device is not there.
        WeightsError: If there is no such model, or it cannot be downloaded or read; with ``guard="error"``,
            if it has no coverage reference.
        ValueError: For another backend, kernel or precision than there are, threads that the kernel
            cannot take, others than a potential's own, or another guard.

    Example:
        >>> from ase.build import bulk
        >>> from nequix import NequixCalculator
        >>> atoms = bulk("Si", a=5.4)
        >>> atoms.calc = NequixCalculator("nequix-nano")
        >>> atoms.get_forces().shape
        (2, 3)
        >>> atoms.get_stress().shape  # xx, yy, zz, yz, xz, xy, eV/A^3
        (6,)
    """

    implemented_properties: list[str] = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012
    ignored_changes: set[str] = {"initial_charges", "initial_magmoms"}  # noqa: RUF012 - declared by ASE

    def __init__(
        self,
        model: str | os.PathLike[str] | Weights | Potential = "nequix-mp-1",
        backend: str = "auto",
        *,
        kernel: str = "auto",
        dtype: str = "float32",
        device: str | None = None,
        skin: float = 0.5,
        threads: int | None = None,
        guard: Guard = "warn",
    ) -> None:
        super().__init__()
        check_guard(guard)
        self.atoms: Atoms | None
        self.results: dict[str, Any]
        self._locks: dict[int, contextlib.AbstractContextManager[Any]] = {}
        self.guard: DistanceGuard | None = None
        if not 0 <= skin < math.inf:
            raise ValueError(f"skin = {skin!r} A, expected a length of at least 0, such as 0.5")
        self._neighbors = VerletNeighborList(skin)
        name = "a potential"
        if isinstance(model, (str, os.PathLike, Weights)):
            name = model.provenance.name if isinstance(model, Weights) else os.fspath(model)
            if backend != "auto":
                import_backend(backend)  # before the download of a model that could not be used
            weights = model if isinstance(model, Weights) else load_weights(model)
            if guard is not None:
                path = None if isinstance(model, Weights) else model
                self.guard = DistanceGuard(guard, weights, path)
            model = load_model(weights, backend, kernel=kernel, dtype=dtype, device=device, threads=threads)
        else:
            _refuse_others(model, Execution(backend, kernel, dtype, device, threads))
        self.potential = model
        self.backend: str = model.backend
        chosen = {"model": name, "backend": self.backend, "kernel": self.kernel}
        self.parameters: Parameters = Parameters(chosen, dtype=self.dtype, device=self.device)

    @property
    def kernel(self) -> str:
        """Name of the convolution kernel that runs."""
        return self.potential.kernel.name

    @property
    def dtype(self) -> str:
        """Precision of the layers."""
        return self.potential.dtype

    @property
    def device(self) -> str:
        """The device, as the backend calls it."""
        return str(self.potential.device)

    @property
    def spec(self) -> ModelSpec:
        """The model's specification."""
        return self.potential.spec

    def __repr__(self) -> str:
        """Name the model and what runs it."""
        chosen = ", ".join(f"{name}={value!r}" for name, value in self.parameters.items() if name != "model")
        return f"{type(self).__name__}({self.parameters.model!r}, {chosen})"

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the lock, which belongs to this process."""
        return {**vars(self), "_locks": {}}

    def set(self, **kwargs: Any) -> dict[str, Any]:
        """Reject changes of parameters, which ASE's calculators would silently accept.

        Args:
            **kwargs: None are allowed.

        Raises:
            ValueError: For any argument.
        """
        if kwargs:
            raise ValueError(f"cannot change {', '.join(kwargs)} afterwards; make a new NequixCalculator")
        return {}

    def check_state(self, atoms: Atoms, tol: float = 0.0) -> list[str]:
        """List what has changed since the last calculation.

        ASE's own comparison, which uses a tolerance, takes 5 % of the time of a step with eight atoms.

        Args:
            atoms: The structure.
            tol: Largest difference that does not count as a change; by default zero.
        """
        _check_atoms(atoms)
        if tol or self.atoms is None:
            return super().check_state(atoms, tol)
        pairs = {
            "positions": (self.atoms.positions, atoms.positions),
            "numbers": (self.atoms.numbers, atoms.numbers),
            "cell": (self.atoms.cell.array, atoms.cell.array),
            "pbc": (self.atoms.pbc, atoms.pbc),
        }
        return [name for name, (before, now) in pairs.items() if not np.array_equal(before, now)]

    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:
        """Return one result for a structure, calculated if needed; threads take turns.

        Args:
            name: One of ``implemented_properties``.
            atoms: The structure; by default that of the last calculation.
            allow_calculation: Whether to calculate; otherwise an unknown result is None.

        Raises:
            GraphError: For a structure that the model cannot evaluate.
            PropertyNotImplementedError: For another property, or the stress of a structure without a volume.
        """
        if atoms is not None:
            _check_atoms(atoms)
        if name == "stress":
            limit_scipy_threads(self)  # cell filters read it in every step
        with self._lock():
            return super().get_property(name, atoms, allow_calculation)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] | None = None,
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Evaluate the model and fill ``results``; all properties cost as much as one.

        Args:
            atoms: The structure; by default that of the last calculation.
            properties: Properties that must be among the results.
            system_changes: What has changed since the last calculation; if nothing, its results hold.

        Raises:
            GraphError: For a structure that the model cannot evaluate, naming the atom; then there are
                no results.
            PropertyNotImplementedError: For the stress of a structure without a volume.
        """
        with self._lock(), usual_errors():
            if system_changes or not self.results:
                atoms = self.atoms if atoms is None else atoms
                # ASE's own calculate() would set atoms now; here a failure leaves no atoms and no results.
                self.reset()
                graph = self._graph(atoms)
                if self.guard is not None:
                    self.guard.check(graph, self._neighbors.squares)
                self.results = self._evaluate(graph)
                self.atoms = atoms.copy()  # pyright: ignore[reportOptionalMemberAccess]
        if "stress" in (properties or ()) and "stress" not in self.results:
            raise PropertyNotImplementedError(
                "no stress: a structure without three independent lattice vectors has no volume; set all "
                "three, e.g. with vacuum"
            )

    def get_hessian(self, atoms: Atoms | None = None) -> Float[np.ndarray, "3*n 3*n"]:
        """Evaluate ``d2E/dx_ia dx_jb``, eV/A^2, row ``3 i + a`` and column ``3 j + b``.

        Exact derivatives, periodic images folded, constraints disregarded, not symmetrised. The shape is
        that of ``ase.vibrations.VibrationsData.from_2d``.

        Args:
            atoms: The structure; by default that of the last calculation.

        Raises:
            GraphError: For a structure that the model cannot evaluate, naming the atom.
        """
        with self._lock(), usual_errors():
            graph = self._graph(self.atoms if atoms is None else atoms)
        return self.potential.hessian(graph).reshape(3 * graph.n_nodes, 3 * graph.n_nodes)

    def _evaluate(self, graph: Graph) -> dict[str, Any]:
        return named_results(graph, self.potential.evaluate(graph))

    def _graph(self, atoms: Atoms | None) -> Graph:
        if atoms is None:
            raise GraphError("there is no structure yet; give an ase.Atoms")
        _check_atoms(atoms)
        return graph_from_atoms(atoms, self.spec, self._neighbors)

    def _lock(self) -> contextlib.AbstractContextManager[Any]:
        """Return the lock of this process: in a forked child, the parent's lock would never be released."""
        return self._locks.setdefault(os.getpid(), threading.RLock())

    def _get_name(self) -> str:
        return "nequix"  # ASE's database and trajectories record it


def _check_atoms(atoms: object) -> None:
    """Reject structures that are not an ``ase.Atoms``, because their changes could not be detected.

    Raises:
        GraphError: With the conversion.
    """
    if not isinstance(atoms, Atoms):
        kind = f"{type(atoms).__module__}.{type(atoms).__qualname__}"
        raise GraphError(
            f"the structure is a {kind}, expected an ase.Atoms; convert it, for example with "
            "ase.Atoms(numbers=..., positions=..., cell=..., pbc=True), or with to_ase_atoms() of pymatgen"
        )


def _refuse_others(potential: Potential, execution: Execution) -> None:
    """Refuse what a potential does not have, where it would be ignored."""
    places = (None, str(potential.device), potential.platform)
    wanted = {
        "backend": (execution.backend, ("auto", potential.backend)),
        "kernel": (execution.kernel, ("auto", potential.kernel.name)),
        "dtype": (execution.dtype, ("float32", potential.dtype)),
        "device": (execution.device, places),
        "threads": (execution.threads, (None, potential.threads)),
    }
    ignored = ", ".join(
        f"{name} = {value!r}" for name, (value, right) in wanted.items() if value not in right
    )
    if ignored:
        raise ValueError(
            f"{ignored} cannot be given with a potential, which runs {potential.kernel.name!r} in "
            f"{potential.dtype} on {potential.device} with {potential.backend!r}; load it with them"
        )


def named_results(graph: Graph, evaluated: Results) -> dict[str, Any]:
    """Name the results as ASE does; the stress is left out where there is no volume.

    Args:
        graph: One structure.
        evaluated: Its results.

    Raises:
        GraphError: If they are not finite, naming the atom.
    """
    energy = float(evaluated.energy[0])
    finite = np.isfinite(evaluated.energies) & np.isfinite(evaluated.forces).all(axis=1)
    if not finite.all():
        atom = int(finite.argmin())
        raise GraphError(
            f"atom {atom} has energy {evaluated.energies[atom]} eV and force "
            f"{evaluated.forces[atom].tolist()} eV/A, expected finite numbers; check the structure: "
            "atoms may overlap"
        )
    results = {
        "energy": energy,
        "free_energy": energy,
        "energies": evaluated.energies,
        "forces": evaluated.forces,
    }
    if graph.volume[0] > 0:
        results["stress"] = full_3x3_to_voigt_6_stress(evaluated.stress[0])
    return results
