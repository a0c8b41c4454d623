"""The course of a run: data, steps, validation, checkpoints, and the trained file at its end."""

from __future__ import annotations

import contextlib
import hashlib
import json
import resource
import signal
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nequix.core.errors import DataError
from nequix.core.files import write_atomic
from nequix.core.layout import TILE
from nequix.core.parameters import count, initialise
from nequix.core.spec import ModelSpec
from nequix.core.weights import Provenance, write_weights
from nequix.data.batch import Batch
from nequix.data.loader import Loader
from nequix.data.sources import Source, open_source, split
from nequix.jax.kernels import select_kernel
from nequix.train.checkpoint import load_checkpoint, save_checkpoint
from nequix.train.config import TrainConfig
from nequix.train.history import History
from nequix.train.loss import TERMS, weighted_loss
from nequix.train.measured import measured
from nequix.train.optimizer import make_optimizer, schedule
from nequix.train.step import (
    State,
    everywhere,
    initial_state,
    make_evaluation,
    make_mesh,
    make_step,
    spread,
)

MODEL = "model.safetensors"
"""The trained file: the moving average of the parameters."""

BEST = "best.safetensors"
"""The same at the best validation so far."""

VALID = "valid.npz"
"""Keeps the sizes of the validation data."""

Report = Callable[[int, int, dict[str, float]], None]


