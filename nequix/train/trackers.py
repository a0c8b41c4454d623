"""Trackers that receive a run's metrics in addition to its CSV file: TensorBoard, Weights & Biases."""

from __future__ import annotations

import contextlib
import importlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from nequix.core.errors import BackendUnavailable
from nequix.io.installation import install_command


@dataclass(frozen=True)
class LogConfig:
    """Choice of trackers and figures; it may change when a run is resumed.

    Attributes:
        tensorboard: Whether event files are written to the run's folder.
        wandb: A project of Weights & Biases; ``WANDB_MODE=offline`` keeps its files in the run's folder.
        figures: Whether learning curves and parity plots are drawn at the end.
    """

    tensorboard: bool = False
    wandb: str | None = None
    figures: bool = True


class Tracker(Protocol):
    """Takes what is measured."""

    def add(self, step: int, values: dict[str, float]) -> None:
        """Take a step's measures.

        Args:
            step: The step.
            values: Some of the columns of the history.
        """
        ...

    def close(self) -> None:
        """Write what is left."""
        ...


class TensorBoard:
    """Event files for TensorBoard; events after the step that a run resumes from are dropped.

    Args:
        folder: Where to write them.
        step: The step that the run starts or resumes from.
    """

    def __init__(self, folder: Path, step: int) -> None:
        writer = _needs("tensorboardX", "tensorboard").SummaryWriter
        self._writer = writer(str(folder / "tensorboard"), purge_step=step + 1 if step else 0)

    def add(self, step: int, values: dict[str, float]) -> None:
        """Take a step's measures.

        Args:
            step: The step.
            values: Some of the columns of the history.
        """
        for name, value in values.items():
            self._writer.add_scalar(_group(name), value, step)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


class WandB:
    """A run of Weights & Biases; its identifier is kept in the folder, so that a resumed run continues it.

    Args:
        folder: Where its files lie.
        project: Its project.
        config: The configuration.
    """

    def __init__(self, folder: Path, project: str, config: dict[str, Any]) -> None:
        wandb = _needs("wandb", "wandb")
        kept = folder / "wandb-run.txt"
        number = kept.read_text().strip() if kept.exists() else secrets.token_hex(4)
        kept.write_text(number)
        self._run = wandb.init(
            project=project, id=number, resume="allow", dir=os.fspath(folder), config=config, name=folder.name
        )
        # A step can come again after a run was killed, which wandb's own counter does not allow.
        self._run.define_metric("*", step_metric="step")

    def add(self, step: int, values: dict[str, float]) -> None:
        """Take a step's measures.

        Args:
            step: The step.
            values: Some of the columns of the history.
        """
        self._run.log({"step": step, **{_group(name): value for name, value in values.items()}})

    def close(self) -> None:
        """Write what is left."""
        self._run.finish()


def open_trackers(config: LogConfig, folder: Path, step: int, run: dict[str, Any]) -> list[Tracker]:
    """Open all that a configuration asks for.

    Args:
        config: The chosen trackers.
        folder: The run's folder.
        step: The step that the run starts or resumes from.
        run: The configuration of the run.

    Raises:
        BackendUnavailable: If a package is missing, that of the figures included: better now than at the end.
    """
    if config.figures:
        _needs("matplotlib", "train")
    trackers: list[Tracker] = []
    if config.tensorboard:
        trackers.append(TensorBoard(folder, step))
    if config.wandb is not None:
        trackers.append(WandB(folder, config.wandb, run))
    return trackers


def close_all(trackers: list[Tracker]) -> None:
    """Close all, even if one cannot be closed.

    Args:
        trackers: What :func:`open_trackers` returned.
    """
    with contextlib.ExitStack() as stack:
        for tracker in trackers:
            stack.callback(tracker.close)


def _group(name: str) -> str:
    """Separate training from validation, which both programs show in parts."""
    return f"valid/{name.removeprefix('valid_')}" if name.startswith("valid_") else f"train/{name}"


def _needs(package: str, extra: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise BackendUnavailable(
            f"the configuration asks for {package} ({error}): {install_command(extra)}"
        ) from None
