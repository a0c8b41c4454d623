"""The training loop: data, steps, validation, checkpoints, and the trained file at the end."""

from __future__ import annotations

import contextlib
import hashlib
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nequix.core.errors import DataError, NequixError
from nequix.core.parameters import count, initialise
from nequix.core.spec import ModelSpec
from nequix.data.labels import tell_labels, tell_parts
from nequix.data.loader import Loader
from nequix.data.sources import Source
from nequix.data.stats import Statistics
from nequix.graphs.tiling import TILE
from nequix.io import checked
from nequix.io.interrupts import compiling, stop_signals
from nequix.io.weights import Provenance, read_weights, write_weights
from nequix.jax.kernels import select_kernel
from nequix.train.checkpoint import load_newest, save_checkpoint
from nequix.train.config import TrainConfig
from nequix.train.divergence import DivergenceMonitor
from nequix.train.estimate import describe_cost, time_steps
from nequix.train.evaluation import Evaluation
from nequix.train.figures import draw
from nequix.train.folder import MODEL, Folder
from nequix.train.history import History
from nequix.train.optimizer import make_optimizer, schedule
from nequix.train.processes import anywhere, losses_named, same_everywhere
from nequix.train.statistics_cache import measured, measured_valid
from nequix.train.step import COUNTED, State, everywhere, initial_state, make_mesh, make_step
from nequix.train.streams import (
    Other,
    describe_validation,
    loading,
    name_absent,
    open_sources,
    own_packs,
    refuse_no_atom_energies,
    refuse_unknown,
    refuse_unlabelled,
    take,
)
from nequix.train.trackers import Tracker, close_all, open_trackers

BEST = "best.safetensors"
"""The trained file at the best validation so far."""

Report = Callable[[int, int, dict[str, float]], None]


