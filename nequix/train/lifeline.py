"""Connections between the processes of a run, which the operating system closes when one of them dies.

JAX notices a lost process when a collective operation fails, or after a minute without a sign of life; it
then aborts the process from C++. A process that is compiling takes part in no operation. Therefore each
process keeps a connection to the first one, and a separate thread waits for its end.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator

import jax
import numpy as np
from jax.experimental.multihost_utils import broadcast_one_to_all

from nequix.io.interrupts import is_compiling

GRACE = 10.0
"""Seconds that a process has to end by itself after another one was lost, unless it is compiling."""

_TIMEOUT = 60.0
_GOODBYE = b"."
_NAME = 256


@contextlib.contextmanager
def lifeline(host: str | None) -> Iterator[None]:
    """End this process soon if another one of the run ends within the context without leaving it.

    A context that is left by an exception counts as lost for the others. Where the processes cannot connect,
    only JAX notices losses.

    Args:
        host: Address of the first process; None for its host name.
    """
    if jax.process_count() == 1:
        yield
        return
    connections = _connect(host)
    left = threading.Event()
    for connection in connections:
        threading.Thread(target=_wait, args=(connection, left), daemon=True).start()
    try:
        yield
        left.set()
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.sendall(_GOODBYE)
    finally:
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)


def _connect(host: str | None) -> list[socket.socket]:
    """Connect this process to the first one, or the first one to all."""
    first = jax.process_index() == 0
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("", 0))) if first else None
        port = server.getsockname()[1] if server else 0
        address = f"{host or socket.gethostname()}:{port}".encode()[:_NAME]
        name = np.frombuffer(address.ljust(_NAME), np.uint8)
        shared = bytes(np.asarray(broadcast_one_to_all(name)).astype(np.uint8)).decode().strip()
        target, _, number = shared.rpartition(":")
        connections: list[socket.socket] = []
        with contextlib.suppress(OSError):  # a network that only allows JAX's connections
            if server is None:
                connections.append(socket.create_connection((target, int(number)), _TIMEOUT))
            else:
                server.settimeout(_TIMEOUT)
                while len(connections) < jax.process_count() - 1:
                    connections.append(server.accept()[0])
    for connection in connections:
        connection.settimeout(None)
    return connections


def _wait(connection: socket.socket, left: threading.Event) -> None:
    """Wait for the end of another process; end this one unless both have left the context."""
    with contextlib.suppress(OSError):
        if connection.recv(1) == _GOODBYE:
            return
    if left.is_set():
        return
    if not is_compiling():  # otherwise JAX may abort the process from C++ at any moment
        time.sleep(GRACE)  # the main thread may raise a better error
        if left.is_set():
            return
    print(
        f"error: process {jax.process_index()} of {jax.process_count()} cannot continue: another one was "
        "lost; see its output, then start all of them again: they continue from the last checkpoint",
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)
