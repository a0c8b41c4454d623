"""Kill commands at random moments (SIGKILL), give the same command line again, and compare what it ends with.

    python -m tests.hostile.kill --kills 300 --seed 0

Each command runs undisturbed once. Then it is killed a few times in one folder, every time as a fresh command
line, and runs to its end: its exit code and its results must be those of the undisturbed run.
"""

import argparse
import collections
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from nequix.data.opening import open_source
from tests.calculator.small import rattled, write_small
from tests.evaluate.commands import results
from tests.evaluate.physics.references import write_references
from tests.evaluate.test_phonons import write_reference
from tests.train.emt import write_config

ROOT = Path(__file__).parents[2]
LIMIT = 1200  # s that a command may take
IN_A_ROW = 3  # kills of one command in one folder, at most


@dataclass(frozen=True)
class Command:
    """A command line.

    Attributes:
        arguments: Its arguments; ``{out}`` is the folder of its output, which a rerun replaces or resumes.
        result: Reads what it has written, in a form that can be compared.
        codes: Exit codes of a run that ends.
    """

    arguments: tuple[Any, ...]
    result: Callable[[Path], Any]
    codes: tuple[int, ...] = (0,)


def make_commands(folder: Path) -> dict[str, Command]:
    """Write inputs, and list the commands that read them.

    Args:
        folder: Where the inputs go.
    """
    engine = ("--model", write_small(folder), "--backend", "torch", "--dtype", "float64")
    frames = [rattled(bulk("Cu", a=3.6, cubic=True), seed) for seed in range(3)]
    for number, atoms in enumerate(frames):
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0 * number, forces=atoms.positions)
    labelled, initial = folder / "labelled.extxyz", folder / "initial.extxyz"
    write(labelled, frames * 50)
    crystals = [bulk(("Cu", "Al")[number % 2], a=4.0 + 0.01 * number) for number in range(18)]
    for number, atoms in enumerate(crystals):
        atoms.info["material_id"] = f"wbm-1-{number}"
    write(initial, crystals)
    write_reference(folder / "phonons")
    references = write_references(folder / "references")
    (folder / "train").mkdir()
    evaluate, ends = ("evaluate",), (0, 3)
    phonons = ("phonons", "--data", folder / "phonons", "--fixed-cell", "fcc,hcp")
    physics = ("physics", "--data", references, "--checks", "dimers,eos")
    coverage = ("coverage", "build", labelled, "--no-features", "--force", *engine[:2])
    convert = ("data", "convert", labelled, "-o", "{out}/c", "--shard-size", "20")
    return {
        "errors": Command((*evaluate, "errors", labelled, "-o", "{out}/e", *engine), _evaluation("e"), ends),
        "discovery": Command(
            (*evaluate, "discovery", initial, "-o", "{out}/d", *engine), _evaluation("d"), ends
        ),
        "phonons": Command((*evaluate, *phonons, "-o", "{out}/p", *engine), _evaluation("p"), ends),
        "physics": Command((*evaluate, *physics, "-o", "{out}/y", *engine), _evaluation("y"), ends),
        "predict": Command(
            ("predict", labelled, "-o", "{out}/p.extxyz", "--force", *engine), _frames("p.extxyz")
        ),
        "relax": Command(
            ("relax", labelled, "-o", "{out}/r.extxyz", "--force", *engine), _frames("r.extxyz"), ends
        ),
        "convert": Command(convert, _structures("c")),
        "stats": Command(("data", "stats", labelled, "-o", "{out}/s.json", "--force"), _bytes("s.json")),
        "build": Command((*coverage, "-o", "{out}/b.safetensors"), _bytes("b.safetensors")),
        "train": Command(
            ("train", write_config(folder / "train"), "-o", "{out}/t"), _bytes("t/model.safetensors")
        ),
    }


def _evaluation(name: str) -> Callable[[Path], Any]:
    return lambda folder: results(folder / name)


