"""What the differences between labels and predictions come to: in all, by element, by composition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nequix.data.atom_energies import least_squares
from nequix.metrics.predictions import Predictions
from nequix.metrics.statistics import slope, statistics

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


def energy_errors(predictions: Predictions) -> Float[np.ndarray, " n"]:
    """Return the errors of energies per atom, eV.

    Args:
        predictions: Labels and predictions.
    """
    return (predictions.predicted_energy - predictions.energy) / predictions.n_atoms


def compositions(predictions: Predictions) -> tuple[Int[np.ndarray, " z"], Float[np.ndarray, "n z"]]:
    """Return the elements that occur, and the fraction of each in every structure.

    Args:
        predictions: Labels and predictions.
    """
    elements, column = np.unique(predictions.numbers, return_inverse=True)
    counts = np.zeros((len(predictions.names), len(elements)))
    np.add.at(counts, (predictions.atom_structure, column), 1)
    return elements, counts / predictions.n_atoms[:, None]


def without_offsets(predictions: Predictions) -> tuple[Float[np.ndarray, " n"], dict[int, float]]:
    """Remove from the energy errors per atom what an offset for each element explains.

    The offsets minimise the squares of what is left, which is what another functional or another choice of
    pseudo-potentials does not account for.

    Args:
        predictions: Labels and predictions.

    Returns:
        The errors that are left, eV per atom, and the offset of each atomic number, eV.
    """
    errors = energy_errors(predictions)
    elements, fractions = compositions(predictions)
    known = np.isfinite(errors)
    if not known.any():
        return errors, {}
    offsets = least_squares(fractions[known], errors[known])
    present = fractions[known].sum(axis=0) > 0
    held = {int(elements[i]): float(offsets[i]) for i in np.flatnonzero(present)}
    return errors - fractions @ offsets, held


def summarise(predictions: Predictions) -> dict[str, Any]:
    """Summarise all structures: energies (eV per atom), forces (eV/A), stress (eV/A^3).

    ``forces`` counts components, ``force_vectors`` the length of each atom's error, ``stress`` all nine
    components.

    Args:
        predictions: Labels and predictions.
    """
    p = predictions
    difference = p.predicted_forces - p.forces
    left, offsets = without_offsets(p)
    return {
        "n_structures": len(p.names),
        "n_atoms": len(p.numbers),
        "energy": statistics(energy_errors(p)),
        "energy_without_offsets": statistics(left),
        "offsets": {str(z): offset for z, offset in offsets.items()},
        "forces": statistics(difference),
        "force_vectors": statistics(np.linalg.norm(difference, axis=1)),
        "force_slope": slope(p.forces, p.predicted_forces),
        "stress": statistics(p.predicted_stress - p.stress),
        "stress_slope": slope(p.stress, p.predicted_stress),
    }


def by_element(predictions: Predictions) -> list[dict[str, Any]]:
    """Summarise each element: forces on its atoms, energies and stress of the structures that have it.

    Args:
        predictions: Labels and predictions.
    """
    p = predictions
    left = without_offsets(p)[0]
    elements, fractions = compositions(p)
    rows = []
    for number, column in zip(elements.tolist(), fractions.T, strict=True):
        row = _group(p, left, column > 0, p.numbers == number)
        rows.append({"number": number, **row})
    return rows


def by_composition(predictions: Predictions) -> list[dict[str, Any]]:
    """Summarise each composition, the reduced formula, those of the largest energy errors first.

    Args:
        predictions: Labels and predictions.
    """
    p = predictions
    left = without_offsets(p)[0]
    formulas = np.array(reduced_formulas(p))
    rows = []
    for formula in np.unique(formulas).tolist():
        structures = formulas == formula
        row = _group(p, left, structures, structures[p.atom_structure])
        rows.append({"formula": formula, **row})
    return sorted(rows, key=lambda row: -(row["energy"]["mae"] or 0.0))


def by_file(predictions: Predictions, files: Sequence[str]) -> list[dict[str, Any]]:
    """Summarise each file by itself, with offsets of its own: files may come from different functionals.

    Args:
        predictions: Labels and predictions.
        files: File of every structure.
    """
    names = np.array(files)
    rows = []
    for name in dict.fromkeys(files):
        part = predictions.take(np.flatnonzero(names == name))
        rows.append({"file": name, **summarise(part)})
    return rows


BANDS = ((0.0, 1e-3), (1e-3, 0.1), (0.1, 1.0), (1.0, np.inf))
"""Mean sizes of a structure's labelled force components, eV/A: none by symmetry, near equilibrium,
dynamics at room temperature, strong distortions."""


def force_sizes(predictions: Predictions) -> Float[np.ndarray, " n"]:
    """Return the mean absolute component of each structure's labelled forces, eV/A; NaN without forces.

    Args:
        predictions: Labels and predictions.
    """
    return _mean_of_atoms(predictions, np.abs(predictions.forces))


def predicted_sizes(predictions: Predictions) -> Float[np.ndarray, " n"]:
    """Return the mean absolute component of each structure's predicted forces, eV/A; NaN without labels.

    Args:
        predictions: Labels and predictions.
    """
    labelled = np.isfinite(predictions.forces)
    return _mean_of_atoms(predictions, np.where(labelled, np.abs(predictions.predicted_forces), np.nan))


def by_force_size(predictions: Predictions) -> list[dict[str, Any]]:
    """Summarise structures by the size of their labelled forces: kinds of structures differ most in that.

    Args:
        predictions: Labels and predictions.

    Returns:
        For each of ``BANDS`` with structures: ``from``, ``to`` (None for no limit), eV/A, and the errors.
    """
    p, sizes, left = predictions, force_sizes(predictions), without_offsets(predictions)[0]
    rows = []
    for low, high in BANDS:
        structures = (sizes >= low) & (sizes < high)
        if structures.any():
            limits = {"from": low, "to": high if np.isfinite(high) else None}
            rows.append({**limits, **_group(p, left, structures, structures[p.atom_structure])})
    return rows


def _mean_of_atoms(p: Predictions, values: Float[np.ndarray, "n_atoms 3"]) -> Float[np.ndarray, " n"]:
    n, known = len(p.names), np.isfinite(values)
    sums = np.bincount(p.atom_structure, np.where(known, values, 0).sum(axis=1), n)
    counts = np.bincount(p.atom_structure, known.sum(axis=1), n)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def reduced_formulas(predictions: Predictions) -> list[str]:
    """Return each structure's elements and their smallest integer ratios, alphabetically.

    Args:
        predictions: Labels and predictions.
    """
    from ase.data import chemical_symbols

    if not len(predictions.n_atoms):
        return []  # np.split would give one part of nothing
    formulas = []
    for numbers in np.split(predictions.numbers, np.cumsum(predictions.n_atoms)[:-1]):
        elements, counts = np.unique(numbers, return_counts=True)
        counts //= np.gcd.reduce(counts)
        pairs = sorted(
            (chemical_symbols[z], n) for z, n in zip(elements.tolist(), counts.tolist(), strict=True)
        )
        formulas.append("".join(f"{symbol}{n if n > 1 else ''}" for symbol, n in pairs))
    return formulas


def _group(
    p: Predictions,
    left: Float[np.ndarray, " n"],
    structures: Bool[np.ndarray, " n"],
    atoms: Bool[np.ndarray, " n_atoms"],
) -> dict[str, Any]:
    return {
        "n_structures": int(structures.sum()),
        "n_atoms": int(atoms.sum()),
        "energy": statistics(energy_errors(p)[structures]),
        "energy_without_offsets": statistics(left[structures]),
        "forces": statistics((p.predicted_forces - p.forces)[atoms]),
        "stress": statistics((p.predicted_stress - p.stress)[structures]),
    }


def worst(predictions: Predictions, count: int) -> dict[str, list[dict[str, Any]]]:
    """Name the structures of the largest errors of energy, of any force, and of stress.

    Args:
        predictions: Labels and predictions.
        count: How many of each.

    Returns:
        For each quantity, names and errors in its unit, the largest first.
    """
    p = predictions
    force = np.full(len(p.names), -np.inf)
    lengths = np.linalg.norm(p.predicted_forces - p.forces, axis=1)
    np.maximum.at(force, p.atom_structure, np.where(np.isfinite(lengths), lengths, -np.inf))
    found = {
        "energy": np.abs(energy_errors(p)),
        "force": force,
        "stress": np.abs(p.predicted_stress - p.stress).max(axis=(1, 2)),
    }
    return {name: _largest(p.names, values, count) for name, values in found.items()}


def _largest(names: Sequence[str], values: Float[np.ndarray, " n"], count: int) -> list[dict[str, Any]]:
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(-values[known], kind="stable")][:count]
    return [{"name": names[index], "error": float(values[index])} for index in order]
