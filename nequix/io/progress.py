"""The progress display of all commands and downloads: on stderr, and only on a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_displays: list[Progress] = []
"""The active display, if there is one; a second one would overwrite it, so rows are added to it."""


class Bar:
    """A row of the display; without a terminal its methods do nothing.

    Attributes:
        visible: Whether there is a terminal.
    """

    def __init__(self, display: Progress | None = None, task: TaskID | None = None) -> None:
        self._display, self._task = display, task
        self.visible: bool = display is not None

    def advance(self, count: float = 1) -> None:
        """Advance the count.

        Args:
            count: Increment.
        """
        if self._display is not None and self._task is not None:
            self._display.advance(self._task, count)

    def update(self, what: str | None = None, *, done: float | None = None) -> None:
        """Update the row.

        Args:
            what: Its text.
            done: Amount that is done.
        """
        if self._display is not None and self._task is not None:
            self._display.update(self._task, description=what, completed=done)


@contextlib.contextmanager
def progress_bar(
    what: str, total: float | None = None, done: float = 0, *, in_bytes: bool = False, keep: bool = False
) -> Iterator[Bar]:
    """Show the progress of some work, if stderr is a terminal.

    Within another bar's context this adds a row to the same display.

    Args:
        what: The work, in a word or two.
        total: Total amount, if known.
        done: Amount that is already done.
        in_bytes: Whether the amount is in bytes.
        keep: Whether the row remains on the screen at the end.
    """
    if not _displays and not sys.stderr.isatty():  # an active display replaces stderr
        yield Bar()
        return
    with contextlib.ExitStack() as stack:
        if not _displays:
            _displays.append(stack.enter_context(_make_display(keep)))
            stack.callback(_displays.pop)
        display = _displays[-1]
        task = display.add_task(what, total=total, completed=int(done), in_bytes=in_bytes)
        yield Bar(display, task)
        if not keep:
            display.remove_task(task)


def _make_display(keep: bool) -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Count(ProgressColumn):
        def render(self, task: Task) -> Text:
            if task.fields["in_bytes"]:
                return DownloadColumn().render(task)
            return MofNCompleteColumn().render(task) if task.total else Text(f"{task.completed:.0f}")

    class Clock(ProgressColumn):
        def render(self, task: Task) -> Text:
            return (TimeRemainingColumn() if task.total else TimeElapsedColumn()).render(task)

    text = TextColumn("{task.description}", markup=False)
    return Progress(text, BarColumn(), Count(), Clock(), console=Console(stderr=True), transient=not keep)
