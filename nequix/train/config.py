"""The configuration of a run: YAML, where a wrong key or value is named with its line."""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from nequix.core.errors import DataError
from nequix.core.spec import ModelSpec
from nequix.data.structure import LabelKeys
from nequix.train.bounds import Count, Fraction, Index
from nequix.train.guard import StopConfig
from nequix.train.loss import LossConfig
from nequix.train.optimizer import OptimizerConfig
from nequix.train.trackers import LogConfig


@dataclass(frozen=True)
class ModelConfig:
    """The model's hyper-parameters; what depends on the data comes from its statistics.

    Attributes:
        cutoff: A.
        hidden_irreps: Features between layers.
        lmax: Highest degree of the spherical harmonics.
        n_layers: Number of interaction layers.
        radial_basis_size: Number of Bessel functions.
        radial_mlp_size: Width of the radial MLP.
        radial_mlp_layers: Number of its hidden layers.
        radial_polynomial_p: Power of the polynomial cutoff.
        layer_norm: Whether the RMS layer norm is applied.
        atomic_numbers: Known elements; by default those of the training data.
        atom_energies: eV by atomic number; by default fitted to the training data.
    """

    cutoff: float
    hidden_irreps: str
    lmax: int
    n_layers: int
    radial_basis_size: int
    radial_mlp_size: int
    radial_mlp_layers: int
    radial_polynomial_p: float
    layer_norm: bool
    atomic_numbers: list[int] | None = None
    atom_energies: dict[int, float] | None = None

    def spec(
        self, atomic_numbers: tuple[int, ...], avg_n_neighbors: float, scale: float, shift: float
    ) -> ModelSpec:
        """Complete the specification by the data's statistics.

        Args:
            atomic_numbers: Known elements.
            avg_n_neighbors: Mean number of edges an atom.
            scale: RMS of the force components, eV/A, or what stands for it (docs/data.md, statistics).
            shift: Mean energy an atom beyond the atom energies, eV.
        """
        own = dataclasses.asdict(self)
        del own["atom_energies"]
        own["atomic_numbers"] = atomic_numbers
        return ModelSpec(**own, avg_n_neighbors=avg_n_neighbors, scale=scale, shift=shift)


@dataclass(frozen=True)
class DataConfig:
    """Where the data are and how they are packed.

    Attributes:
        train: Sources of labelled structures.
        valid: Sources for validation; by default a fraction of ``train``.
        valid_fraction: Fraction held out, where ``valid`` is not given.
        batch_size: Structures a step on average, over all devices.
        workers: Processes that build graphs; 0 builds them in the training process.
        energy_key: Where energies are in both, if not under a usual key (docs/data.md, conventions).
        forces_key: The same of forces.
        stress_key: The same of stresses.
    """

    train: list[str]
    batch_size: Count
    workers: Index
    valid_fraction: Fraction
    valid: list[str] | None = None
    energy_key: str | None = None
    forces_key: str | None = None
    stress_key: str | None = None

    @property
    def label_keys(self) -> LabelKeys:
        """Where labels are."""
        return LabelKeys.of(self.energy_key, self.forces_key, self.stress_key)


@dataclass(frozen=True)
class RunConfig:
    """The course of the run.

    Attributes:
        epochs: Passes over the training data.
        seed: Of the initial values, the split and the order.
        dtype: ``float32`` or ``float64``.
        kernel: Convolution kernel.
        ema_decay: Decay of the moving average of the parameters in the long run.
        packs: Parts of a batch; a multiple of the number of devices, which share them.
        checkpoint_every: Steps between checkpoints.
        keep: Checkpoints kept, beside the best.
        validate_every: Epochs between validations.
        patience: Validations without a new best after which the run ends; by default it takes all epochs.
    """

    epochs: Count
    seed: Index
    dtype: Literal["float32", "float64"]
    kernel: str
    ema_decay: Fraction
    packs: Count
    checkpoint_every: Count
    keep: Count
    validate_every: Count
    patience: Count | None = None


@dataclass(frozen=True)
class ProvenanceConfig:
    """What the trained file says of itself.

    Attributes:
        name: Its name.
        training_data: Data sets it was trained on.
        theory: Level of theory of the labels.
        licence: Licence and copyright holder of the weights.
        citation: What to cite.
    """

    name: str
    training_data: str
    theory: str
    licence: str
    citation: str


@dataclass(frozen=True)
class TrainConfig:
    """A run.

    Attributes:
        model: The model's hyper-parameters.
        data: Where the data are.
        loss: Weights of the loss.
        optimizer: How parameters are updated.
        run: The course of the run.
        provenance: What the trained file says of itself.
        stop: When a loss counts as exploding.
        log: Who is told what is measured.
    """

    model: ModelConfig
    data: DataConfig
    loss: LossConfig
    optimizer: OptimizerConfig
    run: RunConfig
    provenance: ProvenanceConfig
    stop: StopConfig = field(default_factory=StopConfig, kw_only=True)
    log: LogConfig = field(default_factory=LogConfig, kw_only=True)


