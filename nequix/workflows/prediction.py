"""Energies, forces and stresses of many structures."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ase import Atoms

from nequix.calculator import NequixCalculator
from nequix.core.errors import GraphError
from nequix.distance_guard import DistanceWarning, Guard
from nequix.execution import DEFAULT, Execution
from nequix.workflows.models import Model, open_calculator
from nequix.workflows.structures import with_results


@dataclass(frozen=True)
class Prediction:
    """The outcome for one structure: results, or the reason why there are none.

    Attributes:
        index: Which structure it is, counted from 0.
        atoms: A copy with a ``SinglePointCalculator`` that holds the results; None if it failed.
        error: Why the model cannot evaluate the structure; None if it can.
        warning: What the guard against short distances says; None if nothing.
    """

    index: int
    atoms: Atoms | None
    error: GraphError | None = None
    warning: str | None = None


def predict(
    frames: Atoms | Iterable[Atoms],
    model: Model = "nequix-mp-1",
    *,
    execution: Execution = DEFAULT,
    guard: Guard = "warn",
) -> list[Atoms]:
    """Evaluate energies (eV), forces (eV/A) and stresses (eV/A^3) of structures.

    The structures are not changed.

    Args:
        frames: One structure or several.
        model: A name of :func:`nequix.list_models`, the path of a weight file, the folder of an ensemble,
            weights, a potential, or a calculator.
        execution: How the model is executed.
        guard: What happens when atoms are closer than in the model's training data: ``warn``, ``error`` or
            None.

    Returns:
        A copy of each structure with its results: ``get_potential_energy()``, ``get_forces()`` and, where
        the structure has a volume, ``get_stress()``. With an ensemble, ``info["energy_spread"]`` and
        ``arrays["forces_spread"]`` besides.

    Raises:
        BackendUnavailable: If the backend, the kernel or the device is not available.
        WeightsError: If there is no such model, or it cannot be downloaded or read.
        GraphError: For a structure that the model cannot evaluate, naming frame and atom.

    Example:
        >>> import nequix
        >>> from ase.build import bulk
        >>> frames = [bulk("Si", a=length) for length in (5.3, 5.4, 5.5)]
        >>> predicted = nequix.predict(frames, "nequix-nano")
        >>> energies = [atoms.get_potential_energy() for atoms in predicted]
        >>> energies.index(min(energies))
        1
    """
    calculator = open_calculator(model, execution, guard)
    predicted: list[Atoms] = []
    for one in predict_each([frames] if isinstance(frames, Atoms) else frames, calculator):
        if one.error is not None:
            raise type(one.error)(f"frame {one.index}: {one.error}") from None
        if one.warning is not None:
            warnings.warn(f"frame {one.index}: {one.warning}", DistanceWarning, stacklevel=2)
        if one.atoms is not None:
            predicted.append(one.atoms)
    return predicted


def predict_each(frames: Iterable[Atoms], calculator: NequixCalculator) -> Iterator[Prediction]:
    """Evaluate one structure after the other; a failure takes the place of its structure's results.

    Args:
        frames: The structures, which are not changed; they may be read while others are evaluated.
        calculator: The model.

    Yields:
        The outcome for each structure, in their order.
    """
    for index, atoms in enumerate(frames):
        try:
            with warnings.catch_warnings():  # the calculator warns once, here every frame counts
                warnings.simplefilter("ignore", DistanceWarning)
                calculator.calculate(atoms)
        except GraphError as error:
            yield Prediction(index, None, error)
            continue
        warning = None if calculator.guard is None else calculator.guard.finding
        yield Prediction(index, with_results(atoms, calculator), warning=warning)
