"""Write the golden files of the current versions: ``python -m tests.golden.make tests/golden/v1``.

Run it once for each version of a format, into a new folder ``v2``, ``v3``, ...; committed folders are never
written again. The models are random and tiny: the files show that they open, not that a model is good.
"""

import contextlib
import os
import signal
import sys
from pathlib import Path

import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from nequix.backends import load_model
from nequix.cli import main
from nequix.core.parameters import initialise
from nequix.core.spec import ModelSpec
from nequix.coverage.build import build_reference
from nequix.coverage.sidecar import write_reference
from nequix.data.opening import open_source
from nequix.data.structure import Structure
from nequix.io.ensemble import Calibration, write_ensemble
from nequix.io.weights import Provenance, read_weights, write_weights
from nequix.train.config import read_config
from nequix.train.opening import open_run
from tests.train import emt

MODEL = "model.safetensors"
SPEC = ModelSpec(
    atomic_numbers=(29, 47, 79),
    avg_n_neighbors=12.0,
    scale=0.5,
    shift=-0.25,
    cutoff=3.5,
    hidden_irreps="4x0e + 2x1o",
    lmax=1,
    n_layers=1,
    radial_basis_size=3,
    radial_mlp_size=4,
    radial_mlp_layers=1,
)
CALIBRATION = Calibration("golden data", 12, 300, 1.25, 0.1, 0.05, 0.5, 0.75, 2.5, 0.2, 0.1, 0.01)
TRAINING = """version: 1
model:
  cutoff: 3.5
  hidden_irreps: 4x0e + 2x1o
  lmax: 1
  n_layers: 1
  radial_basis_size: 3
  radial_mlp_size: 4
  radial_mlp_layers: 1
  radial_polynomial_p: 6.0
  layer_norm: true
data: {train: [data.extxyz], valid_fraction: 0.25, batch_size: 3, workers: 0}
loss: {energy: 20, forces: 20, stress: 5}
optimizer:
  name: muon
  learning_rate: 0.01
  warmup_epochs: 0.5
  warmup_factor: 0.2
  weight_decay: 0.001
  gradient_clip: 100
run:
  epochs: 2
  seed: 0
  dtype: float32
  kernel: plain
  ema_decay: 0.99
  packs: 1
  checkpoint_every: 2
  keep: 1
  validate_every: 1
provenance: {name: golden, training_data: EMT, theory: EMT, licence: MIT, citation: none}
log: {figures: false}
"""
EVALUATION = ("--model", MODEL, "--backend", "torch", "--kernel", "plain", "--device", "cpu")
STOP_AT = 4


def write_model(path: Path, seed: int) -> None:
    """Write weights with random parameters.

    Args:
        path: The file.
        seed: Of the parameters.
    """
    parameters = initialise(SPEC, seed, {29: -3.5, 47: -2.5, 79: -3.0})
    provenance = Provenance("golden", "random numbers", "none", "MIT", "none", "a script", {"note": "kept"})
    write_weights(path, SPEC, {name: x.astype(np.float32) for name, x in parameters.items()}, provenance)


def write_golden_ensemble(folder: Path) -> None:
    """Write two members and their calibration.

    Args:
        folder: Of the ensemble.
    """
    members = []
    for number in range(2):
        file = f"member-{number}/{MODEL}"
        (folder / file).parent.mkdir(parents=True)
        write_model(folder / file, number)
        members.append((file, read_weights(folder / file)))
    write_ensemble(folder, members, CALIBRATION)


def stop_early(step: int, _n_steps: int, _values: dict[str, float]) -> None:
    """Ask a run to stop after a few steps."""
    if step == STOP_AT:
        os.kill(os.getpid(), signal.SIGTERM)


def write_all() -> None:
    """Write a file or a folder of every format into the working directory, which is empty."""
    emt.write_data(Path("data.extxyz"), 12)
    frames = read("data.extxyz", ":")
    for atoms in frames:  # fewer digits make the file smaller
        atoms.positions, atoms.cell = atoms.positions.round(4), atoms.cell.round(4)
        labels = {name: np.round(value, 5) for name, value in atoms.calc.results.items()}
        atoms.calc = SinglePointCalculator(atoms, **labels)
    write("data.extxyz", frames)
    write_model(Path(MODEL), 0)
    write_golden_ensemble(Path("ensemble"))
    structures = list(map(Structure.trusted, open_source(["data.extxyz"])))
    potential = load_model(MODEL, "torch", kernel="plain", dtype="float64")
    reference = build_reference(structures, read_weights(MODEL), potential, "data.extxyz")
    write_reference("model.coverage.safetensors", reference)
    Path("train.yml").write_text(TRAINING)
    open_run(read_config("train.yml"), Path("run")).train(stop_early)
    sys.argv = ["nequix", "evaluate", "errors", "data.extxyz", "-o", "evaluation", *EVALUATION]
    with contextlib.suppress(SystemExit):
        main()
    kept = ["run/config.json", "run/history.csv", "run/checkpoints/*"]
    kept += ["evaluation/run.json", "evaluation/items/*"]
    wanted = {path for pattern in kept for path in Path().glob(pattern)}
    for folder in ("run", "evaluation"):
        for path in Path(folder).rglob("*"):
            if path.is_file() and path not in wanted:
                path.unlink()


if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.mkdir()
    os.chdir(place)
    write_all()
