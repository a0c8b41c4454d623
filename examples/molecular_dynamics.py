"""Run dynamics at constant energy, which stays constant if the forces are its derivatives."""

import numpy as np
from ase import units
from ase.build import bulk
from ase.md.verlet import VelocityVerlet

from nequix import NequixCalculator

atoms = bulk("Si", cubic=True)
widths = np.sqrt(atoms.get_masses() * units.kB * 600)
atoms.set_momenta(widths[:, None] * np.random.default_rng(0).normal(size=(len(atoms), 3)))
atoms.calc = NequixCalculator("nequix-mp-1", backend="torch")

dynamics = VelocityVerlet(atoms, timestep=1 * units.fs)
dynamics.attach(
    lambda: print(
        f"{dynamics.nsteps:4} fs  {atoms.get_temperature():6.1f} K  {atoms.get_total_energy():.5f} eV"
    ),
    interval=10,
)
dynamics.run(50)
