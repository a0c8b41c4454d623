"""Open a fine-tuning run: a training run with more data and other initial values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from nequix.core.errors import DataError
from nequix.core.spec import ModelSpec
from nequix.data.loader import Loader
from nequix.data.opening import open_source
from nequix.data.packing import Sizes
from nequix.data.sources import Source, Subset
from nequix.data.stats import Statistics
from nequix.finetune.config import FinetuneConfig, PhononsConfig
from nequix.finetune.modes import trained_names
from nequix.finetune.phonons import PhononSource
from nequix.finetune.refit import baseline, least_change
from nequix.finetune.run import FineTuning, require_best
from nequix.io.weights import Weights
from nequix.train.folder import MODEL
from nequix.train.opening import Opening
from nequix.train.run_parts import Program, Progress, RunData
from nequix.train.statistics_cache import measured_other
from nequix.train.step import State
from nequix.train.streams import Other, refuse_unlabelled


def open_fine_tuning(
    config: FinetuneConfig, parent: Weights, folder: Path, progress: Callable[[int], None] | None = None
) -> FineTuning:
    """Open a fine-tuning in a folder; with the same configuration it resumes from the last checkpoint.

    Args:
        config: The configuration.
        parent: The model to start from, that of ``config``.
        folder: The run directory; created if it is missing.
        progress: Called with the number of structures that were read since, while sizes are measured.

    Raises:
        DataError: If the data hold elements that the parent does not know, or cannot be used.
    """
    return cast(FineTuning, FineTuningOpening(config, parent, folder, progress).open())


class FineTuningOpening(Opening):
    """The steps that open a fine-tuning.

    Args:
        config: The configuration.
        parent: The model to start from, that of ``config``.
        folder: The run directory.
        progress: Called with the number of structures that were read since, while sizes are measured.
    """

    config: FinetuneConfig

    def __init__(
        self,
        config: FinetuneConfig,
        parent: Weights,
        folder: Path,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__(config, folder, progress)
        self.parent: Weights = parent
        self.trained: list[str] = trained_names(parent.spec, config.mode)
        self.change: dict[int, float] = {}

    def _make(self, data: RunData, program: Program, progress: Progress) -> FineTuning:
        return FineTuning(self.config, self._own, data, program, progress, self.parent, self.change)

    def _specify(self) -> ModelSpec:
        return self.parent.spec

    def _refuse_unknown(self, source: Source, found: Statistics) -> None:
        if not set(found.atomic_numbers) <= set(self.spec.atomic_numbers):
            refuse_unknown(source, self.parent)

    def _refuse_unlabelled(self, source: Source, found: Statistics) -> None:
        """Reject data without labels; replayed data may provide kinds that the training data lack."""
        labels = Counter(found.labels)
        if self.config.replay is not None:
            refuse_unlabelled(source, labels, self.config, "training", every=False)
            replayed = open_source(self.config.replay.train)
            have = self._measured(replayed, self.config.replay.train, "replay")[0].labels
            refuse_unlabelled(replayed, have, self.config, "replay", every=False)
            labels.update(have)
        refuse_unlabelled(source, labels, self.config, "training", every=True)

    def _initial(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        values = dict(self.parent.parameters)
        # A resumed run has them in its checkpoint.
        if self.config.refit_atom_energies and not self._own.checkpoints():
            values["atom_energies"] = self._refitted()
        trained = {name: values.pop(name) for name in self.trained}
        return trained, values

    def _sources(self) -> tuple[Source, Source | None]:
        train, valid = super()._sources()
        if self.config.n_train is not None:
            if self.config.n_train > len(train):
                raise DataError(f"{self.config.n_train} structures to train on, but there are {len(train)}")
            order = np.random.default_rng([self.config.run.seed, self.config.draw or 0]).permutation(
                len(train)
            )
            train = Subset(train, np.sort(order[: self.config.n_train]))
        self._undrawn = train
        if self.config.member is not None:
            draw = np.random.default_rng([self.config.run.seed, self.config.member])
            train = Subset(train, np.sort(draw.integers(0, len(train), len(train))))
        return train, valid

    def _others(self, shared: dict[str, Any]) -> list[Other]:
        others, phonons, replay = [], self.config.phonons, self.config.replay
        if replay is not None:
            source = open_source(replay.train)
            found, sizes = self._measured(source, replay.train, "replay")
            self._refuse_unknown(source, found)
            size = self.config.data.batch_size * replay.share / (1 - replay.share)
            loader = self._loader(source, size, shared, sizes)
            others.append(Other(loader, atom_energies=self.parent.parameters["atom_energies"]))
        if phonons is not None:
            train, valid = self._phonons(phonons)
            sizes = self._measured(train, phonons.train, "phonons")[1]
            others.append(Other(self._loader(train, phonons.batch_size, shared, sizes), hessian=True))
            once = {**shared, "epochs": 1, "shuffle": False}
            self.valid_hessians = self._loader(valid, phonons.batch_size, once)
        return others

    def _phonons(self, config: PhononsConfig) -> tuple[Source, Source]:
        """Open the phonons to train on and those for validation."""
        source = PhononSource(config.train)
        refuse_unknown(source, self.parent)
        if config.valid is None:
            return source.split(self.config.data.valid_fraction, self.config.run.seed)
        valid = PhononSource(config.valid).each()
        refuse_unknown(valid, self.parent)
        return source, valid

    def _measured(self, source: Source, paths: Sequence[str], name: str) -> tuple[Statistics, Sizes]:
        """Compute statistics of more training data once; reject data that changed since the run began."""
        begun = bool(self._own.checkpoints())
        found, sizes = measured_other(source, paths, self.config, self.folder, name, begun=begun)
        self.digests[name] = found.digest
        return found, sizes

    def _loader(
        self, source: Source, batch_size: float, shared: dict[str, Any], sizes: Sizes | None = None
    ) -> Loader:
        per_pack = max(1, round(batch_size / self.config.run.packs))
        return Loader(source, self.spec, **{**shared, "batch_size": per_pack}, sizes=sizes)

    def _refitted(self) -> np.ndarray:
        """Fit the atom energies to the training data; every process computes the same fit.

        Members of an ensemble fit them to all data, not to their draws, so that they share one baseline.
        """
        shards = self.config.run.packs
        shared: dict[str, Any] = {"epochs": 1, "shuffle": False, "shards": shards, "mine": range(shards)}
        shared["n_workers"] = self.config.data.workers
        if self.config.member is None:
            loader = Loader(
                self.loader.source, self.spec, budget=self.loader.budget, sizes=self.loader.sizes, **shared
            )
        else:
            per_pack = max(1, round(self.config.data.batch_size / shards))
            loader = Loader(self._undrawn, self.spec, batch_size=per_pack, **shared)
        with loader:
            fractions, errors = baseline(self.parent, loader, self.kernel)
        change, numbers = least_change(fractions, errors), self.parent.spec.atomic_numbers
        self.change = {numbers[i]: float(change[i]) for i in np.flatnonzero(fractions.sum(0))}
        return self.parent.parameters["atom_energies"] + change

    def _restore(self, state: State) -> Progress:
        """Resume from a checkpoint; its best model must exist unless the result does."""
        progress = super()._restore(state)
        if self.valid is not None and self.loader.position and not (self.folder / MODEL).is_file():
            require_best(self.folder)
        return progress


def refuse_unknown(source: Source, parent: Weights) -> None:
    """Reject data with elements that a model does not know.

    Args:
        source: The data.
        parent: The model.

    Raises:
        DataError: Naming the elements, and the first structure that has some.
    """
    from ase.data import chemical_symbols

    known, found, first = set(parent.spec.atomic_numbers), set(), ""
    for structure in source:
        unknown = set(structure.numbers.tolist()) - known
        first = first or (structure.name if unknown else "")
        found |= unknown
    if found:
        symbols = ", ".join(chemical_symbols[number] for number in sorted(found))
        raise DataError(
            f"{first}: {symbols} unknown to {parent.provenance.name}, which cannot learn new elements; leave "
            "such structures out, or begin with a model that knows them"
        )
