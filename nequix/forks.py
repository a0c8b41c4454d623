"""Whether this process is a forked child, in which its parent's threads are missing."""

from __future__ import annotations

import os

_forked = False


def is_forked() -> bool:
    """Return whether this process was forked from one in which nequix was imported."""
    return _forked


def _remember_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_remember_fork)
