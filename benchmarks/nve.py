"""Drift of the total energy in NVE dynamics, by the native and the plain kernel from the same start.

    python benchmarks/nve.py [--model nequix-mp-1] [--steps 5000] [--kernels native plain] [--engine jax]

Rock salt of 8 atoms, 1 fs a step, velocities of 600 K (half of which becomes potential energy). The drift is
the slope of a straight line through the total energies, the noise their standard deviation around it.
"""

from __future__ import annotations

import argparse

import numpy as np
from ase import units
from ase.build import bulk
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary
from ase.md.verlet import VelocityVerlet

from nequix import NequixCalculator

EVERY = 5


def energies_of(kernel: str, options: argparse.Namespace) -> np.ndarray:
    """Run dynamics; return the total energy of every few steps, eV/atom."""
    atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True)
    atoms.rattle(0.02, seed=0)
    atoms.calc = NequixCalculator(
        options.model, options.engine, kernel=kernel, dtype=options.dtype, device="cpu"
    )
    MaxwellBoltzmannDistribution(atoms, temperature_K=600, rng=np.random.default_rng(0))
    Stationary(atoms)
    totals: list[float] = []
    dynamics = VelocityVerlet(atoms, 1.0 * units.fs)
    dynamics.attach(lambda: totals.append(atoms.get_total_energy() / len(atoms)), interval=EVERY)
    dynamics.run(options.steps)
    return np.array(totals)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="nequix-mp-1")
    parser.add_argument("--engine", default="jax")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--kernels", nargs="+", default=["native", "plain"])
    options = parser.parse_args()
    for kernel in options.kernels:
        totals = energies_of(kernel, options)
        picoseconds = np.arange(len(totals)) * EVERY / 1e3
        slope, start = np.polyfit(picoseconds, totals, 1)
        noise = np.std(totals - start - slope * picoseconds)
        print(
            f"{options.model}, {options.engine}, {options.dtype}, {kernel}: {options.steps} steps, drift "
            f"{1e3 * slope:+.5f} meV/atom and ps, noise {1e3 * noise:.5f} meV/atom",
            flush=True,
        )


if __name__ == "__main__":
    main()
