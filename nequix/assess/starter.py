"""A training configuration for the assessed files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from nequix.io.files import write_atomic

STARTER = "train.yml"
"""Name of the configuration, in the folder of the assessment."""

TUNING = "finetune.yml"
"""Name of the configuration of a fine-tuning there."""

_TEXT = """\
# A small model for a first try, as configs/quickstart.yml; docs/training.md has larger ones.
model:
  cutoff: 5.0
  hidden_irreps: 32x0e + 16x1o + 8x2e
  lmax: 2
  n_layers: 2
  radial_basis_size: 8
  radial_mlp_size: 32
  radial_mlp_layers: 2
  radial_polynomial_p: 6.0
  layer_norm: true
data:
  train: {files}{keys}
  valid_fraction: 0.1
  batch_size: 8
  workers: 0
loss:
  energy: {energy}
  forces: 20
  stress: {stress}
optimizer:
  name: muon
  learning_rate: 0.01
  warmup_epochs: 1
  warmup_factor: 0.2
  weight_decay: 0.001
  gradient_clip: 100
run:
  epochs: 50
  seed: 0
  dtype: float32
  kernel: auto
  ema_decay: 0.99
  packs: 1
  checkpoint_every: 200
  keep: 2
  validate_every: 1
provenance:
  name: own
  training_data: {names}
  theory: unknown
  licence: unknown
  citation: unknown
"""


def write_starter(
    folder: Path, files: Sequence[Path], *, energy: bool, stress: bool, keys: Mapping[str, str] | None = None
) -> Path:
    """Write a configuration that trains on labelled files.

    Args:
        folder: Where.
        files: Labelled structures.
        energy: Whether they have energies.
        stress: Whether they have a stress.
        keys: Keys of labels that were given.

    Returns:
        The file.
    """
    path = folder / STARTER
    text = _TEXT.format(
        files=json.dumps([str(file) for file in files]),  # JSON is YAML
        names=json.dumps(", ".join(file.name for file in files)),
        keys="".join(f"\n  {label}_key: {json.dumps(key)}" for label, key in (keys or {}).items()),
        energy=20 if energy else 0,
        stress=5 if stress else 0,
    )
    write_atomic(path, [text.encode()])
    return path


def write_tuning(folder: Path, *, energy: bool, keys: Mapping[str, str]) -> Path | None:
    """Write the configuration that a fine-tuning on labelled files needs, if it needs one.

    Args:
        folder: Where.
        energy: Whether they have energies.
        keys: Keys of labels that were given.

    Returns:
        The file; None if the usual values do.
    """
    data = "".join(f"  {label}_key: {json.dumps(key)}\n" for label, key in keys.items())
    text = (f"data:\n{data}" if data else "") + ("" if energy else "loss:\n  energy: 0\n")
    if not text:
        return None
    path = folder / TUNING
    write_atomic(path, [text.encode()])
    return path
