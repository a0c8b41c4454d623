"""The training loop: data, steps, validation, checkpoints, and the trained file at the end."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from nequix.core.parameters import count
from nequix.core.spec import ModelSpec
from nequix.data.labels import tell_labels, tell_parts
from nequix.data.loader import Loader
from nequix.data.stats import Statistics
from nequix.graphs.tiling import TILE
from nequix.io.interrupts import compiling, stop_signals
from nequix.io.weights import Provenance, read_weights, write_weights
from nequix.jax.convolution import Kernel
from nequix.train.checkpoint import save_checkpoint
from nequix.train.config import TrainConfig
from nequix.train.divergence import DivergenceMonitor
from nequix.train.estimate import describe_cost, time_steps
from nequix.train.figures import draw
from nequix.train.folder import MODEL, Folder
from nequix.train.history import History
from nequix.train.processes import anywhere, losses_named
from nequix.train.run_parts import Program, Progress, RunData, precision
from nequix.train.step import COUNTED, State, everywhere
from nequix.train.streams import Other, loading, take
from nequix.train.trackers import Tracker, close_all, open_trackers

BEST = "best.safetensors"
"""The trained file at the best validation so far."""

Report = Callable[[int, int, dict[str, float]], None]


class Run:
    """A training run in a folder, as :func:`nequix.train.opening.open_run` opens it.

    Args:
        config: The configuration.
        own: The run directory, with its lock.
        data: The data, and the model that is trained.
        program: The functions that run on the devices.
        progress: How far the run is.

    Attributes:
        folder: The run directory.
        spec: The model that is trained.
        statistics: Of the training data.
        loader: Of the training data.
        others: More training data of every step, taken in step with ``loader``.
        valid: Of the validation data, if there are any.
        valid_hessians: Of validation data with products of the Hessian, if there are any.
        n_steps: Number of steps of the whole run.
        state: What a step changes.
        best: The smallest loss of a validation so far.
        waited: Validations since then.
    """

    def __init__(
        self, config: TrainConfig, own: Folder, data: RunData, program: Program, progress: Progress
    ) -> None:
        self.config = config
        self.folder: Path = own.path
        self._own = own
        self.spec: ModelSpec = data.spec
        self.statistics: Statistics = data.statistics
        self.digests: dict[str, str] = data.digests
        self.loader: Loader = data.loader
        self.others: list[Other] = data.others
        self.n_steps: int = data.n_steps
        self.valid: Loader | None = data.valid
        self.valid_hessians: Loader | None = data.valid_hessians
        self._validation = data.validation
        self.mesh: Mesh = program.mesh
        self.kernel: Kernel = program.kernel
        self._rate = program.rate
        self._step, self._evaluation = program.step, program.evaluation
        self.state: State = progress.state
        self.best: float = progress.best
        self.waited: int = progress.waited
        self.history: History = History(self.folder / "history.csv")
        self._trackers: list[Tracker] = [self.history] if jax.process_index() == 0 else []

    def _next(self) -> tuple[list[str], list[Any]]:
        """Return the names of a step's structures, and its data on the devices."""
        energies = np.asarray(self.state.frozen["atom_energies"])
        run, atomic = self.config.run, self.config.loss.energies is not None
        return take(self.loader, self.others, self.mesh, run.dtype, energies, energies=atomic)

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
        with precision(self.config), loading(self.loader, self.others):
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
        with precision(self.config), losses_named(), self._own.held():
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
