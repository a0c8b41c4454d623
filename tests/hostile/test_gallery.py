"""Hostile and damaged files, given to every command that reads their kind: one line, exit code 1, at once."""

import os
import re
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write

from nequix import cli
from tests.calculator.small import write_small
from tests.hostile.files import DOCUMENTS, OBJECTS, PAYLOAD, STRUCTURES, TABLES, WEIGHTS, labelled

MEMORY = 100  # MB
SECONDS = 1.0  # of this process's own work

ENGINE = ("--model", "{model}", "--backend", "torch", "--dtype", "float64")
NANO = ("--model", "nequix-nano", "--no-features")
DISCOVERY = ("evaluate", "discovery", "{good}", "-o", "{out}/i", *ENGINE)
PHYSICS = ("evaluate", "physics", "-o", "{out}/p", *ENGINE, "--checks")
TUNE = ("finetune", "-o", "{out}/f", "--from", "{model}")

STRUCTURE_COMMANDS = {
    "predict": ("predict", "{file}", "-o", "{out}/p.extxyz", *ENGINE),
    "relax": ("relax", "{file}", "-o", "{out}/r.extxyz", *ENGINE),
    "coverage": ("coverage", "check", "{file}", *NANO),
    "build": (
        "coverage",
        "build",
        "{file}",
        "-o",
        "{out}/c.safetensors",
        "--model",
        "{model}",
        "--no-features",
    ),
    "select": ("select", "{file}", "-o", "{out}/s.extxyz", "-n", "1", "--model", "nequix-nano"),
    "assess": ("assess", "{file}", "-o", "{out}/a", "--model", "nequix-nano", "--backend", "torch"),
    "check": ("data", "check", "{file}"),
    "stats": ("data", "stats", "{file}"),
    "convert": ("data", "convert", "{file}", "-o", "{out}/d"),
    "errors": ("evaluate", "errors", "{file}", "-o", "{out}/e", *ENGINE),
    "discovery": ("evaluate", "discovery", "{file}", "-o", "{out}/i", *ENGINE),
    "finetune": (*TUNE, "{file}"),
}
DOCUMENT_COMMANDS = {
    "train": ("train", "{file}", "-o", "{out}/t"),
    "finetune": (*TUNE, "{good}", "--config", "{file}"),
    "phonons": (*TUNE, "--phonons", "{file}"),
}
OBJECT_COMMANDS = {
    "elements": (*DISCOVERY, "--reference", "{table}", "--elements", "{file}"),
    "energies": ("data", "stats", "{good}", "--atom-energies", "{file}"),
    "ensemble": ("predict", "{good}", "-o", "{out}/p.extxyz", "--model", "{file}:ensemble.json"),
    "kappa": ("evaluate", "kappa", "--data", "{file}:kappas-phononDB-PBE-noNAC.json", "-o", "{out}/k"),
    "assess": ("assess", "{good}", "-o", "{file}:protocol.json", "--model", "nequix-nano"),
    "evaluation": ("evaluate", "errors", "{good}", "-o", "{file}:run.json", *ENGINE),
    "converted": ("data", "check", "{file}:nequix-data.json"),
    "dimers": (*PHYSICS, "dimers", "--data", "{file}:diatomics-dft.json"),
    "eos": (*PHYSICS, "eos", "--data", "{file}:unaries.json"),
}
WEIGHT_COMMANDS = {
    "info": ("info", "{file}"),
    "convert": ("convert", "{file}", "{out}/c.safetensors"),
    "predict": ("predict", "{good}", "-o", "{out}/p.extxyz", "--model", "{file}"),
    "finetune": ("finetune", "{good}", "-o", "{out}/f", "--from", "{file}"),
    "coverage": ("coverage", "check", "{good}", *NANO, "--reference", "{file}"),
}
TABLE_COMMANDS = {
    "discovery": (*DISCOVERY, "--reference", "{file}"),
}


KINDS = (
    (STRUCTURES, STRUCTURE_COMMANDS, ("predict", "stats")),
    (DOCUMENTS, DOCUMENT_COMMANDS, ("train",)),
    (OBJECTS, OBJECT_COMMANDS, ("energies",)),
    (WEIGHTS, WEIGHT_COMMANDS, ("info",)),
    (TABLES, TABLE_COMMANDS, ("discovery",)),
)
"""Files, the commands that read them, and those that are given every file; see :func:`_cases`."""

