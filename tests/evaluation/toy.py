"""An evaluation of nothing: it only shows what becomes of its items."""

import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nequix.evaluation.run import run_items
from nequix.evaluation.run_directory import RunDirectory
from nequix.evaluation.task import Engine, ItemResult
from nequix.execution import Execution
from tests.calculator.small import salt


@dataclass(frozen=True)
class Toy:
    folder: str
    n_items: int = 6
    seconds: float = 0.0
    elsewhere: int | None = None
    home: int = field(default_factory=os.getpid)
    name: str = "toy"

    def settings(self):
        other = self.elsewhere is not None and os.getpid() != self.home
        return {"n_items": self.elsewhere if other else self.n_items}

    def items(self):
        return [f"item-{number}" for number in range(self.n_items)]

    def evaluate(self, item, calculator):
        time.sleep(self.seconds)
        if (Path(self.folder) / f"raise-{item}").exists():
            raise ValueError("raised on purpose")
        kill = Path(self.folder) / f"kill-{item}"
        if kill.exists():
            deaths = int(kill.read_text())
            if deaths:
                kill.write_text(str(deaths - 1))
                os.kill(os.getpid(), signal.SIGKILL)
        atoms = salt()
        atoms.positions[0, 0] += 0.01 * int(item.split("-")[1])
        atoms.calc = calculator
        threads = {
            "native": getattr(calculator.potential.kernel, "threads", None),
            "others": os.environ.get("OMP_NUM_THREADS"),
        }
        values = {"energy": atoms.get_potential_energy(), "threads": threads}
        if (Path(self.folder) / f"nan-{item}").exists():
            values["rows"] = [{"energy": 1.0}, {"energy": np.float64("nan")}]
        return ItemResult(values, {"forces": atoms.get_forces()})


def outcomes(store, task):
    """Return energies and forces of every item."""
    read = {item: store.read(item) for item in task.items()}
    return {
        item: (o.values.get("energy"), o.error, np.asarray(o.arrays.get("forces", 0)).tolist())
        for item, o in read.items()
    }


def main(model, folder, workers, seconds):
    """Run slowly enough to be killed."""
    who = workers if "://" in workers else int(workers)
    task, store = Toy(folder, seconds=float(seconds)), RunDirectory(Path(folder) / "run")
    with store.begin({"settings": task.settings()}):
        run_items(task, Engine(model, Execution("torch", dtype="float64")), store, task.items(), who)


if __name__ == "__main__":
    main(*sys.argv[1:])
