"""The cache of downloaded and converted models.

An entry is a weight file with its digest in a second file, in the format of ``sha256sum -c``. An entry is
valid only if the file is readable and has that digest, and if the catalogue pins the same digest; leftovers
of a crash, a full disk or another program are converted again.
"""

from __future__ import annotations

import os
import stat
import warnings
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from nequix.core.errors import WeightsError
from nequix.core.spec import SPECIFICATION
from nequix.io.download import DEADLINE, download
from nequix.io.files import write_atomic
from nequix.io.locks import LOCK, Busy, NoLocks, lock
from nequix.io.published import parse_published
from nequix.io.weight_checks import WEIGHT_FILE
from nequix.io.weights import Weights, read_weights, write_weights

if TYPE_CHECKING:
    from nequix.io.catalogue import Entry


def folder() -> Path:
    """Return the cache folder: ``NEQUIX_CACHE``, or the platform's cache directory."""
    chosen = os.environ.get("NEQUIX_CACHE", "")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("nequix", False))


def location(entry: Entry) -> Path:
    """Return the path of a model's converted file, which need not exist.

    Args:
        entry: The model.
    """
    # The name contains the versions, so that an older nequix never opens a file that it cannot read.
    versions = f"v{WEIGHT_FILE.version}.{SPECIFICATION.version}"
    return folder() / f"{entry.name}-{entry.sha256[:16]}-{versions}.safetensors"


def cached(entry: Entry) -> Weights | None:
    """Read a model from the cache, or return None if there is no valid entry.

    Args:
        entry: The model.
    """
    path = location(entry)
    try:
        recorded = _sidecar(path).read_text().split()
        weights = read_weights(path)
    except (OSError, ValueError):  # includes WeightsError, a ValueError
        return None
    # Whoever can write to the folder may have replaced both files, but not the pinned digest.
    return weights if recorded[:1] == [weights.digest] == [entry.converted] else None


def obtain(entry: Entry) -> Weights:
    """Read a model from the cache; on first use, download, verify and convert it.

    Args:
        entry: The model.

    Raises:
        WeightsError: If it is not in the cache and cannot be downloaded, is not the published file, or
            if the cache folder cannot be used.
    """
    _warn_if_writable(folder())
    # An existing entry needs no lock and no writing: the cache may be on a read-only disk.
    weights = cached(entry)
    if weights is not None:
        return weights
    place = folder()
    try:
        place.mkdir(parents=True, exist_ok=True)
        with lock(place / LOCK, timeout=DEADLINE + 60):
            return cached(entry) or _make(entry)
    except Busy:
        raise WeightsError(
            f"{place}: another process holds the lock; wait for it, or set NEQUIX_CACHE to another folder"
        ) from None
    except (OSError, NoLocks) as error:
        raise WeightsError(
            f"{place}: the cache folder cannot be used ({error}); set NEQUIX_CACHE to another folder"
        ) from None


def _make(entry: Entry) -> Weights:
    """Fill the cache; the caller holds its lock."""
    spec, parameters = parse_published(BytesIO(download(entry.url, entry.size, entry.sha256)), entry.file)
    path = location(entry)
    write_weights(path, spec, parameters, entry.provenance)
    digest = read_weights(path).digest
    if digest != entry.converted:
        raise WeightsError(
            f"{path}: the converted file has the digest {digest}, expected {entry.converted}; another "
            "program may have replaced it: set NEQUIX_CACHE to another folder, or reinstall nequix"
        )
    write_atomic(_sidecar(path), [f"{digest}  {path.name}\n".encode()])
    weights = cached(entry)
    if weights is None:
        raise WeightsError(f"{path}: written, but cannot be read back; check the disk, or set NEQUIX_CACHE")
    return weights


def _warn_if_writable(place: Path) -> None:
    """Warn about a world-writable cache; its files are checked anyway."""
    try:
        mode = place.stat().st_mode
    except OSError:
        return  # it does not exist yet
    if os.name != "nt" and mode & stat.S_IWOTH:
        warnings.warn(
            f"{place}: every user of this machine can write to the cache; run `chmod o-w {place}`, or set "
            "NEQUIX_CACHE to a private folder",
            RuntimeWarning,
            stacklevel=4,
        )


def _sidecar(path: Path) -> Path:
    return path.with_suffix(".sha256")
