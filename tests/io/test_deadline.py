"""Servers that never end: the time limit covers connection, headers and body."""

import contextlib
import hashlib
import io
import socket
import threading
import time

import pytest

from nequix.core.errors import DataError, WeightsError
from nequix.io import download, fetch

HEADERS = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"


class Trickle:
    """A server that answers a byte now and then.

    Attributes:
        url: Its address.
    """

    def __init__(self, answer: bytes, pause: float = 0.05) -> None:
        self._answer, self._pause, self._end = answer, pause, threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/a.bin"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._trickle, args=(connection,), daemon=True).start()

    def _trickle(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.recv(1 << 16)
            for byte in self._answer:
                if self._end.wait(self._pause):
                    return
                connection.sendall(bytes([byte]))
            self._end.wait(20)

    def close(self) -> None:
        """End all connections."""
        self._end.set()
        self._socket.close()


SLOW = {
    "silence": b"",
    "status line": b"HTTP/1.1 " + b"2" * 10_000,
    "headers": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000,
    "body": HEADERS + b"x" * 10_000,
    "body of unknown length": b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 10_000,
}


@pytest.fixture(params=SLOW)
def server(request, monkeypatch):
    monkeypatch.delenv("NEQUIX_MIRROR", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    pause = 0.05 if request.param in ("silence", "status line", "headers") else 0.005
    server = Trickle(SLOW[request.param], pause)
    yield server
    server.close()


def test_a_model_from_a_slow_server_meets_the_deadline(server, monkeypatch):
    monkeypatch.setattr(download, "DEADLINE", 0.6)
    start = time.monotonic()
    with pytest.raises(WeightsError, match="timed out"):
        download.download(server.url, 1_000_000, "0" * 64)
    assert time.monotonic() - start < 5


def test_data_from_a_slow_server_meet_the_deadline_and_keep_what_arrived(server, monkeypatch, tmp_path):
    monkeypatch.setattr(fetch, "PATIENCE", 0.6)
    start = time.monotonic()
    with pytest.raises(DataError, match="timed out"):
        fetch.fetch(server.url, tmp_path / "a.bin", f"sha256:{'0' * 64}")
    assert time.monotonic() - start < 5
    arrived = tmp_path / ".a.bin.part"
    assert not arrived.exists() or set(arrived.read_bytes()) <= {ord("x")}


def test_a_quick_server_extends_the_time_by_what_it_sends(monkeypatch):
    from nequix.io.deadline import Deadline

    deadline = Deadline(100.0, 10.0)
    assert deadline.read(io.BytesIO(bytes(1000)), 2000) == bytes(1000)
    assert 190 < deadline.left <= 200
    fixed = Deadline(0.0)
    with pytest.raises(TimeoutError, match="timed out: 3 bytes"):
        fixed.read(io.BytesIO(b"abc"), 10)


@pytest.mark.parametrize("claimed", [True, False])
def test_a_file_beyond_the_limit_is_not_fetched(monkeypatch, tmp_path, claimed):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(fetch, "MAX_BYTES", 100)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" if claimed else b"HTTP/1.1 200 OK\r\n\r\n"
    server = Trickle(head + b"x" * 1000, 0.0)
    try:
        with pytest.raises(DataError, match="more than any file"):
            fetch.fetch(server.url, tmp_path / "a.bin", f"sha256:{'0' * 64}")
    finally:
        server.close()


def test_the_publisher_is_asked_for_what_a_mirror_does_not_have(tmp_path):
    content = b"content"
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    (tmp_path / "published").write_bytes(content)
    origins = [str(tmp_path / "mirror" / "set" / "file"), str(tmp_path / "published")]
    assert fetch.fetch_first(origins, tmp_path / "data" / "file", digest)
    assert (tmp_path / "data" / "file").read_bytes() == content
    with pytest.raises(DataError, match="no such file"):
        fetch.fetch_first(origins[:1], tmp_path / "data" / "other", digest)
    (tmp_path / "mirror" / "set").mkdir(parents=True)
    (tmp_path / "mirror" / "set" / "file").write_bytes(b"other")
    with pytest.raises(DataError, match="not the published file"):  # a wrong file is an error of the mirror
        fetch.fetch_first(origins, tmp_path / "data" / "other", digest)
