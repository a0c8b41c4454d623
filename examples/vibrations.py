"""Compute the vibrations of a molecule from its exact Hessian."""

from ase.build import molecule
from ase.optimize import BFGS
from ase.vibrations import VibrationsData

from nequix import NequixCalculator

atoms = molecule("CO2")
atoms.calc = NequixCalculator("nequix-mp-1", backend="torch", dtype="float64")
BFGS(atoms, logfile=None).run(fmax=1e-4, steps=100)

vibrations = VibrationsData.from_2d(atoms, atoms.calc.get_hessian(atoms))
print(vibrations.tabulate())
