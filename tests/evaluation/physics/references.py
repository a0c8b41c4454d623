"""References of the physics battery made up for the tests, in the shapes of the real ones."""

import json
from pathlib import Path

import numpy as np
from ase.io import write

from tests.calculator.small import rattled, salt


def write_references(folder: Path) -> Path:
    """Write dimers, equations of state and elastic moduli of a few crystals."""
    (folder / "inner").mkdir(parents=True)
    distances = np.geomspace(0.5, 6.0, 30).tolist()
    curve = {"distances": distances, "energies": [3 / r - 4 / r**0.5 for r in distances]}
    (folder / "inner" / "diatomics-dft.json").write_text(json.dumps({"PBE": {"Cu-Cu": curve}}))
    crystals = {name: {"natoms": 1, "ae": [12.0, 140.0, 5.0]} for name in ("Cu-X/FCC", "U-X/FCC")}
    (folder / "acwf-unaries.json").write_text(json.dumps(crystals))
    frames = [rattled(salt())]
    frames[0].info = {"mp_id": "mp-1", "bulk_modulus_vrh": 25.0, "shear_modulus_vrh": 15.0}
    write(folder / "binary_elasticity.extxyz", frames)
    return folder
