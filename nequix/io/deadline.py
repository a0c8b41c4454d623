"""A time limit for a whole download: connection, headers and body.

A socket's own timeout only limits periods of silence. A server that sends a byte now and then, in its headers
or body, never triggers it, so a watching thread shuts the connection down when the time is over.
"""

from __future__ import annotations

import http.client
import socket
import threading
import time
import urllib.request
from io import BufferedIOBase
from typing import Any, Self


class Deadline:
    """Context manager that limits the time of the connections opened through it.

    Args:
        seconds: Time limit.
        least_rate: Minimum average rate of the server, bytes/s; each received byte extends the time limit
            accordingly. 0 for a fixed limit.
    """

    def __init__(self, seconds: float, least_rate: float = 0.0) -> None:
        self.seconds: float = seconds
        self._rate = least_rate
        self._start, self._n_bytes = time.monotonic(), 0
        self._sockets: list[socket.socket] = []
        self._done = threading.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        with self._lock:
            while self._sockets:
                self._sockets.pop().close()

    @property
    def left(self) -> float:
        """Remaining seconds; negative when the time is over."""
        extension = self._n_bytes / self._rate if self._rate else 0.0
        return self._start + self.seconds + extension - time.monotonic()

    def read(self, stream: BufferedIOBase, n_bytes: int) -> bytes:
        """Read the bytes that have arrived, and count them.

        Args:
            stream: Stream of one of the connections, or of a file.
            n_bytes: Maximum number of bytes.

        Raises:
            TimeoutError: If the time is over.
            OSError: If the stream cannot be read.
        """
        try:
            chunk = stream.read1(n_bytes)
        except (OSError, http.client.HTTPException):
            self.check()  # a connection that was shut down looks broken or complete
            raise
        self._n_bytes += len(chunk)
        self.check()
        return chunk

    def check(self) -> None:
        """Raise TimeoutError if the time is over."""
        if self.left <= 0:
            elapsed = time.monotonic() - self._start
            raise TimeoutError(f"timed out: {self._n_bytes} bytes after {elapsed:.3g} s")

    def handlers(self) -> tuple[urllib.request.BaseHandler, ...]:
        """Return http and https handlers with connections that end when the time is over."""
        return _HTTPHandler(self), _HTTPSHandler(self)

    def connect(self, address: Any, timeout: Any = None, source: Any = None) -> socket.socket:
        """Open a connection like :func:`socket.create_connection`, and watch it."""
        self.check()
        timeout = self.left if not isinstance(timeout, int | float) else min(timeout, self.left)
        connection = socket.create_connection(address, timeout, source)
        with self._lock:
            # A duplicate, because TLS takes ownership of the connection; shutting down either ends both.
            self._sockets.append(connection.dup())
        return connection

    def _watch(self) -> None:
        while not self._done.wait(max(0.0, min(self.left, 1.0))):
            if self.left > 0:
                continue
            with self._lock:
                for connection in self._sockets:
                    try:
                        connection.shutdown(socket.SHUT_RDWR)
                    except OSError:  # already closed by the server
                        continue
            return


class _HTTPHandler(urllib.request.HTTPHandler):
    def __init__(self, deadline: Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def http_open(self, req: urllib.request.Request) -> Any:
        def connect(host: str, **options: Any) -> http.client.HTTPConnection:
            connection = http.client.HTTPConnection(host, **options)
            connection._create_connection = self._deadline.connect  # type: ignore[attr-defined]
            return connection

        return self.do_open(connect, req)  # type: ignore[arg-type]


class _HTTPSHandler(urllib.request.HTTPSHandler):
    def __init__(self, deadline: Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def https_open(self, req: urllib.request.Request) -> Any:
        def connect(host: str, **options: Any) -> http.client.HTTPSConnection:
            connection = http.client.HTTPSConnection(host, **options)
            connection._create_connection = self._deadline.connect  # type: ignore[attr-defined]
            return connection

        return self.do_open(connect, req)  # type: ignore[arg-type]
