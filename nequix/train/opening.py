"""Open a run: measure and check its data, create or restore its state."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from nequix.core.errors import DataError, NequixError
from nequix.core.parameters import initialise
from nequix.core.spec import ModelSpec
from nequix.data.loader import Loader
from nequix.data.sources import Source
from nequix.data.stats import Statistics
from nequix.io import checked
from nequix.jax.kernels import select_kernel
from nequix.train.checkpoint import load_newest
from nequix.train.config import TrainConfig
from nequix.train.evaluation import Evaluation
from nequix.train.folder import Folder
from nequix.train.loop import Run
from nequix.train.optimizer import make_optimizer, schedule
from nequix.train.processes import same_everywhere
from nequix.train.run_parts import Program, Progress, RunData, precision
from nequix.train.statistics_cache import measured, measured_valid
from nequix.train.step import State, everywhere, initial_state, make_mesh, make_step
from nequix.train.streams import (
    Other,
    describe_validation,
    name_absent,
    open_sources,
    own_packs,
    refuse_no_atom_energies,
    refuse_unknown,
    refuse_unlabelled,
)


def open_run(config: TrainConfig, folder: Path, progress: Callable[[int], None] | None = None) -> Run:
    """Open a training run in a folder; with the same configuration it resumes from the last checkpoint.

    Args:
        config: The configuration.
        folder: The run directory; created if it is missing.
        progress: Called with the number of structures that were read since, while sizes are measured.

    Raises:
        DataError: If the data or a checkpoint cannot be used, or the folder is of another configuration.
    """
    return Opening(config, folder, progress).open()


class Opening:
    """The steps that open a run, in their order; another kind of run replaces some of them.

    Args:
        config: The configuration.
        folder: The run directory.
        progress: Called with the number of structures that were read since, while sizes are measured.

    Attributes:
        statistics: Of the training data, once they are measured.
        spec: The model that is trained, once the data are measured.
        loader: Of the training data.
        valid: Of the validation data, if there are any.
        valid_hessians: Of validation data with products of the Hessian, if there are any.
        digests: Of the structures and labels of each part of the data, by its name.
    """

    statistics: Statistics
    spec: ModelSpec
    loader: Loader

    def __init__(
        self, config: TrainConfig, folder: Path, progress: Callable[[int], None] | None = None
    ) -> None:
        self.config, self.folder, self._progress = config, folder, progress
        self.digests: dict[str, str] = {}
        self.valid: Loader | None = None
        self.valid_hessians: Loader | None = None
        self._validation = "validation: none; the result is that of the last step"
        self._saved_digests: dict[str, str] = {}

    def open(self) -> Run:
        """Measure the data, make the initial state, and resume from a checkpoint if there is one.

        Raises:
            DataError: If the data or a checkpoint cannot be used, or the folder is of another configuration.
        """
        self._own = Folder(self.folder, self.config)
        try:
            with precision(self.config):
                return self._open()
        except NequixError:
            self._own.discard()
            raise

    def _open(self) -> Run:
        train, valid = self._sources()
        len(train)  # a stream, which has no length, is rejected before it is read
        begun = bool(self._own.checkpoints())
        sizes = self._measure(train, begun)
        self.mesh = make_mesh()
        shared = self._shared()
        run, memory = self.config.run, self.config.data.memory
        self.loader = Loader(train, self.spec, sizes=sizes, epochs=run.epochs, memory=memory, **shared)
        if valid is not None:
            self._open_valid(valid, begun, shared)
        n_steps = run.epochs * self.loader.steps_per_epoch
        program, state = self._prepare(n_steps)
        progress = self._restore(state)
        others = self._others(shared)
        for other in others:
            other.loader.restore({**other.loader.state(), "position": self.loader.position})
        self._refuse_changed()
        validation = self.valid, self.valid_hessians, self._validation
        data = RunData(
            self.spec, self.statistics, self.digests, self.loader, others, *validation, n_steps=n_steps
        )
        return self._make(data, program, progress)

    def _make(self, data: RunData, program: Program, progress: Progress) -> Run:
        """Make the run of its parts."""
        return Run(self.config, self._own, data, program, progress)

    def _measure(self, train: Source, begun: bool) -> Any:
        """Measure the training data, reject what cannot be trained on, and specify the model."""
        found, sizes = measured(train, self.config, self.folder, begun=begun, progress=self._progress)
        self.statistics = found
        self.digests["training"] = found.digest
        self._refuse_unlabelled(train, found)
        refuse_no_atom_energies(train, found, self.config, "training", every=True)
        self.spec = self._specify()
        self._refuse_unknown(train, found)
        return sizes

    def _shared(self) -> dict[str, Any]:
        """Return the arguments that all loaders share."""
        run, data = self.config.run, self.config.data
        per_pack = max(1, round(data.batch_size / run.packs))
        shared: dict[str, Any] = {"seed": run.seed, "shards": run.packs, "mine": own_packs(run.packs)}
        return {**shared, "batch_size": per_pack, "n_workers": data.workers}

    def _open_valid(self, valid: Source, begun: bool, shared: dict[str, Any]) -> None:
        """Measure the validation data, reject what cannot be compared with, and load them."""
        config = self.config
        found, sizes = measured_valid(valid, config, self.folder, begun=begun, progress=self._progress)
        self.digests["validation"] = found.digest
        self._refuse_unknown(valid, found)
        named = config.data.valid is not None  # a part that is split off may have none by chance
        refuse_unlabelled(valid, found.labels, config, "validation", every=False, named=named)
        self._validation = describe_validation(valid, found, config)
        refuse_no_atom_energies(valid, found, config, "validation", every=False)
        self.valid = Loader(valid, self.spec, sizes=sizes, epochs=1, shuffle=False, **shared)

    def _refuse_changed(self) -> None:
        """Reject data that differ from the checkpoint's: its statistics may not be available."""
        for name, digest in self._saved_digests.items():
            if digest and self.digests.get(name, digest) not in ("", digest):
                raise DataError(
                    f"{self.folder}: the structures for {name} or their labels have changed since the run "
                    "began; put the old data back, or choose another folder"
                )

    def _others(self, shared: dict[str, Any]) -> list[Other]:
        """Open more training data.

        Args:
            shared: Arguments of their loaders.
        """
        return []

    def _sources(self) -> tuple[Source, Source | None]:
        """Open the data for training and for validation."""
        return open_sources(self.config)

    def _specify(self) -> ModelSpec:
        """Return the specification of the model that is trained."""
        model, data = self.config.model, self.statistics
        if data.avg_n_neighbors == 0:
            raise DataError(
                f"no atom of the {data.n_structures} structures for training has a neighbour within "
                f"model.cutoff = {model.cutoff:g} A; give a larger one, or positions and cells in A"
            )
        if (doubt := data.doubt()) is not None:
            warnings.warn(doubt, RuntimeWarning, stacklevel=2)
        numbers = tuple(model.atomic_numbers or data.atomic_numbers)
        if (absent := name_absent(numbers, data, model.atom_energies or {})) is not None:
            warnings.warn(absent, RuntimeWarning, stacklevel=2)
        return model.spec(numbers, data.avg_n_neighbors, data.scale, data.shift)

    def _refuse_unknown(self, source: Source, found: Statistics) -> None:
        """Reject data with elements that the model does not know, before any step is taken."""
        refuse_unknown(source, found, self.spec)

    def _refuse_unlabelled(self, source: Source, found: Statistics) -> None:
        """Reject training data without labels that the loss weighs, before any step is taken."""
        refuse_unlabelled(source, found.labels, self.config, "training", every=True)

    def _initial(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return the initial values of the parameters that are trained, and those of the others."""
        energies = self.config.model.atom_energies or self.statistics.atom_energies
        drawn = initialise(self.spec, self.config.run.seed, energies)
        return drawn, {"atom_energies": drawn.pop("atom_energies")}

    def _prepare(self, n_steps: int) -> tuple[Program, State]:
        """Compile the functions of the run, and make its first state."""
        config, run, mesh = self.config, self.config.run, self.mesh
        self.kernel = select_kernel(run.kernel, mesh.devices.flat[0].platform)
        parameters, frozen = (
            {name: jnp.asarray(values, run.dtype) for name, values in part.items()}
            for part in self._initial()
        )
        rate = schedule(config.optimizer, n_steps, self.loader.steps_per_epoch)
        optimizer = make_optimizer(config.optimizer, self.spec, parameters, rate)
        state: State = everywhere(mesh, initial_state(parameters, frozen, optimizer))
        step = make_step(self.spec, self.kernel, config.loss, optimizer, run.ema_decay, mesh)
        evaluation = Evaluation(self.spec, self.kernel, mesh, config.loss, run.dtype)
        return Program(mesh, self.kernel, rate, step, evaluation), state

    def _restore(self, state: State) -> Progress:
        """Resume from the newest checkpoint, if there is one."""
        progress = Progress(state, float("inf"), 0)
        saved = load_newest(self._own.seen(), state)
        if saved is not None:
            loaded, rest = saved
            state = everywhere(self.mesh, loaded)
            try:
                self.loader.restore(checked.section(rest, "loader"))
                best, waited = checked.number(rest, "best", 0.0), checked.count(rest, "waited")
                progress = Progress(state, best, waited)
                self._saved_digests = checked.section(rest, "data")
            except DataError:
                raise
            except ValueError as error:
                raise DataError(f"{self.folder}: the newest checkpoint is damaged ({error})") from None
        if not same_everywhere(self.loader.position):
            raise DataError(f"{self.folder}: not every process finds the same checkpoints; share the folder")
        return progress
