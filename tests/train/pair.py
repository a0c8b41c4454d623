"""Two processes that find each other."""

import os
import socket


def environments():
    """Return the environment of each of two processes that train together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    shared = {"JAX_PLATFORMS": "cpu", "NEQUIX_COORDINATOR": address, "NEQUIX_PROCESSES": "2"}
    return [{**os.environ, **shared, "NEQUIX_PROCESS": process} for process in "01"]
