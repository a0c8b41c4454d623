"""Values of labels, found under one or several keys that must agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nequix.core.errors import DataError
from nequix.data.label_keys import KEY_OPTIONS, LabelKeys

if TYPE_CHECKING:
    from jaxtyping import Float

AGREE = 1e-5
"""How far two values of one label may differ: eV/atom, eV/A or eV/A^3. Files round to less than that."""

AGREE_VIRIAL = 1e-3
"""How far the stress of a virial may differ besides, relative to the stress: files round their values."""

_VOIGT = [0, 5, 4, 5, 1, 3, 4, 3, 2]  # xx yy zz yz xz xy as a full tensor
_SHAPES = ((3, 3), (9,), (6,))


def find_label(
    name: str,
    keys: Iterable[str],
    places: Sequence[Mapping[str, Any]],
    shapes: tuple[tuple[int, ...], ...],
    per: float = 1,
    unit: str = "",
) -> Float[np.ndarray, "..."] | None:
    """Return the value of a label; all values that are present must agree.

    A value that is NaN throughout counts as absent.

    Args:
        name: What messages call the structure.
        keys: Where the label may be.
        places: Mappings that may have the keys.
        shapes: The allowed shapes.
        per: What a difference is divided by before it is compared, such as the number of atoms.
        unit: Unit of a difference after that, for messages.

    Raises:
        DataError: If a value has a wrong shape, is not a number, or differs from another one.
    """
    first, where = None, ""
    for key in keys:
        for place in places:
            array = _read(name, key, place.get(key), shapes)
            if array is None:
                continue
            if first is None:
                first, where = array, key
            elif (apart := _difference(first, array) / per) > AGREE:
                other = f"two values of {key}" if key == where else f"{where} and {key}"
                raise DataError(
                    f"{name}: {other} differ by {apart:.3g}{unit}; remove one, or "
                    f"name the key to read: {KEY_OPTIONS}"
                )
    return first


def stress_label(
    name: str, keys: LabelKeys, places: Sequence[Mapping[str, Any]], volume: float
) -> Float[np.ndarray, "3 3"] | None:
    """Return the stress, eV/A^3, from a stress or a virial, which must agree; None without a volume.

    Args:
        name: What messages call the structure.
        keys: Where they may be.
        places: Mappings that may have the keys.
        volume: Volume of the cell, A^3.

    Raises:
        DataError: If a value has a wrong shape, is not a number, or differs from another one.
    """
    stress = find_label(name, keys.stress, places, _SHAPES, unit=" eV/A^3")
    virial = find_label(name, keys.virial, places, _SHAPES, per=volume or 1.0, unit=" eV/A^3")
    if volume == 0:
        return None
    converted = None if virial is None else -full_tensor(virial) / volume
    if stress is None:
        return converted
    stress = full_tensor(stress)
    if converted is not None:
        apart, largest = float(np.abs(stress - converted).max()), float(np.abs(stress).max())
        if not apart <= AGREE + AGREE_VIRIAL * largest:
            row, column = np.unravel_index(np.abs(stress - converted).argmax(), (3, 3))
            component = "xyz"[row] + "xyz"[column]
            raise DataError(
                f"{name}: the stress and the virial contradict each other: component {component} "
                f"is {stress[row, column]:.6g} as stress and {converted[row, column]:.6g} eV/A^3 as virial "
                "(-virial / volume); is the stress in eV/A^3, the virial in eV? Correct one, or name the key "
                f"to read: {KEY_OPTIONS}"
            )
    return stress


def full_tensor(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "3 3"]:
    """Return nine components of a symmetric tensor.

    Args:
        values: Six in Voigt's order (xx yy zz yz xz xy), or nine.

    Example:
        >>> full_tensor(np.arange(6.0)).tolist()
        [[0.0, 5.0, 4.0], [5.0, 1.0, 3.0], [4.0, 3.0, 2.0]]
    """
    return (values[_VOIGT] if values.size == 6 else values).reshape(3, 3)


def _read(
    name: str, key: str, value: Any, shapes: tuple[tuple[int, ...], ...]
) -> Float[np.ndarray, "..."] | None:
    """Return a value as an array of one of the shapes; None if it is absent."""
    if value is None:
        return None
    try:
        if np.asarray(value).dtype.kind in "bcUS":  # NumPy would make numbers of true and of text
            raise TypeError("not a number")
        array = np.array(value, float)
    except (TypeError, ValueError):
        raise DataError(f"{name}: {key} = {value!r:.60} is not a number; correct the source") from None
    if array.shape not in shapes:
        order = "; six components are xx yy zz yz xz xy" if (6,) in shapes else ""
        raise DataError(
            f"{name}: {key} has shape {array.shape}, expected {' or '.join(map(str, shapes))}{order}; "
            f"correct the source, or name another key: {KEY_OPTIONS}"
        )
    return None if array.size and np.isnan(array).all() else array  # how some programs write a missing label


def _difference(one: Float[np.ndarray, "..."], other: Float[np.ndarray, "..."]) -> float:
    """Return the largest difference of two values; infinite if only one of them is finite."""
    if one.size != other.size:  # six components of a tensor and nine
        one, other = full_tensor(one), full_tensor(other)
    one, other = one.ravel(), other.ravel()
    if np.array_equal(one, other, equal_nan=True) or not one.size:
        return 0.0
    with np.errstate(invalid="ignore"):
        apart = np.abs(one - other)
    return float(apart.max()) if np.isfinite(apart).all() else float("inf")