class Run:
    """A training run in a folder; opened again with the same configuration, it resumes.

    Args:
        config: The configuration.
        folder: The run directory.
        progress: Called with the number of structures that were read since, while sizes are measured.

    Attributes:
        spec: Specification of the model.
        statistics: Statistics of the training data.
        loader: Loader of the training data.
        others: Additional training data of every step, read in step with ``loader``.
        valid: Loader of the validation data, if there are any.
        valid_hessians: Loader of validation data with products of the Hessian, if there are any.
        state: The state that a step updates.

    Raises:
        DataError: If the data or a checkpoint cannot be used, or the folder belongs to another configuration.
    """

    def __init__(
        self, config: TrainConfig, folder: Path, progress: Callable[[int], None] | None = None
    ) -> None:
        self.config, self.folder = config, folder
        self._own = Folder(folder, config)
        try:
            with self._precision():
                self._begin(progress)
        except NequixError:
            self._own.discard()
            raise

    def _begin(self, progress: Callable[[int], None] | None) -> None:
        """Compute data statistics, create the initial state, and resume from a checkpoint if there is one."""
        config, folder = self.config, self.folder
        train, valid = self._sources()
        len(train)  # a stream, which has no length, is rejected before it is read
        begun = bool(self._own.checkpoints())
        self.statistics, sizes = measured(train, config, folder, begun=begun, progress=progress)
        self.digests = {"training": self.statistics.digest}
        self._refuse_unlabelled(train, self.statistics)
        refuse_no_atom_energies(train, self.statistics, config, "training", every=True)
        self.spec = self._specify()
        self._refuse_unknown(train, self.statistics)
        self.mesh = make_mesh()
        run = config.run
        per_pack = max(1, round(config.data.batch_size / run.packs))
        shared: dict[str, Any] = {"seed": run.seed, "shards": run.packs, "mine": own_packs(run.packs)}
        shared |= {"batch_size": per_pack, "n_workers": config.data.workers}
        memory = config.data.memory
        self.loader = Loader(train, self.spec, sizes=sizes, epochs=run.epochs, memory=memory, **shared)
        self.valid, self._validation = None, "validation: none; the result is that of the last step"
        if valid is not None:
            found, sizes = measured_valid(valid, config, folder, begun=begun, progress=progress)
            self.digests["validation"] = found.digest
            self._refuse_unknown(valid, found)
            named = config.data.valid is not None  # a split-off part may have none by chance
            refuse_unlabelled(valid, found.labels, config, "validation", every=False, named=named)
            self._validation = describe_validation(valid, found, config)
            refuse_no_atom_energies(valid, found, config, "validation", every=False)
            self.valid = Loader(valid, self.spec, sizes=sizes, epochs=1, shuffle=False, **shared)
        self.n_steps = run.epochs * self.loader.steps_per_epoch
        self.valid_hessians: Loader | None = None
        self._prepare()
        self._restore()
        self.others = self._others(shared)
        for other in self.others:
            other.loader.restore({**other.loader.state(), "position": self.loader.position})
        self._refuse_changed()

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

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        """Allow float64 in the context, if the run uses float64, without a global setting."""
        return jax.enable_x64(self.config.run.dtype == "float64")

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

    def _prepare(self) -> None:
        run, mesh = self.config.run, self.mesh
        self.kernel = select_kernel(run.kernel, mesh.devices.flat[0].platform)
        parameters, frozen = (
            {name: jnp.asarray(values, run.dtype) for name, values in part.items()}
            for part in self._initial()
        )
        self._rate = schedule(self.config.optimizer, self.n_steps, self.loader.steps_per_epoch)
        optimizer = make_optimizer(self.config.optimizer, self.spec, parameters, self._rate)
        self.state: State = everywhere(mesh, initial_state(parameters, frozen, optimizer))
        self._step = make_step(self.spec, self.kernel, self.config.loss, optimizer, run.ema_decay, mesh)
        self._evaluation = Evaluation(self.spec, self.kernel, mesh, self.config.loss, run.dtype)

    def _next(self) -> tuple[list[str], list[Any]]:
        """Return the names of a step's structures, and its data on the devices."""
        energies = np.asarray(self.state.frozen["atom_energies"])
        run, atomic = self.config.run, self.config.loss.energies is not None
        return take(self.loader, self.others, self.mesh, run.dtype, energies, energies=atomic)

    def _restore(self) -> None:
        self.best, self.waited = float("inf"), 0
        self._saved_digests: dict[str, str] = {}
        self.history = History(self.folder / "history.csv")
        saved = load_newest(self._own.seen(), self.state)
        if saved is not None:
            state, rest = saved
            self.state = everywhere(self.mesh, state)
            try:
                self.loader.restore(checked.section(rest, "loader"))
                self.best, self.waited = checked.number(rest, "best", 0.0), checked.count(rest, "waited")
                self._saved_digests = checked.section(rest, "data")
            except DataError:
                raise
            except ValueError as error:
                raise DataError(f"{self.folder}: the newest checkpoint is damaged ({error})") from None
        if not same_everywhere(self.loader.position):
            raise DataError(f"{self.folder}: not every process finds the same checkpoints; share the folder")
        self._trackers: list[Tracker] = []
        if jax.process_index() == 0:
            self._trackers.append(self.history)

    def checkpoint(self) -> None:
        """Save the state and delete the oldest checkpoints beyond those to keep."""
        if jax.process_index() == 0:
            self._own.note()
            (self.folder / "checkpoints").mkdir(exist_ok=True)
            path = self.folder / "checkpoints" / f"step-{self.loader.position:09d}.safetensors"
            best = self.best if np.isfinite(self.best) else 1e300
            rest = {"loader": self.loader.state(), "best": best, "waited": self.waited, "data": self.digests}
            save_checkpoint(path, self.state, rest)
            found = self._own.checkpoints()
            newer = [
                other for other in found if other.name > path.name
            ]  # damaged: the run has not reached that step
            for old in (*newer, *found[: len(found) - len(newer)][: -self.config.run.keep]):
                old.unlink()
            self._own.seen()

    def describe(self) -> str:
        """Summarise model, data and training in a few lines."""
        fill = ", ".join(f"{part:.0%} of {name}" for name, part in self.loader.fill.items())
        budget, data = self.loader.budget, self.statistics
        return (
            f"{count(self.spec):,} parameters\n"
            f"{data.n_structures} structures of {len(data.atomic_numbers)} elements, "
            f"{tell_labels(data.labels)}{tell_parts(data.parts)}\n"
            f"{self._validation}\n"
            f"{self.n_steps} steps of {self.config.run.packs} packs of at most {budget.n_nodes} atoms, "
            f"{budget.n_tiles * TILE} edges, {budget.n_graphs - 1} structures; filled: {fill}\n"
            f"{jax.device_count()} devices ({jax.default_backend()}), {jax.process_count()} processes"
        )

    def estimate(self, n_steps: int = 3) -> str:
        """Take a few discarded steps and estimate the cost of an epoch; writes nothing.

        Args:
            n_steps: Number of steps after the one that compiles.
        """
        if self.complete:
            return f"no steps are left: complete at step {self.loader.position} of {self.n_steps}"
        n_left = self.n_steps - self.loader.position
        with self._precision(), loading(self.loader, self.others):
            compilation, step = time_steps(lambda: self._next()[1], self._take_step, n_left, n_steps)
        return describe_cost(step * self.loader.steps_per_epoch, compilation, self.config.data.memory)

    def _take_step(self, placed: list[Any]) -> dict[str, float]:
        """Take a step, wait for its end, and return its metrics."""
        self.state, metrics = self._step(self.state, *placed)
        counted = metrics.pop(COUNTED)  # an error without any label would be zero, as if perfect
        return {name: float(x) for name, x in metrics.items() if float(counted.get(name, 1)) > 0}

    def train(self, report: Report | None = None) -> bool:
        """Take all remaining steps, checkpoint, validate, and write the trained file.

        Args:
            report: Called after every step with the step, their number, and the metrics.

        Returns:
            Whether the run is complete; it is not if SIGTERM or SIGINT asked it to stop, which it then did
            after a checkpoint.

        Raises:
            DataError: If the loss is not finite or explodes; the structures are then listed in a file. If
                another process trains in the folder.
        """
        with self._precision(), losses_named(), self._own.held():
            if jax.process_index() == 0:
                self.history.cut(self.loader.position or -1)  # the validation precedes the first step
            return self._train(report)

    def _train(self, report: Report | None) -> bool:
        run = self.config.run
        with stop_signals() as stopped, loading(self.loader, self.others), self._followed():
            if self.loader.position == 0:
                self._before_first()
            first = True
            while not self.complete:
                names, placed = self._next()
                started = time.perf_counter()
                with self._first_step(first):
                    values = self._take_step(placed)
                first = False
                step = self.loader.position
                values["seconds"] = time.perf_counter() - started
                self._guard.judge(step, values, names)
                self._note(step, {**values, "rate": float(np.asarray(self._rate(step - 1)))})
                values["structures"] = len(names) * jax.process_count()  # the others have about as many
                if report is not None:
                    report(step, self.n_steps, values)
                per_epoch = self.loader.steps_per_epoch
                if step % (run.validate_every * per_epoch) == 0 or step == self.n_steps:
                    self._validate(step)
                stop = anywhere(bool(stopped))
                if step % run.checkpoint_every == 0 or self.complete or stop:
                    self.checkpoint()
                if stop:
                    return False
        self._conclude()
        self._draw()
        return True

    def _first_step(self, first: bool) -> contextlib.AbstractContextManager[None]:
        """Show that the first step of this process compiles."""
        return compiling("JAX compiles the training step") if first else contextlib.nullcontext()

    @property
    def complete(self) -> bool:
        """Whether all steps are done, or validations have not improved for ``patience`` validations."""
        patience = self.config.run.patience
        return self.loader.position >= self.n_steps or (patience is not None and self.waited >= patience)

    def _before_first(self) -> None:
        """Validate before the first step."""

    def _conclude(self) -> None:
        self.write()

    @contextlib.contextmanager
    def _followed(self) -> Iterator[None]:
        """Open the divergence monitor and the trackers for the duration of the steps."""
        losses = [float(row["loss"]) for row in self.history.rows() if row["loss"]]
        bad = self.folder / f"bad-steps-{jax.process_index()}.json"
        self._guard = DivergenceMonitor(self.config.stop, bad, losses)
        if jax.process_index() == 0:
            self._trackers += open_trackers(
                self.config.log, self.folder, self.loader.position, asdict(self.config)
            )
        try:
            yield
        finally:
            close_all(self._trackers)

    def _note(self, step: int, values: dict[str, float]) -> None:
        for tracker in self._trackers:
            tracker.add(step, values)

    def errors(self, loader: Loader, hessians: Loader | None = None) -> dict[str, float]:
        """Evaluate the moving average on a data set: the loss, and the mean error of each term.

        Args:
            loader: One epoch of the data.
            hessians: One epoch of data with products of the Hessian.
        """
        return self._evaluation.errors({**self.state.average, **self.state.frozen}, loader, hessians)

    def _draw(self) -> None:
        """Draw learning curves and the predictions for this process's part of the validation data."""
        anywhere(True)  # all wait for the file
        if self.config.log.figures:
            predictions, dtype = None, self.config.run.dtype
            if self.valid is not None:
                parameters = read_weights(self.folder / MODEL).parameters
                parameters = {name: jnp.asarray(values, dtype) for name, values in parameters.items()}
                predictions = self._evaluation.predictions(everywhere(self.mesh, parameters), self.valid)
            if jax.process_index() == 0:
                draw(self.folder, self.history.rows(), predictions)
        anywhere(True)  # none ends while another is still working

    def _validate(self, step: int) -> None:
        if self.valid is None:
            return
        errors = self.errors(self.valid, self.valid_hessians)
        self._note(step, {f"valid_{name}": value for name, value in errors.items()})
        self.waited += 1
        if errors["loss"] < self.best:
            self.best, self.waited = errors["loss"], 0
            self.write(BEST)

    def write(self, name: str = MODEL) -> Path:
        """Write the moving average as a weight file, which either engine reads.

        Args:
            name: The file's name in the folder.
        """
        path = self.folder / name
        if jax.process_index() == 0:
            write_weights(path, self.spec, self._averaged(), self._provenance())
        return path

    def _averaged(self) -> dict[str, np.ndarray]:
        """Return the parameters of a weight file: the moving average and the untrained parameters."""
        return {name: np.asarray(x) for name, x in {**self.state.average, **self.state.frozen}.items()}

    def _provenance(self) -> Provenance:
        digest = hashlib.sha256(self._own.text.encode()).hexdigest()
        extra = {"training_config": digest, "steps": str(self.loader.position)}
        return Provenance(**asdict(self.config.provenance), source="trained with nequix", extra=extra)
