"""What a training leaves beside its model, where a model is expected: its folder, and its checkpoints."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MODELS = ("model.safetensors", "best.safetensors")
"""Models in the folder of a run: the result, and the best one so far."""

_CHECKPOINTS, _ENSEMBLE = "checkpoints", "ensemble.json"
_RUNNING = "no model is there yet: complete the run"


def is_checkpoint(metadata: Any) -> bool:
    """Return whether the metadata of a safetensors file are those of a checkpoint.

    Args:
        metadata: As read.
    """
    return isinstance(metadata, Mapping) and set(metadata) == {"json"}


def describe_checkpoint(path: str | os.PathLike[str]) -> str:
    """Explain that a file is a checkpoint, and where the model of its run is.

    Args:
        path: The checkpoint.
    """
    folder = Path(path).parent
    folder = folder.parent if folder.name == _CHECKPOINTS else folder
    return f"{path}: the checkpoint of a training, from which it resumes, not a model; {_where(folder)}"


def describe_folder(path: str | os.PathLike[str]) -> str:
    """Explain what kind of folder was given as a model, and where the model is.

    Args:
        path: The folder.
    """
    folder = Path(path)
    if (folder / _ENSEMBLE).is_file():
        return (
            f"{path}: the folder of an ensemble, not a model; give one of its members, or use "
            "NequixEnsembleCalculator, `nequix predict` or `nequix relax`"
        )
    inner = folder.parent if folder.name == _CHECKPOINTS else folder
    if (inner / _CHECKPOINTS).is_dir() or any((inner / name).is_file() for name in MODELS):
        return f"{path}: the folder of a training, not a model; {_where(inner)}"
    return f"{path}: a folder, not a file; give the path of one weight file"


def _where(folder: Path) -> str:
    found = [str(folder / name) for name in MODELS if (folder / name).is_file()]
    if not found:
        return f"{_RUNNING}, which writes {folder / MODELS[0]}"
    return f"give {found[0]}"
