"""The configuration of a run."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeVar

from nequix.core.errors import DataError, SpecError
from nequix.core.migrations import Format, NewerVersion
from nequix.core.spec import ModelSpec
from nequix.core.suggest import did_you_mean
from nequix.data.label_keys import LabelKeys
from nequix.io import strict_json
from nequix.jax.kernels import KERNELS
from nequix.train.config_types import Count, Element, Fraction, Index, NotNegative, Number, Positive
from nequix.train.divergence import StopConfig
from nequix.train.loss import LossConfig
from nequix.train.optimizer import OptimizerConfig
from nequix.train.trackers import LogConfig
from nequix.train.yaml_config import WrongValue, read_yaml


@dataclass(frozen=True)
class ModelConfig:
    """The model's hyper-parameters; values that depend on the data come from its statistics.

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
        atomic_numbers: Known elements; by default those of the training data. A file may name symbols.
        atom_energies: eV by atomic number; by default fitted to the training data. A file may name symbols.

    Raises:
        DataError: For values that the specification rejects, naming one.
    """

    cutoff: Positive
    hidden_irreps: str
    lmax: Index
    n_layers: Count
    radial_basis_size: Count
    radial_mlp_size: Count
    radial_mlp_layers: Count
    radial_polynomial_p: Positive
    layer_norm: bool
    atomic_numbers: list[Element] | None = None
    atom_energies: dict[Element, Number] | None = None

    def __post_init__(self) -> None:
        if self.atomic_numbers is not None:
            object.__setattr__(self, "atomic_numbers", sorted(self.atomic_numbers))
        # The data's statistics are not known yet; these values are valid for any.
        usual = {"atomic_numbers": (1,), "avg_n_neighbors": 1.0, "scale": 1.0, "shift": 0.0}
        own = self._own()
        for name, value in own.items():
            try:
                ModelSpec(**{**usual, name: value})
            except SpecError as error:
                raise WrongValue(name, error) from None
        try:
            ModelSpec(**{**usual, **own})
        except SpecError as error:
            raise DataError(str(error)) from None

    def spec(
        self, atomic_numbers: tuple[int, ...], avg_n_neighbors: float, scale: float, shift: float
    ) -> ModelSpec:
        """Complete the specification by the data's statistics.

        Args:
            atomic_numbers: Known elements.
            avg_n_neighbors: Mean number of edges per atom.
            scale: RMS of the force components, eV/A, or its substitute (docs/data.md, statistics).
            shift: Mean energy per atom in excess of the atom energies, eV.
        """
        own = {**self._own(), "atomic_numbers": atomic_numbers}
        return ModelSpec(**own, avg_n_neighbors=avg_n_neighbors, scale=scale, shift=shift)

    def _own(self) -> dict[str, Any]:
        """Return the fields of the specification that are set here."""
        own = dataclasses.asdict(self)
        del own["atom_energies"]
        if self.atomic_numbers is None:
            del own["atomic_numbers"]
        return own


@dataclass(frozen=True)
class DataConfig:
    """The location of the data and how they are packed.

    Attributes:
        train: Sources of labelled structures.
        valid: Sources for validation; by default a fraction of ``train``.
        valid_fraction: Held-out fraction, if ``valid`` is not given.
        batch_size: Average number of structures per step, over all devices.
        workers: Processes that build graphs; 0 builds them in the training process.
        energy_key: Key of the energies in both, if not a standard one (docs/data.md, conventions).
        forces_key: Key of the forces.
        stress_key: Key of the stresses.
        virial_key: Key of the virials, which are converted to stresses.
        memory: GiB for structures of ``train`` and their graphs, which are then built once. Workers divide it
            and cache separately, so a single worker uses it best.
    """

    train: list[str]
    batch_size: Count
    workers: Index
    valid_fraction: Fraction
    valid: list[str] | None = None
    energy_key: str | None = None
    forces_key: str | None = None
    stress_key: str | None = None
    virial_key: str | None = None
    memory: NotNegative = 1.0

    @property
    def label_keys(self) -> LabelKeys:
        """Keys of the labels."""
        return LabelKeys.of(self.energy_key, self.forces_key, self.stress_key, self.virial_key)


@dataclass(frozen=True)
class RunConfig:
    """Settings of the run.

    Attributes:
        epochs: Number of passes over the training data.
        seed: Random seed of the initial values, the split and the order.
        dtype: ``float32`` or ``float64``.
        kernel: Convolution kernel.
        ema_decay: Decay of the moving average of the parameters in the long run.
        packs: Parts of a batch; a multiple of the number of devices, among which they are divided.
        checkpoint_every: Steps between checkpoints.
        keep: Number of checkpoints to keep, in addition to the best.
        validate_every: Epochs between validations.
        patience: Number of validations without a new best after which the run ends; by default all epochs
            run.

    Raises:
        DataError: If the kernel is unknown.
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

    def __post_init__(self) -> None:
        known = ("auto", *KERNELS)
        if self.kernel not in known:
            raise WrongValue(
                "kernel",
                f"kernel = {self.kernel!r}, expected one of {', '.join(known)}"
                f"{did_you_mean(self.kernel, known)}",
            )


