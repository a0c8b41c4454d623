"""One thread for SciPy's matrix functions; several would wait for each other on 3 x 3 matrices."""

from __future__ import annotations

import os
import sys
import threading
import weakref

from threadpoolctl import LibController, ThreadpoolController

_VARIABLE = "OPENBLAS_NUM_THREADS"
_lock = threading.RLock()  # a finalizer can run while it is held
_users: set[int] = set()
_limited: list[tuple[LibController, int]] = []


def limit_scipy_threads(user: object) -> None:
    """Limit SciPy's OpenBLAS to one thread while an object is alive.

    ASE's cell filters take the logarithm and the exponential of a 3 x 3 matrix in every step. With several
    threads OpenBLAS takes up to a hundred times longer for them, and its idle threads spin on all
    processors in between. NumPy's wheels include a separate OpenBLAS, which keeps its threads; where both
    share one, as in conda environments, both are limited. A user's ``OPENBLAS_NUM_THREADS`` has precedence.
    Nothing happens before SciPy's linear algebra is imported.

    Args:
        user: Object that needs the limit, e.g. a calculator; the limit ends with the last of them.
    """
    if id(user) in _users or "scipy.linalg" not in sys.modules or os.environ.get(_VARIABLE):
        return
    with _lock:
        _users.add(id(user))
        weakref.finalize(user, _release, id(user)).atexit = False
        if not _limited:
            for library in _libraries_of_scipy():
                _limited.append((library, library.num_threads or 1))
                library.set_num_threads(1)


def _libraries_of_scipy() -> list[LibController]:
    """List the OpenBLAS libraries with several threads that SciPy calls."""
    every = [
        library
        for library in ThreadpoolController().lib_controllers
        if library.internal_api == "openblas" and (library.num_threads or 1) > 1
    ]
    bundled = [library for library in every if "scipy.libs" in library.filepath.replace(".dylibs", ".libs")]
    elsewhere = [library for library in every if "numpy.libs" not in library.filepath]
    return bundled or elsewhere


def _release(user: int) -> None:
    """Undo the limit when it is no longer needed."""
    with _lock:
        _users.discard(user)
        if _users:
            return
        for library, n_threads in _limited:
            if library.get_num_threads() == 1:  # otherwise it was changed elsewhere
                library.set_num_threads(n_threads)
        _limited.clear()
