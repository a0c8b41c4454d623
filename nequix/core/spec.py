"""The specification of a model: everything that decides its numbers except its learned parameters."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from nequix.core import irreps
from nequix.core.errors import SpecError

SPEC_VERSION = 1
"""Version of the specification's meaning; raised whenever the same JSON would give other numbers."""

GATE_NORMALISATION = 0.5964586854233045
"""Root mean square of SiLU over a million normal quantiles (docs/architecture.md, gate)."""

NORM_EPSILON = 1e-12
"""Added to the mean square of the RMS layer norm (docs/architecture.md, norm)."""

# Far above any model's use; without bounds a hostile file could ask for a manifest without end.
_LARGEST = {
    "n_layers": 100,
    "radial_basis_size": 10_000,
    "radial_mlp_size": 100_000,
    "radial_mlp_layers": 100,
}
_MOST_CHANNELS = 100_000
_STEEPEST = 100


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Hyper-parameters and constants of a Nequix model; defaults are the published family's.

    The only place in the project with numerical defaults, and the only one that validates them.

    Attributes:
        atomic_numbers: Known elements, ascending; an atom's species is its position in this list.
        avg_n_neighbors: Messages are summed and divided by the square root of this.
        scale: Factor of the readout, eV; not zero.
        shift: Added to every atom's energy, eV.
        cutoff: Radius of the neighbourhood, A.
        hidden_irreps: Features between layers, natural parity, degrees up to 4.
        lmax: Highest degree of the spherical harmonics of an edge, up to 8.
        n_layers: Number of interaction layers.
        radial_basis_size: Number of Bessel functions.
        radial_mlp_size: Width of the radial MLP.
        radial_mlp_layers: Number of hidden layers of the radial MLP.
        radial_polynomial_p: Power ``p`` of the polynomial cutoff; at least 2, so that second
            derivatives exist.
        layer_norm: Whether the equivariant RMS layer norm is applied.

    Raises:
        SpecError: For any value outside its range, naming the field.
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
        for name in ("avg_n_neighbors", "scale", "shift", "cutoff", "radial_polynomial_p"):
            _set(self, name, _finite(name, getattr(self, name)))
        for name in ("avg_n_neighbors", "cutoff"):
            if getattr(self, name) <= 0:
                raise SpecError(f"{name} = {getattr(self, name)} must be positive")
        if self.scale == 0:
            raise SpecError("scale = 0.0 must not be zero: the energy would not depend on the structure")
        if not 2 <= self.radial_polynomial_p <= _STEEPEST:
            p = self.radial_polynomial_p
            raise SpecError(f"radial_polynomial_p = {p} must be at least 2 and at most {_STEEPEST}")
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
            raise SpecError(
                f"hidden_irreps = {self.hidden_irreps!r} has no 0e, which the energy is read from"
            )
        if max(channels.values()) > _MOST_CHANNELS:
            raise SpecError(f"hidden_irreps = {self.hidden_irreps!r}: over {_MOST_CHANNELS} channels")
        _set(self, "hidden_irreps", irreps.format(channels))

    @property
    def hidden(self) -> dict[int, int]:
        """Channels of each hidden degree, ascending."""
        return irreps.parse(self.hidden_irreps)

    @property
    def n_species(self) -> int:
        """Number of known elements."""
        return len(self.atomic_numbers)

    def to_json(self) -> str:
        """Write the specification as JSON, with its version; :meth:`from_json` reads it back."""
        return json.dumps({"version": SPEC_VERSION, **dataclasses.asdict(self)})

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Read a specification that :meth:`to_json` wrote.

        Args:
            text: A JSON object with every field and ``version``.

        Raises:
            SpecError: For bad JSON, a version from the future, unknown or missing fields, bad values.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SpecError(f"the specification is not JSON: {error}") from None
        if not isinstance(values, dict):
            raise SpecError(f"the specification must be a JSON object, got {type(values).__name__}")
        return cls.from_dict(values)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelSpec:
        """Build a specification from every field and ``version``, as :meth:`to_json` lists them.

        Args:
            values: Field names and values.

        Raises:
            SpecError: For a version from the future, unknown or missing fields, bad values.
        """
        fields = {field.name for field in dataclasses.fields(cls)}
        version = values.get("version")
        if version != SPEC_VERSION or isinstance(version, bool):
            raise SpecError(
                f"specification version {version!r}, but this nequix reads version {SPEC_VERSION}; "
                "install a newer nequix if the file is newer"
            )
        given = set(values) - {"version"}
        if given != fields:
            missing, unknown = sorted(fields - given), sorted(map(str, given - fields))
            raise SpecError(f"specification fields: missing {missing}, unknown {unknown}")
        return cls(**{name: values[name] for name in fields})


def _finite(name: str, value: Any) -> float:
    if not isinstance(value, bool) and isinstance(value, Real):
        with contextlib.suppress(OverflowError):  # of an integer that no float can hold
            if math.isfinite(number := float(value)):
                return number
    raise SpecError(f"{name} = {value!r:.50} must be a finite number")


def _integer(name: str, value: Any, low: int, high: int) -> int:
    # NumPy's integers count as well; they become Python's, which JSON can hold.
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
