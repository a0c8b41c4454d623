"""Ensembles of the small model, and their folders."""

import dataclasses
from pathlib import Path

from nequix.core.parameters import initialise
from nequix.io.ensemble import Calibration, write_ensemble
from nequix.io.weights import read_weights, write_weights
from tests.calculator.small import WEIGHTS

SCALES = {"forces_scale": 2.0, "forces_limit": 0.5, "energy_scale": 3.0, "energy_limit": 0.1}


def members(n, trained):
    """Models whose parameters of some names differ."""
    found = []
    for seed in range(n):
        drawn = initialise(WEIGHTS.spec, 100 + seed)
        own = {name: x for name, x in drawn.items() if name.startswith(trained)}
        found.append(dataclasses.replace(WEIGHTS, parameters={**WEIGHTS.parameters, **own}))
    return found


def calibration(**changes):
    values = dict.fromkeys((f.name for f in dataclasses.fields(Calibration)), 0)
    return Calibration(**{**values, "data": "tests", **SCALES, **changes})


def write_two(folder, told):
    """Write a folder of two members that differ in the readout, and a calibration or None."""
    Path(folder).mkdir(exist_ok=True)
    files = []
    for number, model in enumerate(members(2, ("readout",))):
        path = folder / f"{number}.safetensors"
        write_weights(path, model.spec, model.parameters, model.provenance)
        files.append((path.name, read_weights(path)))
    write_ensemble(folder, files, told)
    return folder
