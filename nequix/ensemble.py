"""Ensembles in ASE: a calculator that says how far its members disagree, and a guard for dynamics."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from ase import Atoms

from nequix.backends import choose_backend, import_backend
from nequix.calculator import NequixCalculator, named_results
from nequix.core.errors import NequixError
from nequix.distance_guard import DistanceGuard, Guard, check_guard
from nequix.io.catalogue import load_weights
from nequix.io.ensemble import read_ensemble
from nequix.io.weights import Weights

if TYPE_CHECKING:
    from nequix.graphs.graph import Graph
    from nequix.graphs.results import EnsembleResults


SPREADS = ("energy_spread", "forces_spread")
"""What ensembles have beside ASE's properties."""


class SpreadExceeded(NequixError, RuntimeError):
    """Members disagree more than on any structure that they were calibrated on."""


class NequixEnsembleCalculator(NequixCalculator):
    """Mean energies, forces and stress of an ensemble, and how far its members disagree.

    ``spreads`` has ``energy_spread``, eV, and ``forces_spread``, eV/A, one value per atom: the standard
    deviation over the members, times the calibration's scale if the ensemble is calibrated. It is then the
    standard error to be expected of the energy, and of a component of the atom's force (docs/ensembles.md).
    ``get_property`` returns them, too. They are not among ``results``, since ASE rejects properties that it
    does not know when it stores results.

    Args:
        model: A folder that ``nequix finetune --ensemble`` wrote, or the members: weights, names or paths.
        backend: ``auto`` (:func:`nequix.backends.choose_backend`), ``native``, ``jax`` or ``torch``; no other
            one is imported.
        kernel: ``auto`` or the name of a convolution kernel.
        dtype: Precision of the layers, ``float32`` or ``float64``; results are float64 in either.
        device: ``cpu``, ``gpu``, ``gpu:1``, ...; by default the first that the backend offers.
        skin: A; the neighbour list extends this far beyond the cutoff and is rebuilt when atoms have moved by
            half of it.
        threads: Of the native kernel, which evaluates one member after the other; by default
            ``OMP_NUM_THREADS`` or all processors, fewer for small systems.
        guard: What is done about atoms that are closer than any of their elements in the training data:
            ``warn`` once, raise an ``error``, or None for nothing. The data are those of the model that the
            members were fine-tuned from.

    Attributes:
        potential: The members on their backend.
        calibration: Of the ensemble; None if it has none.
        members: What each member says of the last structure; None if there are no results.
        spreads: Of the last structure, by name; empty if there are no results.

    Raises:
        BackendUnavailable: If the backend, the kernel or the device is not there.
        WeightsError: If it is not an ensemble, or a file is damaged.
        ValueError: For another backend, kernel or precision than there are, or threads that the kernel
            cannot take.

    Example:
        >>> from ase.build import bulk
        >>> from nequix import NequixEnsembleCalculator
        >>> atoms = bulk("Si", a=5.4)
        >>> atoms.calc = NequixEnsembleCalculator(["nequix-nano", "nequix-nano"])
        >>> float(atoms.calc.get_property("energy_spread", atoms))  # of a model with itself
        0.0
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Sequence[Weights | str | os.PathLike[str]],
        backend: str = "auto",
        *,
        kernel: str = "auto",
        dtype: str = "float32",
        device: str | None = None,
        skin: float = 0.5,
        threads: int | None = None,
        guard: Guard = "warn",
    ) -> None:
        check_guard(guard)
        if isinstance(model, (str, os.PathLike)):
            weights, self.calibration = read_ensemble(model)
        else:
            weights = [each if isinstance(each, Weights) else load_weights(each) for each in model]
            self.calibration = None
        self.members: EnsembleResults | None = None
        self.spreads: dict[str, Any] = {}
        engine = import_backend(choose_backend(backend, weights[0].spec, kernel=kernel, device=device))
        self._ensemble = engine.EnsemblePotential(
            weights, kernel=kernel, dtype=dtype, device=device, threads=threads
        )
        super().__init__(self._ensemble, skin=skin)
        if guard is not None:
            self.guard: DistanceGuard | None = DistanceGuard(guard, weights[0])
        self.parameters.update(model=f"{len(weights)} members of {weights[0].provenance.name}")

    def reset(self) -> None:
        """Forget the last structure, its results, and what the members said of it."""
        super().reset()
        self.members, self.spreads = None, {}

    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:
        """Return one result or spread for a structure, calculated if it is not known yet; threads take turns.

        Args:
            name: One of ``implemented_properties``, ``energy_spread`` or ``forces_spread``.
            atoms: The structure; by default that of the last calculation.
            allow_calculation: Whether to calculate; otherwise what is not known is None.

        Raises:
            GraphError: For a structure that the models cannot evaluate.
            PropertyNotImplementedError: For another property, or the stress of a structure without a volume.
        """
        if name not in SPREADS:
            return super().get_property(name, atoms, allow_calculation)
        with self._lock():
            if super().get_property("energy", atoms, allow_calculation) is None:
                return None
            return np.copy(self.spreads[name])[()]  # a number for the energy, a copy for the forces

    def _evaluate(self, graph: Graph) -> dict[str, Any]:
        evaluated = self._ensemble.evaluate(graph)
        results = named_results(graph, evaluated.mean)
        self.members = evaluated
        energy_scale = 1.0 if self.calibration is None else self.calibration.energy_scale
        forces_scale = 1.0 if self.calibration is None else self.calibration.forces_scale
        self.spreads = {
            "energy_spread": float(energy_scale * evaluated.energy_spread[0]),
            "forces_spread": forces_scale * evaluated.forces_spread,
        }
        return results


class SpreadGuard:
    """Warns, or stops, when the members of an ensemble disagree more than where they were calibrated.

    Forces describe single atoms, the energy the structure as a whole (docs/ensembles.md). Attach it:
    ``dynamics.attach(SpreadGuard(atoms), interval=10)``.

    Args:
        atoms: With a :class:`NequixEnsembleCalculator`.
        limit: Largest spread of an atom's force, eV/A, as ``forces_spread`` has it; by default the end of the
            calibrated range, without a calibration none.
        energy_limit: Largest ``energy_spread``, eV/atom; the same by default.
        action: ``warn``, once until the spreads are within the range again, or ``stop``.

    Attributes:
        limit: Largest spread of a force, eV/A.
        energy_limit: Largest spread of the energy, eV/atom.
        exceeded: How often one of them was exceeded.

    Raises:
        ValueError: If there is neither a limit nor a calibration, if a limit is not positive, or if the
            calculator is not an ensemble.

    Example:
        >>> from ase.build import bulk
        >>> from nequix import NequixEnsembleCalculator, SpreadGuard
        >>> atoms = bulk("Si", a=5.4)
        >>> atoms.calc = NequixEnsembleCalculator(["nequix-nano", "nequix-nano"])
        >>> guard = SpreadGuard(atoms, limit=0.1, action="stop")
        >>> guard()  # dynamics.attach(guard, interval=10) calls it
        >>> guard.exceeded
        0
    """

    def __init__(
        self,
        atoms: Atoms,
        limit: float | None = None,
        energy_limit: float | None = None,
        action: Literal["warn", "stop"] = "warn",
    ) -> None:
        calculator = atoms.calc
        if not isinstance(calculator, NequixEnsembleCalculator):
            raise ValueError(f"atoms.calc is {type(calculator).__name__}, expected NequixEnsembleCalculator")
        if action not in ("warn", "stop"):
            raise ValueError(f"action = {action!r}, expected 'warn' or 'stop'")
        for name, value in (("limit", limit), ("energy_limit", energy_limit)):
            if value is not None and not value > 0:
                raise ValueError(f"{name} = {value}, expected a positive number")
        known = calculator.calibration
        if limit is None and energy_limit is None and known is None:
            raise ValueError("the ensemble is not calibrated: give a limit, in eV/A")
        ends = (
            (np.inf, np.inf)
            if known is None
            else (known.forces_scale * known.forces_limit, known.energy_scale * known.energy_limit)
        )
        self.limit: float = float(ends[0] if limit is None else limit)
        self.energy_limit: float = float(ends[1] if energy_limit is None else energy_limit)
        self._calibrated = (np.nan, np.nan) if known is None else ends
        self.atoms: Atoms = atoms
        self.action = action
        self._calculator = calculator
        self.exceeded: int = 0
        self._outside = False

    def __call__(self) -> None:
        """Look at the atoms as they are.

        Raises:
            SpreadExceeded: If a spread is beyond its limit and the action is ``stop``.
        """
        found = self._beyond()
        if found is None:
            self._outside = False
            return
        self.exceeded += 1
        message = (
            f"the members' {found}: the structure is unlike the training data; label it and fine-tune again"
        )
        if self.action == "stop":
            raise SpreadExceeded(message)
        if not self._outside:
            warnings.warn(message, RuntimeWarning, stacklevel=2)
        self._outside = True

    def _beyond(self) -> str | None:
        """Describe the spread that exceeds its limit."""
        forces = np.asarray(self._calculator.get_property("forces_spread", self.atoms))
        energy = np.asarray(self._calculator.get_property("energy_spread", self.atoms)) / len(self.atoms)
        atom = int(forces.argmax())
        for what, spread, limit, calibrated, unit in (
            (f"forces on atom {atom}", forces[atom], self.limit, self._calibrated[0], "eV/A"),
            ("energies", energy, self.energy_limit, self._calibrated[1], "eV/atom"),
        ):
            if not spread <= limit:  # also true for NaN
                own = limit == calibrated
                whence = "up to which they were calibrated" if own else "that were given as the limit"
                return f"{what} differ by {spread:.3g} {unit}, more than the {limit:.3g} {unit} {whence}"
        return None