C = TypeVar("C", bound=TrainConfig)


def read_config(path: str | os.PathLike[str]) -> TrainConfig:
    """Read a configuration.

    Args:
        path: A YAML file with every key that has no default.

    Raises:
        DataError: If it cannot be read, or a key or value is wrong, naming its line and the nearest key.
    """
    return _build(TrainConfig, _compose(path), os.fspath(path))


def overlay(config: C, path: str | os.PathLike[str]) -> C:
    """Replace the values that a file names.

    Args:
        config: Has all values.
        path: A YAML file with some of the keys.

    Raises:
        DataError: If it cannot be read, or a key or value is wrong, naming its line and the nearest key.
    """
    return _build(type(config), _compose(path), os.fspath(path), config)


def _compose(path: str | os.PathLike[str]) -> yaml.Node | None:
    try:
        return yaml.compose(Path(path).read_text(), yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{os.fspath(path)}: cannot be read as YAML: {error}") from None


def same_run(one: str, other: str) -> bool:
    """Compare two configurations that runs have noted, but for what changes no number of a run.

    That is who is told, what counts as exploding, and keys that state nothing, which older ones lack.

    Args:
        one: JSON.
        other: JSON.
    """

    def stated(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: stated(inner) for key, inner in value.items() if inner is not None}

    try:
        read = [{**json.loads(text), "log": None, "stop": None} for text in (one, other)]
    except (ValueError, TypeError):
        return False
    return stated(read[0]) == stated(read[1])


def _build(kind: Any, node: yaml.Node | None, where: str, default: Any = None) -> Any:
    if not isinstance(node, yaml.MappingNode):
        raise DataError(f"{_line(node, where)}: expected keys and values")
    types_of = typing.get_type_hints(kind, include_extras=True)
    optional = (dataclasses.MISSING, dataclasses.MISSING)
    required = {f.name for f in dataclasses.fields(kind) if (f.default, f.default_factory) == optional}
    values: dict[str, Any] = {}
    for key, value in node.value:
        name = str(key.value)
        if name not in types_of:
            near = difflib.get_close_matches(name, types_of, n=1, cutoff=0.0)
            raise DataError(f"{_line(key, where)}: unknown key {name!r}; did you mean {near[0]!r}?")
        if name in values:
            raise DataError(f"{_line(key, where)}: the key {name!r} stands twice; remove one")
        values[name] = _value(types_of[name], name, value, where, getattr(default, name, None))
    if default is not None:
        return dataclasses.replace(default, **values)
    missing = sorted(required - values.keys())
    if missing:
        raise DataError(f"{_line(node, where)}: the keys {missing} are missing; add them")
    return kind(**values)


def _value(kind: Any, name: str, node: yaml.Node, where: str, default: Any = None) -> Any:
    section = next((k for k in (kind, *typing.get_args(kind)) if dataclasses.is_dataclass(k)), None)
    if section is not None and (section is kind or isinstance(node, yaml.MappingNode)):
        return _build(section, node, where, default)
    loader = yaml.SafeLoader("")
    value = loader.construct_object(node, deep=True)
    union = typing.get_origin(kind) in (types.UnionType, typing.Union)
    for choice in typing.get_args(kind) if union else (kind,):
        try:
            return _convert(choice, value)
        except TypeError:
            continue
    raise DataError(f"{_line(node, where)}: {name} = {value!r:.60}, expected {_wanted(kind, value)}")


def _wanted(kind: Any, value: Any) -> str:
    """Say what a value must be."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return " or ".join("nothing" if kind is type(None) else _wanted(kind, value) for kind in arguments)
    if origin is typing.Annotated:
        return f"{arguments[0].__name__} {arguments[1]}"
    if origin is typing.Literal:
        near = difflib.get_close_matches(str(value), arguments, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"one of {', '.join(arguments)}{hint}"
    return getattr(kind, "__name__", str(kind))


def _convert(kind: Any, value: Any) -> Any:
    """Return a value of a kind, or raise TypeError; a single one stands for a list of it."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        if (converted := _convert(arguments[0], value)) not in arguments[1]:
            raise TypeError
        return converted
    if origin is typing.Literal and value in arguments:
        return value
    if origin is list:
        return [_convert(arguments[0], item) for item in (value if isinstance(value, list) else [value])]
    if origin is dict and isinstance(value, dict):
        return {_convert(arguments[0], k): _convert(arguments[1], v) for k, v in value.items()}
    if kind is float and type(value) in (int, float):
        return float(value)
    if type(value) is not kind:
        raise TypeError
    return value


def _line(node: yaml.Node | None, where: str) -> str:
    return where if node is None else f"{where}, line {node.start_mark.line + 1}"
