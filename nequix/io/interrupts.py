"""Ctrl-C and SIGTERM: report what a command keeps, and end within seconds even while JAX compiles.

Python handles a signal between two instructions of the main thread. A compilation is one long call into
C++, so a signal that arrives in the meantime would wait for minutes. In that case a separate thread, which
the signal handler wakes, ends the process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from nequix.io.progress import progress_bar

GRACE = 1.0
"""Seconds that the main thread has to handle a signal itself during a compilation."""

SIGNALS = (signal.SIGTERM, signal.SIGINT)

_reports: list[Callable[[], str]] = []
_compilations: list[str] = []
_commands: list[None] = []
_watched: list[int] = []


class Interrupted(BaseException):
    """SIGTERM or Ctrl-C in a command; like KeyboardInterrupt, it is not caught by ``except Exception``.

    Attributes:
        number: The signal.
        kept: Description of what was kept; empty if not known yet.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number: int = number
        self.kept: str = ""

    @property
    def exit_code(self) -> int:
        """The shell's exit code for a process ended by a signal."""
        return 128 + self.number

    def __str__(self) -> str:
        return _message(self.number, self.kept or "nothing was written")


def _message(number: int, kept: str, during: str = "") -> str:
    cause = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
    return f"interrupted ({cause}){during}: {kept}"


@contextlib.contextmanager
def on_interrupt(report: Callable[[], str]) -> Iterator[None]:
    """Report what was kept if the context is interrupted.

    Args:
        report: Saves what can be saved and describes what was kept. It may be called in another thread, while
            the main thread is in a compilation.
    """
    _reports.append(report)
    try:
        yield
    except Interrupted as stop:
        stop.kept = stop.kept or report()
        raise
    finally:
        _reports.remove(report)


@contextlib.contextmanager
def compiling(what: str) -> Iterator[None]:
    """Show in a command that something compiles, and let signals end the process during that time.

    Args:
        what: Description, e.g. ``JAX compiles the model``.
    """
    with contextlib.ExitStack() as stack:
        if _commands and threading.current_thread() is threading.main_thread():
            bar = stack.enter_context(progress_bar(what))
            if not bar.visible:
                print(f"{what} ...", file=sys.stderr, flush=True)
        _compilations.append(what)
        try:
            yield
        finally:
            _compilations.remove(what)


def is_compiling() -> bool:
    """Return whether something compiles in any thread."""
    return bool(_compilations)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raise :class:`Interrupted` within a command at Ctrl-C and SIGTERM; only the main thread can."""

    def receive(number: int, _: Any) -> None:
        raise Interrupted(number)

    _commands.append(None)
    try:
        with _handlers(receive), _watching(SIGNALS):
            yield
    finally:
        _commands.pop()


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Record SIGTERM and SIGINT instead of ending; a second one has its default effect.

    During a compilation SIGTERM ends the process, and so does Ctrl-C in a command.
    """
    received: list[int] = []
    previous: dict[int, Any] = {}

    def receive(number: int, _: Any) -> None:
        received.append(number)
        signal.signal(number, previous[number])

    with _handlers(receive, previous), _watching((signal.SIGTERM,)):
        yield received


@contextlib.contextmanager
def _handlers(receive: Callable[[int, Any], None], previous: dict[int, Any] | None = None) -> Iterator[None]:
    """Handle the signals; outside the main thread this is impossible and not needed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {} if previous is None else previous
    for number in SIGNALS:
        previous[number] = signal.signal(number, receive)
    try:
        yield
    finally:
        for number, handler in previous.items():
            if handler is not None:  # None: installed by other code than Python's
                signal.signal(number, handler)


@contextlib.contextmanager
def _watching(numbers: tuple[int, ...]) -> Iterator[None]:
    """End the process on signals that the main thread cannot handle during a compilation."""
    if _watched or threading.current_thread() is not threading.main_thread():
        yield  # the watcher of a command also serves the training within it
        return
    woken, waking = socket.socketpair()
    waking.setblocking(False)
    thread = threading.Thread(target=_watch, args=(woken, os.getpid()), daemon=True)
    before = -1
    try:  # from here on: a signal may interrupt what follows
        before = signal.set_wakeup_fd(waking.fileno(), warn_on_full_buffer=False)
        _watched.extend(numbers)
        thread.start()
        yield
    finally:
        signal.set_wakeup_fd(before)
        _watched.clear()
        waking.shutdown(socket.SHUT_RDWR)  # ends the thread, even if a forked child also has the socket
        waking.close()
        if thread.ident is not None:
            thread.join()
        woken.close()


def _watch(woken: socket.socket, process: int) -> None:
    while received := woken.recv(1):
        number = received[0]
        if number not in _watched or not _compilations or os.getpid() != process:
            continue
        deadline = time.monotonic() + GRACE
        while (busy := list(_compilations)) and time.monotonic() < deadline:
            time.sleep(0.05)
        if busy:
            _end(number, busy[-1])


def _end(number: int, what: str) -> None:
    """Report what was kept and end the process while its main thread is in a compilation."""
    reports = list(_reports)
    try:
        kept = reports[-1]() if reports else "nothing was written"
    except Exception as error:  # such as a full disk: the process ends all the same
        kept = f"the result could not be written ({error})"
    with contextlib.suppress(Exception):  # a closed pipe
        sys.stdout.flush()
    with contextlib.suppress(Exception):
        print(f"\n{_message(number, kept, f' while {what}')}", file=sys.stderr, flush=True)
    os._exit(128 + number)
