"""The run directory: it belongs to one configuration, and one process at a time trains in it."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import jax

from nequix.core.errors import DataError, NequixError
from nequix.io.files import make_folder, write_atomic
from nequix.io.locks import LOCK, Busy, NoLocks, is_locked, lock
from nequix.train.config import TrainConfig, changes, to_json
from nequix.train.processes import anywhere

CONFIG = "config.json"
"""File of the folder's configuration."""

MODEL = "model.safetensors"
"""The trained file: the moving average of the parameters."""


class Folder:
    """A run directory as seen by a process that may train in it; created if missing.

    Args:
        path: The folder.
        config: The configuration of the run.

    Attributes:
        path: The folder.
        text: The configuration as it is noted in the folder.

    Raises:
        DataError: If it cannot be created, or contains a run with another configuration.
    """

    def __init__(self, path: Path, config: TrainConfig) -> None:
        self.path = path
        self.text: str = to_json(config)
        self._made = [folder for folder in (path, *path.parents) if not folder.exists()]
        make_folder(path)
        noted = path / CONFIG
        changed = changes(noted.read_text(), config) if noted.exists() else []
        self._seen = self.checkpoints()
        # Before its first checkpoint a run can be replaced by another one, unless its process is alive. When
        # it is
        # complete, its checkpoints may have been deleted.
        kept = bool(self._seen) or (path / MODEL).exists()
        if anywhere(bool(changed) and (kept or self._locked())):
            difference = "; ".join(changed) or "as another process of this run found"
            raise DataError(
                f"{path}: contains a run with another configuration ({difference}); put these values back, "
                "or choose "
                "another folder"
            )

    def discard(self) -> None:
        """Remove the folder, if this object made it, with what was measured of data that were refused.

        Several processes keep it: others may be writing to it.
        """
        if not self._made or jax.process_count() > 1:
            return
        for file in self.path.glob("*.npz"):
            file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # something else is there
            for folder in self._made:
                folder.rmdir()

    def checkpoints(self) -> list[Path]:
        """List the checkpoints, the newest last."""
        return sorted((self.path / "checkpoints").glob("step-*.safetensors"))

    def seen(self) -> list[Path]:
        """List the checkpoints; those that appear later, without another call, belong to another process."""
        self._seen = self.checkpoints()
        return self._seen

    def note(self) -> None:
        """Record the configuration in the folder, before any checkpoint."""
        path = self.path / CONFIG
        if not path.exists() or path.read_text() != self.text:
            write_atomic(path, [self.text.encode()])

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from training in the folder, and record the configuration.

        With several processes the first one does so for all.

        Raises:
            DataError: In all processes, if another process trains in it or has done so in the meantime.
        """
        with contextlib.ExitStack() as stack:
            failure: NequixError | None = None
            if jax.process_index() == 0:
                try:
                    self._lock(stack)
                    if self.checkpoints() != self._seen:
                        raise DataError(
                            f"{self.path}: another process has trained in this folder in the meantime; give "
                            "the "
                            "same command again: it resumes from the last checkpoint"
                        )
                    self.note()
                except NequixError as error:
                    failure = error
            if anywhere(failure is not None):
                raise failure or DataError(f"{self.path}: cannot be trained in; see the output of process 0")
            yield

    def _lock(self, stack: contextlib.ExitStack) -> None:
        try:
            # Wait a second, because a process that only checks has the lock for a moment.
            stack.enter_context(lock(self.path / LOCK, timeout=1))
        except Busy:
            raise DataError(
                f"{self.path}: another process trains in this folder; wait until it ends, or choose another "
                " "
                "folder"
            ) from None
        except NoLocks as error:  # some file systems have no locks
            warnings.warn(
                f"{self.path}: cannot be locked ({error}); make sure that no other process trains in it",
                RuntimeWarning,
                stacklevel=2,
            )

    def _locked(self) -> bool:
        """Return whether a process trains in the folder; only the first process checks."""
        return jax.process_index() == 0 and is_locked(self.path / LOCK)
