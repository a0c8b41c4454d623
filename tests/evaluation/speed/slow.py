"""Calculators that take a known time, in place of engines."""

import time

import numpy as np
from ase.calculators.calculator import Calculator, all_changes


class Slow(Calculator):
    implemented_properties = ("energy", "forces")

    def __init__(self, seconds=0.0, n_max=10**9, megabytes=0, steps=10**9):
        super().__init__()
        self.seconds, self.n_max, self.megabytes = seconds, n_max, megabytes
        self.left = steps

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        if len(atoms) > self.n_max:
            raise MemoryError("too many atoms")
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("no more steps")
        self.ballast = np.ones(self.megabytes * 2**17)
        time.sleep(self.seconds)
        self.results = {"energy": 0.0, "forces": 1e-3 * np.ones((len(atoms), 3))}


def nothing():
    return None
