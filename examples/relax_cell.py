"""Relax a crystal together with its cell."""

from ase.build import bulk
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE

from nequix import NequixCalculator

atoms = bulk("NaCl", "rocksalt", a=5.4)
atoms.rattle(0.05, seed=1)
atoms.calc = NequixCalculator("nequix-mp-1", backend="torch")  # or "jax"

FIRE(FrechetCellFilter(atoms)).run(fmax=0.01, steps=200)
print(f"{atoms.get_potential_energy():.4f} eV, lattice vectors {atoms.cell.lengths().round(4)} A")
