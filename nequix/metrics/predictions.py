"""Labels and predictions side by side, for many structures at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nequix.data.structure import Structure

if TYPE_CHECKING:
    from jaxtyping import Float, Int


@dataclass(frozen=True, eq=False)
class Predictions:
    """Labels and predictions of structures; a label that is missing, or has no weight, is NaN.

    Attributes:
        names: The structures' names.
        n_atoms: Atoms of each structure.
        numbers: Atomic numbers.
        energy: Labels, eV.
        forces: Labels, eV/A.
        stress: Labels, eV/A^3.
        predicted_energy: eV.
        predicted_forces: eV/A.
        predicted_stress: eV/A^3; NaN where there is no volume.
    """

    names: tuple[str, ...]
    n_atoms: Int[np.ndarray, " n"]
    numbers: Int[np.ndarray, " n_atoms"]
    energy: Float[np.ndarray, " n"]
    forces: Float[np.ndarray, "n_atoms 3"]
    stress: Float[np.ndarray, "n 3 3"]
    predicted_energy: Float[np.ndarray, " n"]
    predicted_forces: Float[np.ndarray, "n_atoms 3"]
    predicted_stress: Float[np.ndarray, "n 3 3"]

    @classmethod
    def of(
        cls,
        structure: Structure,
        energy: float,
        forces: Float[np.ndarray, "n 3"],
        stress: Float[np.ndarray, "3 3"],
    ) -> Predictions:
        """Put the labels of one structure beside its predictions.

        Args:
            structure: The structure; labels of weight zero count as missing.
            energy: Predicted, eV.
            forces: Predicted, eV/A.
            stress: Predicted, eV/A^3.
        """
        trusted = structure.trusted()
        labels = (trusted.energy, trusted.forces, trusted.stress)
        masked = [
            np.full(shape, np.nan) if label is None else np.asarray(label, float)
            for label, shape in zip(labels, ((), forces.shape, (3, 3)), strict=True)
        ]
        return cls(
            (structure.name,),
            np.array([len(structure.numbers)]),
            np.asarray(structure.numbers),
            masked[0][None],
            masked[1],
            masked[2][None],
            np.array([energy]),
            np.asarray(forces),
            np.asarray(stress)[None],
        )

    @classmethod
    def join(cls, parts: Sequence[Predictions]) -> Predictions:
        """Put the structures of several parts one after the other.

        Args:
            parts: Any number, none included.
        """
        arrays = {
            name: np.concatenate([np.zeros(*empty), *(getattr(part, name) for part in parts)])
            for name, empty in _EMPTY.items()
        }
        return cls(tuple(name for part in parts for name in part.names), **arrays)

    def take(self, structures: Int[np.ndarray, " k"]) -> Predictions:
        """Choose structures.

        Args:
            structures: Their indices.
        """
        indices = np.split(np.arange(len(self.numbers)), np.cumsum(self.n_atoms)[:-1])
        atoms = np.concatenate([np.zeros(0, int), *(indices[i] for i in structures.tolist())])
        arrays = {
            name: values[atoms if name in _OF_ATOMS else structures] for name, values in self.arrays().items()
        }
        return Predictions(tuple(self.names[i] for i in structures.tolist()), **arrays)

    def arrays(self) -> dict[str, np.ndarray]:
        """List everything but the names."""
        return {name: getattr(self, name) for name in _EMPTY}

    @property
    def atom_structure(self) -> Int[np.ndarray, " n_atoms"]:
        """Structure of each atom."""
        return np.repeat(np.arange(len(self.names)), self.n_atoms)


_OF_ATOMS = ("numbers", "forces", "predicted_forces")
_LABELS = {"energy": ((0,), float), "forces": ((0, 3), float), "stress": ((0, 3, 3), float)}
_EMPTY: dict[str, tuple[Any, Any]] = {
    "n_atoms": ((0,), int),
    "numbers": ((0,), int),
    **_LABELS,
    **{f"predicted_{name}": value for name, value in _LABELS.items()},
}