FEW = 6

EXACT = ("predict", "stats", "train", "energies", "ensemble", "kappa", "assess", "evaluation", "info")
"""Commands whose messages are compared; in evaluations, reports have them."""


def _cases() -> list:
    """Pair files with commands: all of them in the thorough profile, otherwise some files for most commands.

    Which files a command gets turns around, so that every file meets several commands.
    """
    thorough = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
    cases = []
    for files, commands, complete in KINDS:
        for row, (name, command) in enumerate(commands.items()):
            every = 1 if thorough or name in complete else max(1, len(files) // FEW)
            for column, file in enumerate(files):
                fixed = any(":" in part for part in command)  # the file's name, that is
                if (row + column) % every == 0 and not (fixed and file.name.endswith(".gz")):
                    cases.append(pytest.param(name, command, file, id=f"{name}-{file}"))
    return cases


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared")
    write_small(folder)
    write(folder / "good.extxyz", [labelled(seed) for seed in range(3)])
    for number, atoms in enumerate(frames := [bulk("Cu", a=3.6), bulk("Al", a=4.0)]):
        atoms.info |= {"material_id": f"wbm-1-{number}", "mp_id": f"mp-{number}"}
        atoms.info |= {"fc2_supercell": np.eye(3), "fc3_supercell": np.eye(3), "q_mesh": np.ones(3, int)}
    write(folder / "structures.extxyz", frames)
    (folder / "table.csv").write_text("material_id,e_form_per_atom_mp2020_corrected\nwbm-1-0,0\nwbm-1-1,0\n")
    return folder


def _peak() -> tuple[int, int]:
    """Return this process's memory and its peak, kB."""
    text = Path("/proc/self/status").read_text()
    return tuple(int(re.search(rf"{name}:\s*(\d+)", text).group(1)) for name in ("VmRSS", "VmHWM"))


def _run(arguments) -> tuple[int, float, float]:
    """Run a command; return its exit code, its own seconds, and the memory that it took, MB."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before, start = _peak()[0], time.process_time()
    sys.argv = ["nequix", *arguments]
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code, time.process_time() - start, (_peak()[1] - before) / 1024


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured in /proc")
@pytest.mark.parametrize(("name", "command", "file"), _cases())
def test_refused(name, command, file, shared, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.chdir(tmp_path)
    marker = tmp_path / "ran"
    places = {
        "good": shared / "good.extxyz",
        "table": shared / "table.csv",
        "model": shared / "model.safetensors",
        "out": tmp_path,
    }
    arguments = []
    for part in command:
        if part.startswith("{file}"):
            place = part.partition(":")[2]  # the file's name is fixed, and its folder is given
            folder = tmp_path / "input"
            folder.mkdir()
            path = folder / (place or file.name)
            if place.startswith("kappas"):
                shutil.copy(shared / "structures.extxyz", folder / "x-phononDB-PBE-structures.extxyz")
            file.make(path)
            if path.suffix == ".yaml" and path.is_file():
                text = path.read_bytes().replace(b"{payload}", PAYLOAD.format(marker=str(marker)).encode())
                path.write_bytes(text)
            arguments.append(str(folder if place else path))
        else:
            arguments.append(part.format(**places))
    code, seconds, memory = _run(arguments)
    output = capsys.readouterr()
    if seconds > SECONDS or memory > MEMORY:  # the first time imports are among it
        code, seconds, memory = _run(arguments)
        output = capsys.readouterr()
    assert "Traceback" not in output.out + output.err
    assert not marker.exists()
    if code == 3 or (code == 1 and command[:2] == ("data", "check") and "error" in output.out):
        return  # an item has failed, or a structure is bad, and the report says why
    lines = [line for line in output.err.splitlines() if line.startswith("error: ")]
    assert code == 1, output.out + output.err
    assert len(lines) == 1
    assert output.err.strip().splitlines()[-1] == lines[0]
    assert len(lines[0]) < 1500
    if name in EXACT and str(path) in lines[0]:
        assert re.search(file.message, lines[0]), lines[0]
    assert not (tmp_path / "ran").exists()
    assert seconds < SECONDS
    assert memory < MEMORY
