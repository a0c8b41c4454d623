"""Names of devices, the same for both engines."""

from __future__ import annotations

import re

from nequix.core.errors import BackendUnavailable

_NAME = re.compile(r"(cpu|gpu|cuda|rocm|tpu)(?::(\d{1,4}))?")


def parse_device(name: str) -> tuple[str, int]:
    """Split a device's name into its platform and its index.

    Args:
        name: ``cpu``, ``gpu``, ``gpu:1``, ``cuda:0``, ...

    Raises:
        BackendUnavailable: If it is not such a name.
    """
    match = _NAME.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        raise BackendUnavailable(
            f"device {name!r} is none that nequix knows; choose 'cpu', 'gpu' or, for one of several, 'gpu:1'"
        )
    return match[1], int(match[2] or 0)
