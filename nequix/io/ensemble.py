"""Ensembles: models with one specification, their shared parameters, and the calibration of their spread."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nequix.core.errors import WeightsError
from nequix.core.migrations import Format, NewerVersion
from nequix.io import checked, strict_json
from nequix.io.files import write_atomic
from nequix.io.header import shorten
from nequix.io.limits import MAX_SETTINGS
from nequix.io.weights import Weights, read_weights

if TYPE_CHECKING:
    pass


ENSEMBLE = "ensemble.json"
"""File name of the list of members and their calibration."""
FORMAT = Format("ensemble")
"""Versions of :data:`ENSEMBLE`; fields of the calibration are ``calibration.NAME``."""


@dataclass(frozen=True)
class Calibration:
    """Relation of spreads to errors on held-out data (docs/ensembles.md).

    Attributes:
        data: Name of the data.
        n_structures: Number of structures.
        n_components: Number of force components.
        forces_scale: Standard error of a force component per unit of its atom's spread.
        forces_area: Miscalibration area of the forces without the scale.
        forces_area_scaled: The same with the scale, on structures that it was not fitted to.
        forces_limit: Largest observed spread of an atom, eV/A, without the scale: the end of the calibrated
            range.
        forces_rank_correlation: Spearman correlation of the errors of force components with the spreads of
            their atoms.
        energy_scale: Standard error of the energy per unit of its spread.
        energy_area: Miscalibration area of the energies without the scale.
        energy_area_scaled: The same with the scale, on structures that it was not fitted to.
        energy_limit: Largest observed spread of an energy, eV/atom.
    """

    data: str
    n_structures: int
    n_components: int
    forces_scale: float
    forces_area: float
    forces_area_scaled: float
    forces_limit: float
    forces_rank_correlation: float
    energy_scale: float
    energy_area: float
    energy_area_scaled: float
    energy_limit: float

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Calibration:
        """Build a calibration from values that were read from a file.

        Args:
            record: Every field by name.

        Raises:
            ValueError: For a missing or unknown field, or a value out of range.
        """
        checked.refuse_others(record, {item.name for item in fields(cls)})
        values: dict[str, Any] = {"data": checked.text(record, "data")}
        for name in ("n_structures", "n_components"):
            values[name] = checked.count(record, name)
        for name, (low, high) in _RANGES.items():
            values[name] = checked.number(record, name, low, high)
        return cls(**values)


_POSITIVE, _AREA = (np.finfo(np.float64).tiny.item(), np.inf), (0.0, 0.5)
_RANGES: dict[str, tuple[float, float]] = {
    "forces_scale": _POSITIVE,
    "forces_area": _AREA,
    "forces_area_scaled": _AREA,
    "forces_limit": _POSITIVE,
    "forces_rank_correlation": (-1.0, 1.0),
    "energy_scale": _POSITIVE,
    "energy_area": _AREA,
    "energy_area_scaled": _AREA,
    "energy_limit": _POSITIVE,
}


def check_members(members: Sequence[Weights]) -> None:
    """Reject models that do not form an ensemble.

    Args:
        members: The models.

    Raises:
        WeightsError: If there are fewer than two, or their specifications differ.
    """
    if len(members) < 2:
        raise WeightsError(f"{len(members)} members, expected at least two: a single model has no spread")
    for number, member in enumerate(members):
        if member.spec != members[0].spec:
            raise WeightsError(
                f"member {number} ({member.provenance.name}) and member 0 ({members[0].provenance.name}) "
                "have different specifications; all members of an ensemble need the same parent"
            )


def own_parameters(members: Sequence[Weights]) -> list[str]:
    """List the parameters that differ between members; all others are shared.

    Args:
        members: Models with one specification.
    """
    first, *others = (member.parameters for member in members)
    return [name for name, x in first.items() if any(not np.array_equal(x, o[name]) for o in others)]


def n_shared_layers(members: Sequence[Weights]) -> int:
    """Count the interaction layers, from the first on, that all members share.

    Args:
        members: Models with one specification.
    """
    layers = [int(name.split(".")[1]) for name in own_parameters(members) if name.startswith("layers.")]
    return min(layers, default=members[0].spec.n_layers)


def write_ensemble(
    folder: Path, members: Sequence[tuple[str, Weights]], calibration: Calibration | None
) -> Path:
    """Write the list of a folder's members atomically.

    Args:
        folder: The folder.
        members: Path within the folder and weights of each member.
        calibration: Calibration of the ensemble, if there is one.
    """
    listed = [{"file": file, "sha256": weights.digest} for file, weights in members]
    record = {
        "version": FORMAT.version,
        "members": listed,
        "calibration": None if calibration is None else asdict(calibration),
    }
    write_atomic(folder / ENSEMBLE, [json.dumps(record, indent=1, allow_nan=False).encode()])
    return folder / ENSEMBLE


def read_ensemble(folder: str | os.PathLike[str]) -> tuple[list[Weights], Calibration | None]:
    """Read the members of a folder and their calibration.

    Args:
        folder: The folder, or its :data:`ENSEMBLE`.

    Raises:
        WeightsError: If it is not an ensemble or has a newer version, or a member is damaged or not the
            listed file.
    """
    path = Path(folder)
    path = path / ENSEMBLE if path.is_dir() else path
    try:
        listed, calibration = _parse(strict_json.read_object(path, MAX_SETTINGS))
    except NewerVersion as error:
        raise WeightsError(f"{path}: {error}") from None
    except ValueError as error:
        raise WeightsError(
            f"{path}: not an ensemble, or damaged ({shorten(error)}); train it again"
        ) from None
    members = []
    for file, digest in listed:
        weights = read_weights(path.parent / file)
        if weights.digest != digest:
            raise WeightsError(
                f"{path.parent / file}: digest {weights.digest}, expected {digest}; train the ensemble again"
            )
        members.append(weights)
    check_members(members)
    return members, calibration


def _parse(record: dict[str, Any]) -> tuple[list[tuple[str, str]], Calibration | None]:
    """Read files and digests of the members, and the calibration.

    Raises:
        ValueError: If they are missing or have invalid values.
    """
    record = FORMAT.upgrade(record, record.get("version"))
    members = record.get("members")
    if not isinstance(members, list) or not all(isinstance(member, dict) for member in members):
        raise ValueError("members must be a list of files and digests")
    listed = [(checked.text(member, "file"), checked.text(member, "sha256")) for member in members]
    if record.get("calibration") is None:
        return listed, None
    return listed, Calibration.from_dict(checked.section(record, "calibration"))
