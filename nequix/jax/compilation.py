"""Compilations kept on disk, so that a second run of the same shapes starts at once."""

from __future__ import annotations

import os
from pathlib import Path

import jax

from nequix.io import cache


def cache_compilations(folder: str | os.PathLike[str] | None = None) -> Path:
    """Keep compiled functions in a folder, for this and later processes.

    This changes JAX's configuration for the whole process, so nequix never calls it by itself: a script
    that starts often on systems of the same size does.

    Args:
        folder: Where; by default ``jax`` in nequix's own cache folder.

    Returns:
        The folder.
    """
    path = Path(folder) if folder is not None else cache.folder() / "jax"
    path.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    return path
