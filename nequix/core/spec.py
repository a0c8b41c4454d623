"""The specification of a model: everything that determines its predictions except the learned parameters."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from nequix.core import irreps, json_text
from nequix.core.errors import SpecError
from nequix.core.migrations import Format, NewerVersion

SPECIFICATION = Format("specification")
"""Versions of the specification's JSON: added hyper-parameters, or a changed meaning of the same JSON."""

GATE_NORMALISATION = 0.5964586854233045
"""Root mean square of SiLU over a million normal quantiles (docs/architecture.md, gate)."""

NORM_EPSILON = 1e-12
"""Added to the mean square of the RMS layer norm (docs/architecture.md, norm)."""

MIN_CUTOFF, MAX_CUTOFF = 0.1, 20.0
"""Range of the cutoff, A (docs/architecture.md, ranges)."""

# docs/architecture.md, ranges, gives the reasons.
_LARGEST = {"n_layers": 64, "radial_basis_size": 512, "radial_mlp_size": 4096, "radial_mlp_layers": 16}
_MAX_CHANNELS = 4096
_RANGES = {
    "avg_n_neighbors": (1e-6, 1e6),
    "shift": (-1e7, 1e7),
    "cutoff": (MIN_CUTOFF, MAX_CUTOFF),
    "radial_polynomial_p": (2.0, 100.0),
}
_SCALES = (1e-9, 1e6)
_UNITS = {"cutoff": " A", "shift": " eV"}


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Hyper-parameters and constants of a Nequix model; defaults are the published family's.

    The only place in the project with numerical defaults, and the only one that validates them.

    Attributes:
        atomic_numbers: Known elements, ascending; an atom's species is its position in this list.
        avg_n_neighbors: Messages are summed and divided by the square root of this; 1e-6 to 1e6.
        scale: Factor of the readout, eV; of magnitude 1e-9 to 1e6.
        shift: Added to every atom's energy, eV; -1e7 to 1e7.
        cutoff: Radius of the neighbourhood, A; 0.1 to 20.
        hidden_irreps: Features between layers, natural parity, degrees up to 4, up to 4096 channels each.
        lmax: Highest degree of the spherical harmonics of an edge, up to 8.
        n_layers: Number of interaction layers, up to 64.
        radial_basis_size: Number of Bessel functions, up to 512.
        radial_mlp_size: Width of the radial MLP, up to 4096.
        radial_mlp_layers: Number of hidden layers of the radial MLP, up to 16.
        radial_polynomial_p: Power ``p`` of the polynomial cutoff; at least 2, so that second
            derivatives exist, and at most 100.
        layer_norm: Whether the equivariant RMS layer norm is applied.

    Raises:
        SpecError: For any value outside its range, naming the field.

    Example:
        >>> import nequix
        >>> spec = nequix.load_weights("nequix-nano").spec
        >>> spec.cutoff, spec.n_layers
        (5.0, 2)
    """

    atomic_numbers: tuple[int, ...]
    avg_n_neighbors: float
    scale: float
    shift: float
    cutoff: float = 6.0
    hidden_irreps: str = "128x0e + 64x1o + 32x2e + 32x3o"
    lmax: int = 3
    n_layers: int = 4
    radial_basis_size: int = 8
    radial_mlp_size: int = 64
    radial_mlp_layers: int = 2
    radial_polynomial_p: float = 6.0
    layer_norm: bool = True

    def __post_init__(self) -> None:
        _set = object.__setattr__
        _set(self, "atomic_numbers", _atomic_numbers(self.atomic_numbers))
        for name, (low, high) in _RANGES.items():
            value = _finite(name, getattr(self, name))
            if not low <= value <= high:
                raise SpecError(f"{name} = {value:g} must be from {low:g} to {high:g}{_UNITS.get(name, '')}")
            _set(self, name, value)
        _set(self, "scale", _finite("scale", self.scale))
        if not _SCALES[0] <= abs(self.scale) <= _SCALES[1]:
            low, high = _SCALES
            raise SpecError(f"scale = {self.scale:g} eV must have a magnitude from {low:g} to {high:g}")
        for name, largest in _LARGEST.items():
            _set(self, name, _integer(name, getattr(self, name), 1, largest))
        # Features of degree 4 at most couple to no harmonic beyond 8.
        _set(self, "lmax", _integer("lmax", self.lmax, 0, 2 * irreps.MAX_DEGREE))
        if not isinstance(self.layer_norm, bool):
            raise SpecError(f"layer_norm = {self.layer_norm!r} must be true or false")
        if not isinstance(self.hidden_irreps, str):
            raise SpecError(f"hidden_irreps = {self.hidden_irreps!r} must be text such as '128x0e + 64x1o'")
        channels = irreps.parse(self.hidden_irreps)
        if 0 not in channels:
            raise SpecError(f"hidden_irreps = {self.hidden_irreps!r} has no 0e, which the readout needs")
        if max(channels.values()) > _MAX_CHANNELS:
            irreps_ = self.hidden_irreps
            raise SpecError(f"hidden_irreps = {irreps_!r:.80}: at most {_MAX_CHANNELS} channels per degree")
        _set(self, "hidden_irreps", irreps.format(channels))

    @property
    def hidden(self) -> dict[int, int]:
        """Channels of each hidden degree, ascending."""
        return irreps.parse(self.hidden_irreps)

    @property
    def n_species(self) -> int:
        """Number of known elements."""
        return len(self.atomic_numbers)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields with their ``version``; :meth:`from_dict` reads them back.

        The version is the oldest that has the same meaning, and fields that it lacks are left out: the JSON
        and the checksum of a model stay the same when hyper-parameters are added that it does not use.
        """
        version, fields = SPECIFICATION.lower(dataclasses.asdict(self))
        return {"version": version, **fields}

    def to_json(self) -> str:
        """Write the specification as JSON, with its version; :meth:`from_json` reads it back."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Read a specification that :meth:`to_json` wrote.

        Args:
            text: A JSON object with ``version`` and every field of that version.

        Raises:
            SpecError: For bad JSON, a newer version, unknown or missing fields, bad values.
        """
        try:
            values = json_text.parse_object(text)
        except ValueError as error:
            raise SpecError(f"the specification is not JSON of an object: {error!s:.200}") from None
        return cls.from_dict(values)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelSpec:
        """Build a specification from ``version`` and its fields, as :meth:`to_dict` lists them.

        Args:
            values: Field names and values. Fields that were added after that version have the values that
                models without them had.

        Raises:
            SpecError: For a newer version, unknown or missing fields, bad values.
        """
        fields = {field.name for field in dataclasses.fields(cls)}
        record = {name: value for name, value in values.items() if name != "version"}
        try:
            record = SPECIFICATION.upgrade(record, values.get("version"))
        except NewerVersion as error:
            raise SpecError(str(error)) from error
        except ValueError as error:
            raise SpecError(str(error)) from None
        if set(record) != fields:
            missing, unknown = sorted(fields - set(record)), sorted(map(str, set(record) - fields))
            raise SpecError(f"specification fields: missing {missing}, unknown {unknown}")
        return cls(**record)


def _finite(name: str, value: Any) -> float:
    if not isinstance(value, bool) and isinstance(value, Real):
        with contextlib.suppress(OverflowError):  # an integer beyond the range of floats
            if math.isfinite(number := float(value)):
                return number
    raise SpecError(f"{name} = {value!r:.50} must be a finite number")


def _integer(name: str, value: Any, low: int, high: int) -> int:
    # NumPy integers are accepted and converted to Python's, which JSON can store.
    number = int(value) if isinstance(value, Integral) and not isinstance(value, bool) else None
    if number is None or not low <= number <= high:
        raise SpecError(f"{name} = {value!r:.50} must be an integer from {low} to {high}")
    return number


def _atomic_numbers(values: Any) -> tuple[int, ...]:
    try:
        numbers = tuple(values)
    except TypeError:
        raise SpecError(f"atomic_numbers = {values!r} must be a list of integers") from None
    checked = tuple(_integer("atomic_numbers", number, 1, 118) for number in numbers)
    if not checked or list(checked) != sorted(set(checked)):
        raise SpecError(f"atomic_numbers = {list(checked)} must be non-empty, ascending, without repeats")
    return checked
