"""A web server on this machine that hands out the small model, well or badly."""

import contextlib
import hashlib
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from nequix.io.catalogue import Entry
from nequix.io.files import digest_file
from nequix.io.weights import write_weights
from tests.graphs.gallery import PARAMETERS, SPEC, published

CONTENT = published()
CHANGED = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
LONGEST_WAIT = 20.0
"""Seconds after which a server that stalls gives up, so that no test can leave one behind."""


def entry(url: str) -> Entry:
    """A known model whose published file is the small one."""
    digest = hashlib.sha256(CONTENT).hexdigest()
    unpinned = Entry("small", url, len(CONTENT), digest, "", "none", "none", "nobody", "MIT")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "converted.safetensors"
        write_weights(path, SPEC, PARAMETERS, unpinned.provenance)
        return replace(unpinned, converted=digest_file(path))


class Origin:
    """The server's address, how it behaves, and what it was asked for.

    Attributes:
        behaviour: ``good``, ``cut``, ``changed``, ``long``, ``missing``, ``refused``, ``stalled``, or a
            redirection's target.
        requests: Paths that were asked for.
        half_sent: Set when a stalling server has sent half of the file.
        release: Set it to let a stalling server end, with the other half if it is ``good`` by then.
    """

    def __init__(self) -> None:
        self.behaviour = "good"
        self.requests: list[str] = []
        self.half_sent = threading.Event()
        self.release = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.base = f"http://127.0.0.1:{self.server.server_port}"
        self.url = f"{self.base}/models/small.nqx"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        origin = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                origin.requests.append(self.path)
                with contextlib.suppress(ConnectionError):
                    origin.answer(self)

            def log_message(self, *_) -> None:
                pass

        return Handler

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        if self.behaviour == "missing":
            request.send_error(404)
            return
        if "://" in self.behaviour and request.path.startswith("/models/"):
            request.send_response(302)
            request.send_header("Location", self.behaviour)
            request.end_headers()
            return
        body = {"changed": CHANGED, "long": CONTENT + bytes(1 << 20)}.get(self.behaviour, CONTENT)
        request.send_response(200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if self.behaviour not in ("cut", "stalled"):
            request.wfile.write(body)
            return
        request.wfile.write(body[: len(body) // 2])
        request.wfile.flush()
        self.half_sent.set()
        if self.behaviour == "stalled":
            self.release.wait(LONGEST_WAIT)
            if self.behaviour == "good":
                request.wfile.write(body[len(body) // 2 :])


@contextlib.contextmanager
def serving() -> Iterator[Origin]:
    """Run a server for the length of a test."""
    origin = Origin()
    thread = threading.Thread(target=origin.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield origin
    finally:
        origin.release.set()
        origin.server.shutdown()
        origin.server.server_close()
        thread.join(LONGEST_WAIT)
