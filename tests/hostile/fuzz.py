"""Read mutated files of every kind: each is read, or refused with an error of nequix's own.

    python -m tests.hostile.fuzz --n 100000 --seed 0

A file that raises another error, kills the process or takes longer than :data:`SECONDS` is a fault; its
number is printed, and ``--only NUMBER`` reads it again. Numbers mean the same file for the same seed.
"""

import argparse
import collections
import faulthandler
import json
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

from nequix.core.errors import NequixError
from tests.hostile.seeds import Seed, make_seeds

SECONDS = 10.0  # of the process's own work; a whole file takes some milliseconds
MEMORY = 6 << 30  # bytes of data of a worker
CHUNK = 500

TOKENS = (
    b"nan", b"-inf", b"1e999", b"-1", b"0", b"99999999999999999999", b"9223372036854775808", b"4294967296",
    b"null", b"true", b'"', b"'", b"[", b"]", b"{", b"}", b"[[[[[[[[", b"\0", b"\xff\xfe", b"\n", b"\r", b" ",
    b"\t", b",", b":", b"!!python/object/apply:os.mkdir ['fuzz-ran']", b"&a ", b"*a", b"<<: ", b"---\n", b"%",
    b"#", b"\xc3\xa9", b"1_000", b"1:30", b"0x10", b'{"__ndarray__": [[9999999999], "float64", [0]]}',
    b"Properties=", b":R:999999999", b"Lattice=", b"<!DOCTYPE a>", b"&amp;", b"&a;", b"$(id)", b"../../a",
    b"/dev/zero",
)  # fmt: skip
"""Text that means something to one reader or another."""


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change a file in one to six places.

    Args:
        data: The file.
        rng: Decides where and how.
    """
    content = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        size = len(content)
        at, length = rng.randrange(size + 1), rng.choice((1, 2, 4, 8, 64, 1024))
        kind = rng.randrange(8)
        if kind == 0 and size:
            content[min(at, size - 1)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            content[at : at + length] = rng.randbytes(min(length, max(size - at, 1)))
        elif kind == 2:
            del content[at : at + length]
        elif kind == 3:
            content[at:at] = content[at : at + length] * rng.choice((1, 2, 50))
        elif kind == 4:
            content[at:at] = rng.choice(TOKENS)
        elif kind == 5:
            content[at : at + length] = rng.choice(TOKENS)
        elif kind == 6:
            del content[rng.choice((at, size - min(size, length))) :]
        else:
            other = rng.randrange(size + 1)
            content[at : at + length] = content[other : other + length]
    return bytes(content)


def read_one(seeds: Mapping[str, Seed], number: int, seed: int, folder: Path) -> tuple[str, str]:
    """Read one mutated file.

    Args:
        seeds: The good files.
        number: Which file.
        seed: Of all of them.
        folder: Where it is put; its contents are replaced.

    Returns:
        Its kind, and ``read``, ``refused`` or what is wrong.
    """
    rng = random.Random(f"{seed} {number}")  # noqa: S311
    kind = rng.choices(list(seeds), [item.weight for item in seeds.values()])[0]
    item = seeds[kind]
    data = mutate(item.path.read_bytes(), rng)
    place = folder / "input"
    base = item.path.parents[1] if item.path.parent.name == "items" else item.path.parent
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(base, place)
    path = place / item.path.relative_to(base)
    if item.pack is not None:
        path.unlink()
        path, data = path.with_name(f"{path.name}.{'gz' if kind == 'csv-packed' else 'xz'}"), item.pack(data)
    path.write_bytes(data)
    start = time.process_time()
    try:
        item.read(path)
        outcome = "read"
    except NequixError as error:
        outcome = "refused" if "\n" not in str(error).strip() else "an error of several lines"
    except BaseException as error:
        traceback.print_exc()
        outcome = f"{type(error).__name__}: {error}"[:200]
    seconds = time.process_time() - start
    if Path("fuzz-ran").exists():
        outcome = "it ran a program"
    return kind, outcome if seconds < SECONDS else f"took {seconds:.1f} s"


def _work(numbers: Iterable[int], seed: int, folder: Path, log: Path) -> None:
    """Read files in a process of its own, and write what came of each."""
    os.chdir(folder)
    os.environ["HDF5_USE_FILE_LOCKING"] = "FALSE"
    warnings.simplefilter("ignore")
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    seeds = make_seeds(Path(tempfile.mkdtemp(dir=folder)))
    with open(log, "a", buffering=1) as handle:
        for number in numbers:
            handle.write(f"{number} ")
            kind, outcome = read_one(seeds, number, seed, folder)
            handle.write(json.dumps([kind, outcome]) + "\n")


def fuzz(
    numbers: list[int], seed: int, folder: Path
) -> tuple[collections.Counter, dict[int, tuple[str, str]]]:
    """Read many mutated files in processes that may die.

    Args:
        numbers: Which files.
        seed: Of all of them.
        folder: An empty folder.

    Returns:
        How many files of each kind were read and refused, and the faults by number.
    """
    counts: collections.Counter = collections.Counter()
    faults: dict[int, tuple[str, str]] = {}
    waiting, context = list(numbers), multiprocessing.get_context("spawn")
    while waiting:
        log = folder / "log"
        log.unlink(missing_ok=True)
        process = context.Process(target=_work, args=(waiting, seed, folder, log))
        process.start()
        process.join()
        lines = log.read_text().split("\n") if log.exists() else []
        if not lines:
            raise SystemExit("the worker cannot begin")
        done = 0
        for line in lines:
            number, _, outcome = line.partition(" ")
            if not number:
                continue
            done += 1
            kind, what = json.loads(outcome) if outcome else ("?", f"the process died ({process.exitcode})")
            if what in ("read", "refused"):
                counts[kind, what] += 1
            else:
                faults[int(number)] = (kind, what)
                print(f"fault: file {number} ({kind}): {what}", flush=True)
        waiting = waiting[done:]
        print(f"{sum(counts.values())} files, {len(faults)} faults", flush=True)
    return counts, faults


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1000, help="files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="read one file, and show its error")
    arguments = parser.parse_args()
    numbers = list(range(arguments.n)) if arguments.only is None else [arguments.only]
    with tempfile.TemporaryDirectory() as folder:
        counts, faults = fuzz(numbers, arguments.seed, Path(folder))
    for (kind, what), count in sorted(counts.items()):
        print(f"{kind:16} {what:8} {count:7}")
    n_kinds = len({kind for kind, _ in counts})
    print(f"{sum(counts.values()) + len(faults)} files of {n_kinds} kinds, {len(faults)} faults")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