@dataclass(frozen=True)
class ProvenanceConfig:
    """Provenance that is recorded in the trained file.

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
        data: Training and validation data.
        loss: Weights of the loss.
        optimizer: How parameters are updated.
        run: Settings of the run.
        provenance: Provenance that is recorded in the trained file.
        stop: When the loss counts as diverging.
        log: Trackers that receive the metrics, and figures.
        forces_first: Whether structures with forces are held out first if few are held out.
    """

    forces_first: ClassVar[bool] = False
    model: ModelConfig
    data: DataConfig
    loss: LossConfig
    optimizer: OptimizerConfig
    run: RunConfig
    provenance: ProvenanceConfig
    stop: StopConfig = field(default_factory=StopConfig, kw_only=True)
    log: LogConfig = field(default_factory=LogConfig, kw_only=True)


FORMAT = Format("training configuration")
"""Versions of configurations, in YAML and as a run records them; fields are named like ``run.epochs``."""

FREE = ("log", "stop", "provenance", "data.workers", "data.memory", "run.keep", "run.checkpoint_every")
"""Keys that may change when a run is resumed, because they do not affect its numbers."""

C = TypeVar("C", bound=TrainConfig)


FINETUNING_ONLY = ("refit_atom_energies", "replay", "phonons")
"""Keys at the top that only configurations of fine-tunings have."""


def read_config(path: str | os.PathLike[str]) -> TrainConfig:
    """Read a configuration.

    Args:
        path: A YAML file with every key that has no default.

    Raises:
        DataError: If it cannot be read, or a key or value is wrong, naming its line and the nearest key.
    """
    try:
        config = read_yaml(TrainConfig, path, versions=FORMAT)
    except DataError as error:
        if not any(f"unknown key {key!r}" in str(error) for key in FINETUNING_ONLY):
            raise
        raise DataError(
            f"{path}: a configuration for `nequix finetune`, which has other keys: nequix finetune DATA "
            f"-o FOLDER --config {path}"
        ) from None
    if config.loss.hessian is not None:
        raise DataError(f"{path}: loss.hessian needs `nequix finetune --phonons`; remove it here")
    return config


def overlay(config: C, path: str | os.PathLike[str]) -> C:
    """Replace the values that a file names.

    Args:
        config: A complete configuration.
        path: A YAML file with some of the keys.

    Raises:
        DataError: If it cannot be read, or a key or value is wrong, naming its line and the nearest key.
    """
    return read_yaml(type(config), path, config, FORMAT)


def to_json(config: TrainConfig) -> str:
    """Serialise a configuration as a run records it, with its version.

    Args:
        config: The configuration.
    """
    return json.dumps({"version": FORMAT.version, **dataclasses.asdict(config)}, indent=1)


def same_run(recorded: str, now: TrainConfig) -> bool:
    """Return whether two configurations belong to the same run.

    Args:
        recorded: JSON that a run has recorded, of this or an older version.
        now: The current configuration.
    """
    return not changes(recorded, now)


def changes(recorded: str, now: TrainConfig) -> list[str]:
    """List the keys with different values in two configurations, with both values.

    Keys that do not affect a run's numbers do not count (:data:`FREE`).

    Args:
        recorded: JSON that a run has recorded, of this or an older version.
        now: The current configuration.
    """
    try:
        before, after = (dict(_stated(_current(text))) for text in (recorded, to_json(now)))
    except NewerVersion as error:
        return [str(error)]
    except ValueError:
        return ["the recorded configuration cannot be read"]
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    return [f"{key}: {_describe(before, key)} then, {_describe(after, key)} now" for key in keys]


def _current(text: str) -> dict[str, Any]:
    """Upgrade a recorded configuration to the current version; the first release recorded none."""
    record = strict_json.parse_object(text)
    return FORMAT.upgrade(record, record.pop("version", 1))


def _stated(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """List all keys, e.g. ``run.epochs``, with their values."""
    for key, value in values.items():
        name = f"{above}{key}"
        if name in FREE or value is None:
            continue
        if isinstance(value, dict):
            yield from _stated(value, f"{name}.")
        else:
            yield name, value


def _describe(values: dict[str, Any], key: str) -> str:
    return f"{values[key]!r:.60}" if key in values else "nothing"
