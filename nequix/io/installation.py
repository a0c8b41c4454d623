"""How this copy of nequix was installed, and the command that adds an extra to it."""

from __future__ import annotations

import importlib.metadata
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from nequix.core.errors import BackendUnavailable
from nequix.core.json_text import parse_object

PACKAGE = Path(__file__).parents[1]
"""Directory of the running package."""

_GENERAL = 'pip install "{place}[{extra}]"'
_UNKNOWN = "PATH_TO_NEQUIX_REPOSITORY"


def install_command(extra: str) -> str:
    """Return the command that adds an extra to the running installation of nequix.

    ``pip install "nequix[...]"`` would fetch another program from the package index: nequix is installed from
    a checkout, a wheel or a URL. The command names the same source.

    Args:
        extra: Name of an extra of ``pyproject.toml``, e.g. ``jax``; several separated by commas.

    Example:
        >>> "pip install" in install_command("jax") and "[jax]" in install_command("jax")
        True
    """
    checkout = PACKAGE.parent
    if (checkout / "pyproject.toml").is_file():
        return f'pip install --editable "{checkout}[{extra}]"'
    return _from_record(_read_record(), extra) or _GENERAL.format(place=_UNKNOWN, extra=extra)


def _read_record() -> dict[str, object]:
    """Read pip's record of the source of this copy (``direct_url.json``); empty without a record."""
    try:
        distribution = importlib.metadata.distribution("nequix")
        if Path(str(distribution.locate_file("nequix"))).resolve() != PACKAGE.resolve():
            return {}  # another copy, or another program of the same name
        return parse_object(distribution.read_text("direct_url.json") or "{}")
    except (importlib.metadata.PackageNotFoundError, OSError, ValueError):
        return {}


def _from_record(record: dict[str, object], extra: str) -> str:
    """Convert pip's record to a command; empty if it names no reusable source."""
    url, repository = record.get("url"), record.get("vcs_info")
    if not isinstance(url, str) or '"' in url:
        return ""
    if isinstance(repository, dict):
        commit = repository.get("commit_id")
        return f'pip install "nequix[{extra}] @ {repository.get("vcs", "git")}+{url}@{commit}"'
    if urlsplit(url).scheme != "file":
        return f'pip install "nequix[{extra}] @ {url}"'
    path = Path(urllib.request.url2pathname(urlsplit(url).path))
    return _GENERAL.format(place=path, extra=extra) if path.exists() else ""


@contextmanager
def needs_extra(extra: str = "evaluate", what: str = "this evaluation") -> Iterator[None]:
    """Name the command that installs what an evaluation or a training needs.

    Args:
        extra: The extra that has it.
        what: What needs it.

    Raises:
        BackendUnavailable: If a module is missing within the context.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise BackendUnavailable(f"{what} needs {error.name}: {install_command(extra)}") from None
