"""The library builds without warnings with other compilers and for other processors, with equal numbers."""

import importlib.util
import os
import sys

import numpy as np
import pytest

from nequix.native import library
from tests.native.building import HERE, SOURCE, build, generate, require_tools, run

CLOSE = {32: 1e-5, 64: 1e-12}
"""Of the largest number: compilers and processors fuse other products and sums."""

NUMBERS = HERE / "numbers.cpp"


def parsed(printed: str) -> dict[int, np.ndarray]:
    rows = np.array([line.split() for line in printed.splitlines()], float)
    return {bits: rows[rows[:, 0] == bits, 1] for bits in CLOSE}


def assert_close(printed: str, expected: str) -> None:
    numbers, reference = parsed(printed), parsed(expected)
    for bits, close in CLOSE.items():
        scale = np.abs(reference[bits]).max()
        assert len(reference[bits]) == 12 + 3 * 12 * 11
        assert scale > 0
        np.testing.assert_allclose(numbers[bits], reference[bits], rtol=0, atol=close * scale)


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> str:
    """The numbers of the library that the other tests use."""
    require_tools("g++")
    if not library.path().is_file():
        pytest.skip("the native library was not built")
    program, folder = tmp_path_factory.mktemp("installed") / "numbers", library.path().parent
    flags = ("-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{SOURCE}")
    run("g++", *flags, NUMBERS, f"-L{folder}", "-lnequix", f"-Wl,-rpath,{folder}", "-o", program)
    return run(program)


def test_header_is_c(tmp_path):
    require_tools("gcc")
    (tmp_path / "header.c").write_text(
        '#include "nequix.h"\nint main(void) { return nequix_digest() == 0; }\n'
    )
    flags = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{SOURCE}", "-fsyntax-only")
    run("gcc", *flags, tmp_path / "header.c")


def test_clang_gives_the_same_numbers(installed, tmp_path):
    require_tools("cmake", "clang++")
    build(
        tmp_path,
        "-DNEQUIX_OPTIMISE=-O1",
        f"-DNEQUIX_DRIVER={NUMBERS}",
        "-DCMAKE_CXX_COMPILER=clang++",
        targets=("driver",),
    )
    assert_close(run(tmp_path / "driver"), installed)


def test_aarch64_gives_the_same_numbers(installed, tmp_path):
    cross, emulator = "aarch64-linux-gnu-g++", "qemu-aarch64"
    require_tools("cmake", cross, emulator)
    build(
        tmp_path,
        "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        f"-DCMAKE_CXX_COMPILER={cross}",
        "-DCMAKE_EXE_LINKER_FLAGS=-static",
        "-DNEQUIX_OPTIMISE=-O1",
        f"-DNEQUIX_DRIVER={NUMBERS}",
        targets=("driver",),
    )
    assert_close(run(emulator, tmp_path / "driver"), installed)


@pytest.mark.parametrize("target", ["aarch64-linux-gnu.2.28", "aarch64-macos.11.0", "x86_64-linux-gnu.2.28"])
def test_compiles_for_other_systems(target, tmp_path):
    if importlib.util.find_spec("ziglang") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("not installed: ziglang")
    generate(tmp_path)
    # Without CMake, which links a program first: for that Zig compiles a whole C++ library.
    zig = (sys.executable, "-m", "ziglang", "c++", "-target", target)
    flags = ("-std=c++17", "-fPIC", "-Wall", "-Wextra", "-Werror", f"-I{tmp_path}", "-c")
    kernel = ("-O1", "-fno-math-errno", "-DNEQUIX_ISA=base", "-DNEQUIX_BYTES=16")
    for source in sorted(SOURCE.glob("*.cpp")):
        run(*zig, *flags, "-O0", source, "-o", tmp_path / f"{source.stem}.o")
    run(*zig, *flags, *kernel, SOURCE / "kernels" / "kernels.cpp", "-o", tmp_path / "kernels.o")
