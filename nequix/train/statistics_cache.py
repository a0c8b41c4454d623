"""Statistics and sizes of a run's data: measured once, and kept in its folder."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from nequix.core.errors import DataError
from nequix.data.packing import Sizes
from nequix.data.sources import Source
from nequix.data.stats import Statistics, compute
from nequix.io import strict_json
from nequix.io.files import write_atomic
from nequix.io.npz import check_npz
from nequix.train.config import DataConfig, TrainConfig

MEASURED = "measured.npz"
"""Stores the statistics and sizes of the training data and the identity of its files."""

VALID = "valid.npz"
"""Keeps the same of the validation data."""

_NO_ENERGIES = dict.fromkeys(range(len(chemical_symbols)), 0.0)


def measured(
    source: Source,
    config: TrainConfig,
    folder: Path,
    *,
    begun: bool = False,
    progress: Callable[[int], None] | None = None,
) -> tuple[Statistics, Sizes]:
    """Measure the training data, or read what was measured when the run began.

    Files whose sizes or times have changed are measured again.

    Args:
        source: The training data.
        config: The run's configuration.
        folder: Where what was measured is kept.
        begun: Whether there are steps that were taken with what was measured before.
        progress: Called with the number of structures that were read since.

    Returns:
        The statistics, and the sizes of all graphs.

    Raises:
        DataError: If the data are not those that the run began with, or cannot be used.
        GraphError: For a structure that has no graph, naming it.
    """
    identity = _identity(config, config.data.train)
    return _once(folder / MEASURED, identity, source, config, config.model.atom_energies, begun, progress)


def measured_valid(
    source: Source,
    config: TrainConfig,
    folder: Path,
    *,
    begun: bool = False,
    progress: Callable[[int], None] | None = None,
) -> tuple[Statistics, Sizes]:
    """Measure the validation data, or read what was measured when the run began.

    Args:
        source: The validation data.
        config: The run's configuration.
        folder: Where what was measured is kept.
        begun: Whether there are steps that were validated on what was measured before.
        progress: Called with the number of structures that were read since.

    Returns:
        The statistics, in which atom energies count as zero, and the sizes of all graphs.

    Raises:
        DataError: If the data are not those that the run began with, or cannot be used.
        GraphError: For a structure that has no graph, naming it.
    """
    identity = _identity(config, config.data.valid or config.data.train)
    return _once(folder / VALID, identity, source, config, _NO_ENERGIES, begun, progress)


def measured_other(
    source: Source, paths: Sequence[str], config: TrainConfig, folder: Path, name: str, *, begun: bool = False
) -> tuple[Statistics, Sizes]:
    """Measure more training data, or read what was measured when the run began.

    Args:
        source: The data.
        paths: The files that they are from.
        config: The run's configuration.
        folder: Where what was measured is kept.
        name: Of the file there, without its ending.
        begun: Whether there are steps that were taken with what was measured before.

    Returns:
        The statistics, in which atom energies count as zero, and the sizes of all graphs.

    Raises:
        DataError: If the data are not those that the run began with, or cannot be used.
        GraphError: For a structure that has no graph, naming it.
    """
    path, identity = folder / f"{name}.npz", _identity(config, paths)
    return _once(path, identity, source, config, _NO_ENERGIES, begun, None)


def untouched(config: TrainConfig, folder: Path, others: Mapping[str, Sequence[str]]) -> bool:
    """Return whether the files of a run are those that were measured, by sizes and times.

    Args:
        config: The run's configuration.
        folder: Where what was measured is kept.
        others: Files besides those for training and validation, by the names of :func:`measured_other`.
    """
    data = config.data
    wanted = {MEASURED: data.train, **{f"{name}.npz": paths for name, paths in others.items()}}
    if data.valid is not None or data.valid_fraction > 0:
        wanted[VALID] = data.valid or data.train
    kept = {name: _read(folder / name) for name in wanted}
    return all(found and found[0] == _identity(config, wanted[name]) for name, found in kept.items())


def _once(
    path: Path,
    identity: dict[str, Any],
    source: Source,
    config: TrainConfig,
    atom_energies: Mapping[int, float] | None,
    begun: bool,
    progress: Callable[[int], None] | None,
) -> tuple[Statistics, Sizes]:
    """Read what is kept of the same files, or measure them and keep it."""
    kept = _read(path)
    if kept is not None and kept[0] == identity:
        return kept[1], kept[2]
    statistics, sizes = compute(
        source,
        config.model.cutoff,
        atom_energies=atom_energies,
        n_workers=config.data.workers,
        progress=progress,
    )
    if begun and kept is not None:
        _refuse_changed(source, path.parent, kept[1], statistics)
        statistics = kept[1]  # of the same data; another processor may round otherwise
    _write(path, identity, statistics, sizes)
    return statistics, sizes


def _refuse_changed(source: Source, folder: Path, then: Statistics, now: Statistics) -> None:
    """Reject data that are not those of which something was kept."""
    if (then.digest, then.n_structures, then.cutoff) != (now.digest, now.n_structures, now.cutoff):
        raise DataError(
            f"{source.path}: changed since the run in {folder} began ({then.n_structures} structures "
            f"then, {now.n_structures} now, or other ones); put the old data back, or choose another folder"
        )


def _identity(config: TrainConfig, paths: Iterable[str]) -> dict[str, Any]:
    """Identify what the statistics depend on: files with sizes and times, keys, the split, the model."""
    data, model = config.data, config.model
    files = []
    for given in paths:
        path = Path(given)
        below = sorted(path.rglob("*")) if path.is_dir() else [path]
        # Databases have lock files beside them; reading changes the times of these.
        files += [file for file in below if file.is_file() and not file.name.endswith("-lock")]
    energies = model.atom_energies and {str(number): energy for number, energy in model.atom_energies.items()}
    return {
        "files": [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files],
        "split": [data.valid_fraction, config.run.seed],
        "cutoff": model.cutoff,
        "atom_energies": energies,
        "keys": _named_keys(data),
        # Of fine-tunings: which part of the data it is.
        "part": [config.run.seed, *(getattr(config, name, None) for name in ("n_train", "draw", "member"))],
    }


def _named_keys(data: DataConfig) -> list[str | None]:
    """List the keys of labels; files of older versions have no place for that of the virial."""
    virial = [] if data.virial_key is None else [data.virial_key]
    return [data.energy_key, data.forces_key, data.stress_key, *virial]


def _write(path: Path, identity: dict[str, Any], statistics: Statistics, sizes: Sizes) -> None:
    buffer = io.BytesIO()
    record = json.dumps({"identity": identity, "statistics": statistics.to_dict()})
    np.savez(buffer, record=record, sizes=np.stack([sizes.n_nodes, sizes.n_edges, sizes.n_tiles], axis=1))
    write_atomic(path, [buffer.getvalue()])


def _read(path: Path) -> tuple[dict[str, Any], Statistics, Sizes] | None:
    """Read what is kept; damaged, it counts as absent, since it can be measured again."""
    if not path.is_file():
        return None
    try:
        # Opened here, since NumPy leaves a file open that is not an archive.
        with open(path, "rb") as handle:
            check_npz(handle, str(path))
            with np.load(handle, allow_pickle=False) as kept:
                record, table = strict_json.parse_object(str(kept["record"])), kept["sizes"]
        names = [field.name for field in fields(Statistics) if field.name in record["statistics"]]
        values = {name: record["statistics"][name] for name in names}  # older versions had fewer
        values["atomic_numbers"] = tuple(values["atomic_numbers"])
        values["atom_energies"] = {int(number): x for number, x in values["atom_energies"].items()}
        statistics = Statistics(**values)
    except Exception:  # a damaged archive raises whatever its parsing met
        return None
    return record["identity"], statistics, Sizes.of(table, statistics.cutoff)
