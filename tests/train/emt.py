"""A small labelled data set of the tests' own: rattled and strained alloys, labels from ASE's EMT."""

from pathlib import Path

import ase.io
import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

CONFIG = """
model:
  cutoff: 4.0
  hidden_irreps: 8x0e + 4x1o
  lmax: 1
  n_layers: 2
  radial_basis_size: 4
  radial_mlp_size: 8
  radial_mlp_layers: 1
  radial_polynomial_p: 6.0
  layer_norm: true
data:
  train: [{data}]
  valid_fraction: {valid_fraction}
  batch_size: 8
  workers: {workers}
loss: {{energy: 20, forces: 20, stress: 5}}
optimizer:
  name: {optimizer}
  learning_rate: {rate}
  warmup_epochs: 0.5
  warmup_factor: 0.2
  weight_decay: 0.001
  gradient_clip: 100
run:
  epochs: {epochs}
  seed: 0
  dtype: {dtype}
  kernel: plain
  ema_decay: {ema_decay}
  packs: 4
  checkpoint_every: 5
  keep: 2
  validate_every: 2
provenance: {{name: emt, training_data: EMT, theory: EMT, licence: MIT, citation: none}}
{more}
"""


def write_data(path: Path, n_structures: int = 40) -> None:
    """Write data; every fourth structure lacks its stress, every seventh its energy."""
    rng = np.random.default_rng(1)
    frames = []
    for index in range(n_structures):
        atoms = bulk(("Cu", "Ag", "Au")[index % 3], cubic=index % 2 == 0)
        atoms.symbols[0] = "Cu"
        atoms.set_cell(atoms.cell @ (np.eye(3) + rng.normal(0, 0.03, (3, 3))), scale_atoms=True)
        atoms.rattle(0.1, rng=rng)
        atoms.calc = EMT()
        labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        labels["stress"] = atoms.get_stress()
        if index % 2 == 0:
            labels["energies"] = atoms.calc.results["energies"]
        if index % 4 == 3:
            del labels["stress"]
        if index % 7 == 6:
            del labels["energy"]
        atoms.calc = SinglePointCalculator(atoms, **labels)
        frames.append(atoms)
    ase.io.write(path, frames)


def write_config(folder: Path, n_structures: int = 40, **changes) -> Path:
    """Write data and a configuration."""
    write_data(folder / "data.extxyz", n_structures)
    settings = {
        "data": folder / "data.extxyz",
        "valid_fraction": 0.2,
        "optimizer": "muon",
        "rate": 0.01,
        "epochs": 5,
        "dtype": "float32",
        "ema_decay": 0.999,
        "workers": 0,
        "more": "",
    }
    path = folder / "config.yml"
    path.write_text(CONFIG.format(**{**settings, **changes}))
    return path
