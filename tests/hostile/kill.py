"""Kill commands at random moments (SIGKILL), give the same command line again, and compare what it ends with.

    python -m tests.hostile.kill --kills 300 --seed 0

Each command runs undisturbed once. Then it is killed a few times in one folder, every time as a fresh command
line, and runs to its end: its exit code and its results must be those of the undisturbed run. Moments are
drawn from the CPU time of the undisturbed run, so that they do not depend on what else the machine does. JAX
keeps what it compiles in a folder that all command lines share: most of a training is otherwise compilation.

``evaluate speed`` and ``verify`` are left out, because they measure times, and ``data get``, because it
fetches published files.
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
from tests.evaluation.commands import results
from tests.evaluation.crystals import write_crystals
from tests.evaluation.pairs import PairPotential
from tests.evaluation.physics.references import write_references
from tests.evaluation.test_phonons import write_reference
from tests.graphs.gallery import published
from tests.train.emt import write_config

ROOT = Path(__file__).parents[2]
LIMIT = 1200  # s that a command may take
IN_A_ROW = 3  # kills of one command in one folder, at most
ENDS = (0, 3)  # exit codes of evaluations and relaxations; 3 if an item fails or does not converge
TICKS = os.sysconf("SC_CLK_TCK")
NANO = ("--model", "nequix-nano", "--backend", "native", "--dtype", "float64")
FINETUNE = """
data: {batch_size: 8, valid_fraction: 0.2}
run: {epochs: 2, checkpoint_every: 5}
"""


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
    model = write_small(folder)
    engine = ("--model", model, "--backend", "native", "--dtype", "float64")
    frames = [rattled(bulk("Cu", a=3.6, cubic=True), seed) for seed in range(3)]
    for number, atoms in enumerate(frames):
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0 * number, forces=atoms.positions)
    labelled, initial = folder / "labelled.extxyz", folder / "initial.extxyz"
    write(labelled, frames * 50)
    crystals = [bulk(("Cu", "Al")[number % 2], a=4.0 + 0.01 * number) for number in range(18)]
    for number, atoms in enumerate(crystals):
        atoms.info["material_id"] = f"wbm-1-{number}"
    write(initial, crystals)
    (folder / "published.nqx").write_bytes(published())
    return {
        **_evaluations(folder, labelled, initial, engine),
        **_trainings(folder, labelled, model),
        "predict": Command(
            ("predict", labelled, "-o", "{out}/p.extxyz", "--force", *engine), _frames("p.extxyz")
        ),
        "relax": Command(
            ("relax", labelled, "-o", "{out}/r.extxyz", "--force", *engine), _frames("r.extxyz"), ENDS
        ),
        "select": Command(
            ("select", labelled, "-n", "5", "-o", "{out}/l.extxyz", "--force", *NANO), _bytes("l.extxyz")
        ),
        "assess": Command(("assess", labelled, "-o", "{out}/a", *NANO), _assessment("a")),
        "convert": Command(
            ("data", "convert", labelled, "-o", "{out}/c", "--shard-size", "20"), _structures("c")
        ),
        "stats": Command(("data", "stats", labelled, "-o", "{out}/s.json", "--force"), _bytes("s.json")),
        "check": Command(
            ("data", "check", labelled, "-o", "{out}/k.json", "--force"), _bytes("k.json"), (0, 1)
        ),
        "build": Command(
            (
                "coverage",
                "build",
                labelled,
                "-o",
                "{out}/b.safetensors",
                "--force",
                "--no-features",
                *engine[:2],
            ),
            _bytes("b.safetensors"),
        ),
        "weights": Command(
            ("convert", folder / "published.nqx", "{out}/w.safetensors", "--force"), _bytes("w.safetensors")
        ),
    }


def _evaluations(folder: Path, labelled: Path, initial: Path, engine: tuple[Any, ...]) -> dict[str, Command]:
    """List the commands of ``nequix evaluate``, and write their references."""
    write_reference(folder / "phonons")
    (folder / "kappa").mkdir()
    write_crystals(folder / "kappa", PairPotential())
    references = write_references(folder / "references")
    phonons = ("phonons", "--data", folder / "phonons", "--fixed-cell", "fcc,hcp", "--displacements-only")
    tasks = {
        "errors": ("errors", labelled),
        "discovery": ("discovery", initial),
        "phonons": phonons,
        "kappa": ("kappa", "--data", folder / "kappa"),
        "physics": ("physics", "--data", references, "--checks", "dimers,eos"),
    }
    return {
        name: Command(("evaluate", *task, "-o", f"{{out}}/{name}", *engine), _evaluation(name), ENDS)
        for name, task in tasks.items()
    }


def _trainings(folder: Path, labelled: Path, model: Path) -> dict[str, Command]:
    """List the commands that train, and write their configurations."""
    (folder / "train").mkdir()
    config = folder / "finetune.yml"
    config.write_text(FINETUNE)
    tune = ("finetune", labelled, "--from", model, "--mode", "head", "--config", config)
    return {
        "train": Command(
            ("train", write_config(folder / "train", 24, epochs=3), "-o", "{out}/t"),
            _bytes("t/model.safetensors"),
        ),
        "finetune": Command((*tune, "-o", "{out}/f"), _bytes("f/model.safetensors")),
    }


def _evaluation(name: str) -> Callable[[Path], Any]:
    return lambda folder: results(folder / name)


def _assessment(name: str) -> Callable[[Path], Any]:
    def numbers(folder: Path) -> Any:
        values = json.loads(json.dumps(results(folder / name)).replace(str(folder), "FOLDER"))
        del values["protocol"]["recorded"]  # when the thresholds were written down
        return values

    return numbers


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


def _start(command: Command, out: Path, output: int = subprocess.PIPE) -> subprocess.Popen:
    arguments = [
        str(part).format(out=out) if isinstance(part, str) else str(part) for part in command.arguments
    ]
    program = "import sys; from nequix.cli import main; main()"
    compiled = {
        "JAX_COMPILATION_CACHE_DIR": str(out.parent / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    environment = {**os.environ, **compiled, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env=environment,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _finish(command: Command, out: Path) -> tuple[int, Any, float]:
    """Run a command to its end; return its exit code, its results, and its seconds of CPU time."""
    before = os.times()
    process = _start(command, out)
    printed, _ = process.communicate(timeout=LIMIT)
    if process.returncode not in command.codes:
        raise RuntimeError(f"exit code {process.returncode}: {printed[-2000:]}")
    after = os.times()
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return process.returncode, command.result(out), seconds


def _kill(command: Command, out: Path, after: float) -> bool:
    """Start a command and kill it after some seconds of CPU time; return whether it was still running."""
    process = _start(command, out, subprocess.DEVNULL)
    start = time.monotonic()
    while process.poll() is None and _used(process, start) < after:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def _used(process: subprocess.Popen, start: float) -> float:
    """Return the CPU time of a process and its children, or the time since its start without ``/proc``, s."""
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return time.monotonic() - start
    return sum(map(int, fields[11:15])) / TICKS


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
                f"{name}, killed after {', '.join(f'{moment:.2f} s' for moment in moments)} of CPU time: "
                f"{problem}"
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