def _bytes(name: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).read_bytes()


def _frames(name: str) -> Callable[[Path], Any]:
    def numbers(folder: Path) -> Any:
        atoms = read(folder / name, ":")
        return [(a.get_chemical_formula(), a.positions.tolist(), a.get_forces().tolist()) for a in atoms]

    return numbers


def _structures(name: str) -> Callable[[Path], Any]:
    def numbers(folder: Path) -> Any:
        return [
            (s.energy, s.positions.tolist(), np.asarray(s.forces).tolist())
            for s in open_source(folder / name)
        ]

    return numbers


def _start(command: Command, out: Path) -> subprocess.Popen:
    arguments = [
        str(part).format(out=out) if isinstance(part, str) else str(part) for part in command.arguments
    ]
    program = "import sys; from nequix.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _finish(command: Command, out: Path) -> tuple[int, Any, float]:
    """Run a command to its end; return its exit code, its results, and its seconds."""
    start = time.monotonic()
    process = _start(command, out)
    printed, _ = process.communicate(timeout=LIMIT)
    if process.returncode not in command.codes:
        raise RuntimeError(f"exit code {process.returncode}: {printed[-2000:]}")
    return process.returncode, command.result(out), time.monotonic() - start


def _kill(command: Command, out: Path, after: float) -> bool:
    """Start a command and kill it after some seconds; return whether it was still running."""
    process = _start(command, out)
    try:
        process.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def kill_commands(
    commands: dict[str, Command], n_kills: int, seed: int, folder: Path
) -> tuple[collections.Counter, list[str]]:
    """Kill commands until there are enough kills, and compare each with its undisturbed run.

    Args:
        commands: Of :func:`make_commands`.
        n_kills: How many.
        seed: Of the commands and moments; when a moment comes depends on the machine.
        folder: An empty folder.

    Returns:
        The kills of each command, and what went wrong.
    """
    rng = random.Random(seed)  # noqa: S311
    counts: collections.Counter = collections.Counter()
    straight: dict[str, tuple[int, Any, float]] = {}
    faults: list[str] = []
    number = 0
    while sum(counts.values()) < n_kills:
        name = list(commands)[number % len(commands)]
        number += 1
        command, out = commands[name], folder / f"{number}"
        if name not in straight:
            (folder / name).mkdir()
            straight[name] = _finish(command, folder / name)
        code, expected, seconds = straight[name]
        out.mkdir()
        moments = [rng.uniform(0, seconds) for _ in range(rng.randint(1, IN_A_ROW))]
        for moment in moments:
            if sum(counts.values()) == n_kills or not _kill(command, out, moment):
                break
            counts[name] += 1
        try:
            again, result, _ = _finish(command, out)
            problem = "" if (again, _plain(result)) == (code, _plain(expected)) else "other results"
        except Exception as error:
            problem = str(error)
        if problem:
            faults.append(
                f"{name}, killed after {', '.join(f'{moment:.2f} s' for moment in moments)}: {problem}"
            )
            print(f"fault: {faults[-1]}", flush=True)
        print(f"{sum(counts.values())} kills, {len(faults)} faults", flush=True)
    return counts, faults


def _plain(result: Any) -> str:
    """Write results as text, in which NaN equals NaN."""
    return result.hex() if isinstance(result, bytes) else json.dumps(result, sort_keys=True)


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="names of commands, separated by commas")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        inputs, outputs = Path(name, "inputs"), Path(name, "outputs")
        inputs.mkdir()
        outputs.mkdir()
        commands = make_commands(inputs)
        if arguments.only:
            commands = {key: commands[key] for key in arguments.only.split(",")}
        counts, faults = kill_commands(commands, arguments.kills, arguments.seed, outputs)
    for key, count in sorted(counts.items()):
        print(f"{key:12} {count:5}")
    print(f"{sum(counts.values())} kills of {len(counts)} commands, {len(faults)} faults")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
