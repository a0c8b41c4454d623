"""What both engines do so that evaluations do not depend on what the calling program has set up."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from nequix.core.numpy_errors import usual_errors


class Isolation(ABC):
    """The settings of a framework that the numbers are defined for, and whether it can run in a forked child.

    Called with a platform, it is a context in which evaluations run.

    Attributes:
        ran_before_fork: Whether this process was forked from one in which the framework ran.
    """

    def __init__(self) -> None:
        self.ran_before_fork: bool = False
        self._running = False
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._look_before_fork, after_in_child=self._remember_running)

    def check_fork(self, platform: str) -> None:
        """Make sure that the framework can run in this process, which may be a forked child.

        A child does not have its parent's threads, and a framework that waits for them hangs. PyTorch gets
        one thread in a child; JAX cannot be restarted once its parent has used it, and neither can a GPU.

        Args:
            platform: Kind of the device, ``cpu``, ``gpu``, ...

        Raises:
            BackendUnavailable: If it cannot run here.
        """
        self._check_fork(platform)

    @contextlib.contextmanager
    def __call__(self, platform: str) -> Iterator[None]:
        """Run with the framework's settings that the numbers are defined for, and restore the caller's.

        The caller may have chosen a lower precision of matrix products, turned derivatives or compilation
        off, or turned warnings or the checks of a debugging session on.

        Args:
            platform: Kind of the device, ``cpu``, ``gpu``, ...

        Raises:
            BackendUnavailable: If this process is a forked child that cannot run the framework.
        """
        self._check_fork(platform)
        with contextlib.ExitStack() as stack:
            for setting in self._settings(platform):
                stack.enter_context(setting)
            stack.enter_context(usual_errors())
            yield

    @abstractmethod
    def _check_fork(self, platform: str) -> None:
        """Raise an error if the framework cannot run in this process."""

    @abstractmethod
    def _settings(self, platform: str) -> Iterator[contextlib.AbstractContextManager[Any]]:
        """List contexts with the right settings; each is entered before the next is made."""

    @abstractmethod
    def _is_running(self) -> bool:
        """Return whether the framework runs, so that a child forked now could not use it."""

    def _look_before_fork(self) -> None:
        self._running = self._is_running()

    def _remember_running(self) -> None:
        self.ran_before_fork = self._running
