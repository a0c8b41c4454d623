"""A digest of the library's sources, to detect a library that was compiled from other sources.

    python -m nequix.native.sources digest.inc

The build runs it and compiles the digest in; :func:`nequix.native.library.load` compares.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_FOLDER = _PACKAGE / "native" / "src"


def digest() -> str | None:
    """Return the digest of the sources beside this file; None in an installation without sources."""
    if not _FOLDER.is_dir():
        return None
    files = [path for folder in (_FOLDER, _FOLDER / "kernels") for path in folder.glob("*.[hc]*")]
    files = [path for path in files if path.suffix in (".h", ".cpp")]
    files += [_PACKAGE / "native" / "generate.py", _PACKAGE / "core" / "coupling.py"]
    total = hashlib.blake2b(digest_size=16)
    for path in sorted(files):
        total.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return total.hexdigest()


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(f'"{digest()}"\n')
