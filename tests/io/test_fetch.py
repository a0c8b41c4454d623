import contextlib
import hashlib
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import filelock
import numpy as np
import pytest

from nequix.core.errors import DataError, FetchError, FileError
from nequix.io.fetch import fetch

ROOT = Path(__file__).parents[2]
CONTENT = np.random.default_rng(0).bytes(300_000)
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
SCRIPT = """if True:
    import sys
    from pathlib import Path
    from nequix.io.fetch import fetch
    fetch(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
"""


class Server:
    """Hands out CONTENT.

    Attributes:
        behaviour: ``good`` (from a byte on, if asked), ``whole`` (always from the first), ``cut`` (half),
            ``stalled`` (half, then nothing), ``changed``, ``missing``.
        ranges: What was asked for.
    """

    def __init__(self) -> None:
        self.behaviour, self.ranges, self.half_sent = "good", [], threading.Event()
        self.release = threading.Event()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range")
        self.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.behaviour != "whole" else 0
        body = CONTENT[::-1] if self.behaviour == "changed" else CONTENT
        if self.behaviour == "missing" or start >= len(body):
            request.send_error(404 if self.behaviour == "missing" else 416)
            return
        request.send_response(206 if start else 200)
        request.send_header("Content-Length", str(len(body) - start))
        request.end_headers()
        if self.behaviour in ("cut", "stalled"):
            request.wfile.write(body[start : len(body) // 2])
            request.wfile.flush()
            self.half_sent.set()
            self.release.wait(20.0 if self.behaviour == "stalled" else 0.0)
        else:
            request.wfile.write(body[start:])


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    held = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(ConnectionError):
                held.answer(self)

        def log_message(self, *_) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    held.url = f"http://127.0.0.1:{http.server_port}/files/1"
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield held
    held.release.set()
    http.shutdown()
    http.server_close()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "set" / "data.bin"


def part_of(target):
    return target.with_name(f".{target.name}.part")


def test_a_file_is_fetched_once(server, target):
    assert fetch(server.url, target, DIGEST)
    assert target.read_bytes() == CONTENT
    assert not part_of(target).exists()
    assert not fetch(server.url, target, DIGEST)
    assert len(server.ranges) == 1


def test_an_md5_is_enough(server, target):
    assert fetch(server.url, target, f"md5:{hashlib.md5(CONTENT).hexdigest()}")  # noqa: S324
    with pytest.raises(DataError, match=f"a different file exists: md5:{hashlib.md5(CONTENT).hexdigest()}"):  # noqa: S324
        fetch(server.url, target, f"md5:{hashlib.md5(b'').hexdigest()}")  # noqa: S324


@pytest.mark.parametrize("then", ["good", "whole"])
def test_a_broken_connection_is_resumed(server, target, then):
    server.behaviour = "cut"
    with pytest.raises(
        DataError, match="connection broke after 150000 of 300000 bytes; rerun the same command"
    ):
        fetch(server.url, target, DIGEST)
    assert not target.exists()
    assert part_of(target).read_bytes() == CONTENT[:150_000]
    server.behaviour = then
    assert fetch(server.url, target, DIGEST)
    assert server.ranges == [None, "bytes=150000-"]
    assert target.read_bytes() == CONTENT


def test_a_killed_process_is_resumed(server, target):
    server.behaviour = "stalled"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, server.url, str(target), DIGEST], cwd=ROOT)
    assert server.half_sent.wait(60)
    while not part_of(target).exists() or not part_of(target).stat().st_size:
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not target.exists()
    n_held = part_of(target).stat().st_size
    server.behaviour = "good"
    assert fetch(server.url, target, DIGEST)
    assert server.ranges == [None, f"bytes={n_held}-"]
    assert target.read_bytes() == CONTENT


def test_other_content_is_not_kept(server, target):
    server.behaviour = "changed"
    with pytest.raises(DataError, match=f"not the published file: sha256:.* expected {DIGEST}"):
        fetch(server.url, target, DIGEST)
    assert not target.exists()
    assert not part_of(target).exists()


@pytest.mark.parametrize("held", [b"x" + CONTENT[1:1000], CONTENT + b"more"])
def test_a_part_of_something_else_is_restarted(server, target, held):
    target.parent.mkdir()
    part_of(target).write_bytes(held)
    assert fetch(server.url, target, DIGEST)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(held)}-", None]


def test_what_had_arrived_whole_needs_no_network(target):
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT)
    assert fetch("http://127.0.0.1:9/nothing", target, DIGEST)
    assert target.read_bytes() == CONTENT


def test_a_file_of_the_user_is_left_unchanged(server, target):
    target.parent.mkdir()
    target.write_bytes(b"mine")
    with pytest.raises(DataError, match="a different file exists"):
        fetch(server.url, target, DIGEST)
    assert target.read_bytes() == b"mine"
    assert server.ranges == []


def test_a_folder_and_a_file_address_are_origins(tmp_path, target):
    source = tmp_path / "source.bin"
    source.write_bytes(CONTENT)
    part_of(target).parent.mkdir()
    part_of(target).write_bytes(CONTENT[:1000])
    assert fetch(str(source), target, DIGEST)
    assert target.read_bytes() == CONTENT
    target.unlink()
    assert fetch(source.as_uri(), target, DIGEST)
    with pytest.raises(DataError, match="no such file"):
        fetch(str(tmp_path / "nothing"), tmp_path / "other", DIGEST)


def test_what_cannot_be_reached_is_reported(server, target):
    server.behaviour = "missing"
    with pytest.raises(FetchError, match=r"cannot be fetched .*404.*--mirror"):
        fetch(server.url, target, DIGEST)
    with pytest.raises(FetchError, match="cannot be fetched"):
        fetch("http://127.0.0.1:9/nothing", target, DIGEST)
    with pytest.raises(FileError, match="cannot be written"):
        fetch(server.url, Path(os.devnull) / "data.bin", DIGEST)


def test_two_processes_do_not_write_the_same_file(server, target):
    target.parent.mkdir()
    with (
        filelock.FileLock(target.with_name(f".{target.name}.lock")),
        pytest.raises(DataError, match="another process"),
    ):
        fetch(server.url, target, DIGEST)
