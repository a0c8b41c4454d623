"""Build the wheels of all platforms on one machine, with the Zig toolchain from the package index.

    python packaging/wheels.py [--output dist] [PLATFORM ...]

Needs pip and the package `wheel`. Each wheel has the compiled library, which links the C++ library statically
and needs no C library newer than its platform tag says; `auditwheel show` checks it for Linux.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

TARGETS = {
    "manylinux_2_28_x86_64": "x86_64-linux-gnu.2.28",
    "manylinux_2_28_aarch64": "aarch64-linux-gnu.2.28",
    "macosx_11_0_arm64": "aarch64-macos.11.0",
}
"""Zig's name of the system for each platform tag."""

ROOT = Path(__file__).parents[1]


def build(platform: str, output: Path) -> Path:
    """Build one wheel.

    Args:
        platform: Its platform tag.
        output: Folder that it is written to.

    Raises:
        SystemExit: If the library did not compile: without a compiler the package is built without it.
    """
    environment = {**os.environ, "NEQUIX_TARGET": TARGETS[platform]}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, str(ROOT)]
        subprocess.run(command, check=True, env=environment)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            if not any(name.startswith("nequix/native/libnequix.") for name in archive.namelist()):
                raise SystemExit(f"{platform}: the native library did not compile; run pip with --verbose")
        command = [sys.executable, "-m", "wheel", "tags", "--remove", "--platform-tag", platform, str(wheel)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (wheel,) = Path(folder).glob("*.whl")
        output.mkdir(parents=True, exist_ok=True)
        return Path(shutil.move(wheel, output / wheel.name))


def main() -> None:
    """Build the wheels of the platforms that the command line names, by default all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("platforms", nargs="*", default=list(TARGETS), metavar="PLATFORM")
    parser.add_argument("--output", type=Path, default=ROOT / "dist")
    options = parser.parse_args()
    unknown = set(options.platforms) - set(TARGETS)
    if unknown:
        parser.error(f"unknown platforms {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    for platform in options.platforms:
        print(build(platform, options.output))


if __name__ == "__main__":
    main()
