"""A small random model, so that tests are quick, and structures for it."""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk, fcc111, molecule

from nequix.core.parameters import initialise
from nequix.core.spec import ModelSpec
from nequix.io.weights import Provenance, Weights, write_weights

SPEC = ModelSpec(
    atomic_numbers=(1, 6, 8, 11, 13, 14, 17, 29, 79),
    avg_n_neighbors=20.0,
    scale=20.0,
    shift=-0.25,
    cutoff=4.0,
    hidden_irreps="8x0e + 4x1o",
    lmax=1,
    n_layers=2,
    radial_mlp_size=16,
    radial_mlp_layers=1,
)
WEIGHTS = Weights(SPEC, initialise(SPEC, seed=3, atom_energies={8: -2.0, 29: -3.5}), Provenance("small"))
ENGINES = ("jax", "torch")
BACKENDS = ("native", *ENGINES)

ROUNDING = 1e-11
"""Float64 results of sums in another order: padding and batching change nothing else."""

BETWEEN_ENGINES = 1e-10
"""Float64 engines differ by rounding only."""


def write_small(folder: Path) -> Path:
    """Write the model as a weight file."""
    path = folder / "model.safetensors"
    write_weights(path, SPEC, WEIGHTS.parameters, WEIGHTS.provenance)
    return path


def rattled(atoms: Atoms, seed: int = 0, size: float = 0.1) -> Atoms:
    """The structure off its symmetric sites, where forces would all be zero."""
    atoms.rattle(size, rng=np.random.default_rng(seed))
    return atoms


def salt() -> Atoms:
    return rattled(bulk("NaCl", "rocksalt", a=5.64, cubic=True))


def water() -> Atoms:
    return rattled(molecule("H2O"))


def slab() -> Atoms:
    atoms = fcc111("Cu", (1, 1, 3), vacuum=5.0)
    atoms.info.clear()  # of sites for adsorbates, which extended XYZ cannot hold
    return rattled(atoms)


def triclinic() -> Atoms:
    cell = [[2.6, 0.2, -0.4], [0.9, 2.8, 0.3], [-0.6, 0.7, 2.7]]
    return Atoms("AlO", [[0.1, 0.0, 0.2], [1.3, 1.6, 1.2]], cell=cell, pbc=True)