class Run:
    """A training run in a folder; made again with the same configuration, it goes on where it was.

    Args:
        config: What to do.
        folder: Where the run keeps its files.
        progress: Called with the number of structures that were read since, while sizes are measured.

    Attributes:
        spec: The model that is trained.
        statistics: Of the training data.
        loader: Of the training data.
        state: What a step changes.

    Raises:
        DataError: If the data or a checkpoint cannot be used, or the folder is of another configuration.
    """

    def __init__(
        self, config: TrainConfig, folder: Path, progress: Callable[[int], None] | None = None
    ) -> None:
        self.config, self.folder = config, folder
        folder.mkdir(parents=True, exist_ok=True)
        self._claim()
        train, valid = _sources(config)
        self.statistics, sizes = measured(
            train, config, folder, begun=bool(self._checkpoints()), progress=progress
        )
        self.spec = self._specify()
        self.mesh = make_mesh()
        run = config.run
        mine = _mine(run.packs)
        packing = {"seed": run.seed, "shards": run.packs, "mine": mine, "n_workers": config.data.workers}
        per_pack = max(1, round(config.data.batch_size / run.packs))
        self.loader = Loader(train, self.spec, batch_size=per_pack, sizes=sizes, epochs=run.epochs, **packing)
        self.valid = (
            None
            if valid is None
            else Loader(
                valid,
                self.spec,
                batch_size=per_pack,
                epochs=1,
                shuffle=False,
                cache=folder / VALID,
                **packing,
            )
        )
        self.n_steps = run.epochs * self.loader.steps_per_epoch
        self._prepare()
        self._restore()

    def _claim(self) -> None:
        """Note the configuration in the folder, or refuse a folder of another one."""
        path, ours = self.folder / "config.json", json.dumps(asdict(self.config), indent=1)
        if path.exists() and self._checkpoints() and _stated(path.read_text()) != _stated(ours):
            raise DataError(f"{self.folder}: holds a run of another configuration; choose another folder")
        write_atomic(path, [ours.encode()])

    def _specify(self) -> ModelSpec:
        """Return the specification of the model that is trained."""
        model, data = self.config.model, self.statistics
        numbers = tuple(model.atomic_numbers or data.atomic_numbers)
        return model.spec(numbers, data.avg_n_neighbors, data.scale, data.shift)

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
        self._evaluate = make_evaluation(self.spec, self.kernel, mesh)

    def _restore(self) -> None:
        self.best, self.waited = float("inf"), 0
        self.history = History(self.folder / "history.csv")
        checkpoints = self._checkpoints()
        if checkpoints:
            state, rest = load_checkpoint(checkpoints[-1], self.state)
            self.state = everywhere(self.mesh, state)
            self.loader.restore(rest["loader"])
            self.best, self.waited = rest["best"], rest.get("waited", 0)
        self.history.cut(self.loader.position if checkpoints else -1)

    def _checkpoints(self) -> list[Path]:
        return sorted((self.folder / "checkpoints").glob("step-*.safetensors"))

    def checkpoint(self) -> None:
        """Save the state and delete the oldest checkpoints beyond those to keep."""
        if jax.process_index() == 0:
            (self.folder / "checkpoints").mkdir(exist_ok=True)
            path = self.folder / "checkpoints" / f"step-{self.loader.position:09d}.safetensors"
            best = self.best if np.isfinite(self.best) else None
            rest = {"loader": self.loader.state(), "best": best or 1e300, "waited": self.waited}
            save_checkpoint(path, self.state, rest)
            for old in self._checkpoints()[: -self.config.run.keep]:
                old.unlink()

    def describe(self) -> str:
        """Say what will be trained on what, in a few lines."""
        fill = ", ".join(f"{part:.0%} of {name}" for name, part in self.loader.fill.items())
        budget, data = self.loader.budget, self.statistics
        return (
            f"{count(self.spec):,} parameters\n"
            f"{data.n_structures} structures of {len(data.atomic_numbers)} elements\n"
            f"{self.n_steps} steps of {self.config.run.packs} packs of at most {budget.n_nodes} atoms, "
            f"{budget.n_tiles * TILE} edges, {budget.n_graphs - 1} structures; filled: {fill}\n"
            f"{jax.device_count()} devices ({jax.default_backend()}), {jax.process_count()} processes"
        )

    def estimate(self, n_steps: int = 3) -> str:
        """Take a few steps that are not kept, and say what an epoch would take.

        Args:
            n_steps: How many, after one that compiles.
        """
        seconds = []
        with self.loader:
            for batches, _ in zip(self.loader, range(n_steps + 1), strict=False):
                start = time.perf_counter()
                placed = spread(self.mesh, batches, self.config.run.dtype)
                self.state, metrics = self._step(self.state, *placed)
                float(metrics["loss"])
                seconds.append(time.perf_counter() - start)
        epoch = statistics.median(seconds[1:] or seconds) * self.loader.steps_per_epoch
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        return f"{epoch:.3g} s an epoch; {seconds[0]:.3g} s to compile; peak memory {peak:.2f} GiB"

    def train(self, report: Report | None = None) -> bool:
        """Take all steps that are left, checkpoint, validate, and write the trained file.

        Args:
            report: Called after every step with the step, their number, and the metrics.

        Returns:
            Whether the run is complete; it is not if SIGTERM or SIGINT asked it to stop, which it then did
            after a checkpoint.

        Raises:
            DataError: If the loss is not finite; the batch's structures are listed in a file.
        """
        run = self.config.run
        with _stop_signals() as stopped, self.loader:
            while not self.complete:
                batches = next(self.loader)
                started = time.perf_counter()
                self.state, metrics = self._step(self.state, *spread(self.mesh, batches, run.dtype))
                values = {name: float(value) for name, value in metrics.items()}
                self._check_finite(values, batches)
                step = self.loader.position
                seconds = time.perf_counter() - started
                self.history.add(
                    step, {**values, "rate": float(np.asarray(self._rate(step - 1))), "seconds": seconds}
                )
                if report is not None:
                    report(step, self.n_steps, values)
                per_epoch = self.loader.steps_per_epoch
                if step % (run.validate_every * per_epoch) == 0 or step == self.n_steps:
                    self._validate(step)
                if step % run.checkpoint_every == 0 or self.complete or stopped:
                    self.checkpoint()
                if stopped:
                    return False
        self._conclude()
        return True

    @property
    def complete(self) -> bool:
        """Whether all steps are done, or validations have been no better for as long as it has patience."""
        patience = self.config.run.patience
        return self.loader.position >= self.n_steps or (patience is not None and self.waited >= patience)

    def _conclude(self) -> None:
        self.write()

    def _check_finite(self, values: dict[str, float], batches: Sequence[Batch]) -> None:
        if np.isfinite(list(values.values())).all():
            return
        path, step = self.folder / f"not-finite-{jax.process_index()}.json", self.loader.position
        names = [name for batch in batches for name in batch.names]
        path.write_text(json.dumps({"step": step, "metrics": str(values), "names": names}, indent=1))
        raise DataError(
            f"step {step}: the loss is not finite ({values}); its structures are listed in {path}: check "
            "them with `nequix data check`, or lower the learning rate in another folder"
        )

    def errors(self, loader: Loader) -> dict[str, float]:
        """Evaluate the moving average on a data set: the loss, and the mean error of each term.

        Args:
            loader: One epoch of it.
        """
        parameters = {**self.state.average, **self.state.frozen}
        sums, totals = dict.fromkeys(TERMS, 0.0), dict.fromkeys(TERMS, 0.0)
        loader.restore({**loader.state(), "position": 0})
        for batches in loader:
            parts = self._evaluate(parameters, *spread(self.mesh, batches, self.config.run.dtype))
            for total, part in zip((sums, totals), parts, strict=True):
                for name in TERMS:
                    total[name] += float(part[name])
        loss = weighted_loss(
            self.config.loss, *({n: jnp.asarray(x[n]) for n in TERMS} for x in (sums, totals))
        )
        return {"loss": float(loss), **{name: sums[name] / max(totals[name], 1e-30) for name in TERMS}}

    def _validate(self, step: int) -> None:
        if self.valid is None:
            return
        errors = self.errors(self.valid)
        self.history.add(step, {f"valid_{name}": value for name, value in errors.items()})
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
        """Return what a weight file holds: the moving average, and what is not trained."""
        return {name: np.asarray(x) for name, x in {**self.state.average, **self.state.frozen}.items()}

    def _provenance(self) -> Provenance:
        digest = hashlib.sha256((self.folder / "config.json").read_bytes()).hexdigest()
        extra = {"training_config": digest, "steps": str(self.loader.position)}
        return Provenance(**asdict(self.config.provenance), source="trained with nequix", extra=extra)


def _stated(config: str) -> dict[str, Any]:
    """Read a noted configuration without the keys that state nothing, such as those an older one lacks."""

    def stated(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: stated(inner) for key, inner in value.items() if inner is not None}

    return stated(json.loads(config))


def _sources(config: TrainConfig) -> tuple[Source, Source | None]:
    source = open_source(config.data.train)
    if config.data.valid is not None:
        return source, open_source(config.data.valid)
    if config.data.valid_fraction == 0:
        return source, None
    return split(source, config.data.valid_fraction, config.run.seed)


def _mine(packs: int) -> range:
    """Tell which packs of a batch are for this process's devices."""
    if packs % jax.device_count():
        raise DataError(f"run.packs = {packs} must be a multiple of the {jax.device_count()} devices")
    each = packs * jax.local_device_count() // jax.device_count()
    return range(jax.process_index() * each, (jax.process_index() + 1) * each)


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT instead of dying of them; a second one does its usual work."""
    received: list[int] = []
    previous = {}

    def receive(number: int, _: Any) -> None:
        received.append(number)
        signal.signal(number, previous[number])

    for number in (signal.SIGTERM, signal.SIGINT):
        previous[number] = signal.signal(number, receive)
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
