"""The project's errors. A message says what is wrong and where, actual and expected values, and the fix."""

from __future__ import annotations


class NequixError(Exception):
    """Base of every error that nequix raises on purpose.

    Example:
        >>> import nequix
        >>> try:
        ...     nequix.load_weights("nequix-mini")
        ... except nequix.NequixError as error:
        ...     print(type(error).__name__, "did you mean 'nequix-nano'" in str(error))
        WeightsError True
    """


class SpecError(NequixError, ValueError):
    """A model specification that cannot be executed."""


class WeightsError(NequixError, ValueError):
    """A weight file that is damaged, hostile, incomplete or does not match its specification."""


class GraphError(NequixError, ValueError):
    """A structure that cannot become a graph: no atoms, bad numbers, a singular periodic cell.

    Example:
        >>> from ase import Atoms
        >>> import nequix
        >>> try:
        ...     nequix.predict(Atoms("Og"), "nequix-nano")
        ... except nequix.GraphError as error:
        ...     print("atom 0 is Og" in str(error))
        True
    """


class DataError(NequixError, ValueError):
    """Input data that cannot be read or used.

    Example:
        >>> import nequix
        >>> try:
        ...     nequix.evaluate(nequix.Errors(("absent.extxyz",)), "run", "nequix-nano")
        ... except nequix.DataError as error:
        ...     print("absent.extxyz" in str(error))
        True
    """


class FileError(DataError, WeightsError):
    """A file or folder that cannot be created, written or read: a full disk, missing permissions.

    It is a :class:`DataError` and a :class:`WeightsError`, because such failures used to raise either.

    Example:
        >>> import nequix
        >>> issubclass(nequix.FileError, nequix.DataError)
        True
    """


class FetchError(DataError, WeightsError):
    """A download that failed: an unreachable server, a broken connection, a timeout.

    It is a :class:`DataError` and a :class:`WeightsError`, because such failures used to raise either.

    Example:
        >>> import nequix
        >>> issubclass(nequix.FetchError, nequix.WeightsError)
        True
    """


class BackendUnavailable(NequixError, ImportError):
    """A backend, kernel or device that is not there; the message holds the install line.

    Example:
        >>> import nequix
        >>> try:
        ...     nequix.load_model("nequix-nano", "native", device="gpu")
        ... except nequix.BackendUnavailable as error:
        ...     print("runs on a CPU" in str(error))
        True
    """


class ResourceError(NequixError, RuntimeError):
    """The system lacks threads or memory for a calculation; the structure and the model are fine."""


def reason(error: BaseException, limit: int = 300) -> str:
    """Return the message of another library's error in one line, or its type if the message is empty.

    Args:
        error: The error.
        limit: Maximum number of characters.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else f"{text[:limit]}..."
